#include "pipeline/running/lowering.hpp"

#include <algorithm>
#include <string>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

// Where its instructions are kept, a tile of a chunk takes about a kilobyte: 32 GiB in all.
constexpr std::int64_t most_tiles = std::int64_t{1} << 25;

// A dense map as vectors: one position, all elements of an image its channels.
PlacedMap as_vectors(PlacedMap map) {
  map.channels = map.image_stride;
  map.whole = {1, 1};
  map.rect = Rect::whole(map.whole);
  map.row_stride = map.col_stride = map.channels;
  return map;
}

PlacedMap block_of(PlacedMap vectors, Interval block) {
  vectors.first += block.begin;
  vectors.channels = vectors.row_stride = vectors.col_stride = block.size();
  return vectors;
}

std::size_t lightest_of(const std::vector<double>& load) {
  return static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
}

}  // namespace

std::vector<Interval> chunks_of(std::int64_t batch, std::int64_t sub_batch,
                                std::span<const std::int64_t> first_sub_batches) {
  std::vector<Interval> chunks;
  for (std::int64_t begin = 0; begin < batch; begin = chunks.back().end) {
    const std::size_t chunk = chunks.size();
    const std::int64_t size = chunk < first_sub_batches.size() ? first_sub_batches[chunk] : sub_batch;
    chunks.push_back({begin, std::min(batch, begin + size)});
  }
  return chunks;
}

Lowering::Lowering(const LoweringInput& input, Arena& arena, Program& program)
    : input_(input),
      arena_(arena),
      program_(program),
      asked_(static_cast<std::size_t>(input.settings.streams)),
      no_name_(program.add_name("")),
      last_(nothing()),
      made_(input.stages.size(), std::vector<std::vector<Made>>(input.maps.chunks().size())),
      users_(input.maps.slots(), std::vector<LastWork>(input.maps.size(), nothing())),
      finished_(input.maps.slots(), nothing()),
      uploaded_(input.maps.chunks().size(), nothing()) {
  program_.set_streams(input_.streams.size());
  for (std::size_t s = 0; s < asked_; ++s) {
    Space& space = in_pool() ? loose_.emplace_back() : arena_.add();
    memories_.push_back(std::make_unique<TileMemory>(space));
  }
  if (input_.settings.batched) lane_ = &arena_.add();
}

void Lowering::lower() {
  check_number_of_tiles();
  make_instructions();
  for (const auto& memory : memories_) memory->lay_out();
}

void Lowering::make_instructions() {
  last_ = nothing();
  std::ranges::fill(finished_, nothing());
  std::ranges::fill(uploaded_, nothing());
  for (std::vector<LastWork>& of_slot : users_) std::ranges::fill(of_slot, nothing());
  const std::size_t chunks = input_.maps.chunks().size();
  const std::size_t slots = input_.maps.slots();
  LastWork done = nothing();  // of the stage before, all chunks
  for (std::size_t wave = 0; wave < chunks; wave += slots) {
    for (std::size_t s = 0; s < input_.stages.size(); ++s) {
      Load load(asked_);
      for (std::size_t c = wave; c < std::min(chunks, wave + slots); ++c) {
        lower_stage(s, c, load);
        if (s + 1 == input_.stages.size()) raise(done, last_of_stage_);
      }
    }
  }
  if (input_.stages.empty() && input_.host != nullptr && !input_.settings.resident_input) {
    for (std::size_t c = 0; c < chunks; ++c) done[0] = lower_upload(c, 0);
  }
  for (std::size_t v = 0; v < input_.vectors.size(); ++v) done = lower_vectors(v, done);
  if (input_.host != nullptr && !input_.host->downloads().empty()) lower_download();
}

void Lowering::check_number_of_tiles() const {
  std::int64_t tiles = 0;
  const auto chunks = static_cast<std::int64_t>(input_.maps.chunks().size());
  for (const StagePlan& stage : input_.plan) {
    tiles += checked_multiply(stage.grid().area(), chunks, "the number of tiles");
    if (tiles > most_tiles) {
      throw ShapeError("the tiles of a run are more than " + std::to_string(most_tiles) +
                       "; use larger patches, or a larger sub_batch");
    }
  }
}

void Lowering::lower_stage(std::size_t stage, std::size_t chunk, Load& load) {
  const bool ordered_else = in_pool() || input_.packed != nullptr;
  const LoweredStage& lowered = input_.stages[stage];
  LastWork overwritten = nothing();
  for (const StageOutput& out : lowered.outputs) {
    if (!ordered_else && !input_.maps[out.map].whole_batch) raise(overwritten, users_before(out.map, chunk));
  }
  const LastWork ready = before_tiles(stage, chunk, lightest_of(load));
  last_of_stage_ = nothing();
  made_[stage][chunk].assign(static_cast<std::size_t>(input_.plan[stage].grid().area()), {});
  if (input_.merged[stage] != nullptr) {
    LastWork needs = ready;
    raise(needs, overwritten);
    lower_parts(stage, chunk, needs);
  } else if (input_.settings.batched) {
    lower_groups(stage, chunk, ready, overwritten);
  } else {
    lower_tiles(stage, chunk, load, ready, overwritten);
  }
  if (!ordered_else) {
    for (const StageOutput& out : lowered.outputs) use(out.map, chunk, last_of_stage_);
    for (const StageInput& in : lowered.inputs) use(in.map, chunk, last_of_stage_);
  }
  behind_tiles(stage, chunk);
}

void Lowering::lower_tiles(std::size_t stage, std::size_t chunk, Load& load, const LastWork& ready,
                           const LastWork& overwritten) {
  const StagePlan& plan = input_.plan[stage];
  const auto images = static_cast<double>(input_.maps.chunks()[chunk].size());
  for (std::int64_t row = 0; row < plan.grid().height; ++row) {
    throw_if_stopped();
    for (std::int64_t column = 0; column < plan.grid().width; ++column) {
      const std::size_t stream = lightest_of(load);
      load[stream] += 1 + plan.flops(row, column) * images;
      const Tile tile{stage, chunk, row, column};
      LastWork needs = ready;
      raise(needs, makers(tile));
      raise(needs, overwritten);
      std::vector<Piece> pieces = pieces_of(tile, *memories_[stream], stream);
      made(tile, program_.add(stream, needs, pieces, label_of(tile)), stream);
    }
  }
}

void Lowering::lower_groups(std::size_t stage, std::size_t chunk, const LastWork& ready,
                            const LastWork& overwritten) {
  const StagePlan& plan = input_.plan[stage];
  const Extent2 grid = plan.grid();
  const auto tile_at = [&](std::int64_t number) {
    return Tile{stage, chunk, number / grid.width, number % grid.width};
  };
  if (groups_.empty()) groups_.push_back(std::make_unique<TileMemory>(*lane_));
  // How much one tile needs, over all chunks: known before tiles are grouped.
  if (chunk == 0) {
    for (std::size_t c = 0; c < input_.maps.chunks().size(); ++c) {
      for (std::int64_t n = 0; n < grid.area(); ++n) {
        Tile tile = tile_at(n);
        tile.chunk = c;
        for_each_call(tile, *groups_.front(), 0, [](std::size_t, const TileOperation&) {});
      }
      throw_if_stopped();
    }
    bytes_of_tile_.resize(std::max(bytes_of_tile_.size(), stage + 1));
    bytes_of_tile_[stage] = groups_.front()->lay_out(stage);
  }
  const std::size_t each = bytes_of_tile_[stage];
  const auto most =
      each == 0 ? grid.area()
                : std::max<std::int64_t>(static_cast<std::int64_t>(input_.settings.ring_bytes / each), 1);
  for (std::int64_t first = 0; first < grid.area(); first += most) {
    throw_if_stopped();
    const std::int64_t end = std::min(grid.area(), first + most);
    lane_->bytes = std::max(lane_->bytes, static_cast<std::size_t>(end - first) * each);
    lower_group(stage, chunk, {first, end}, ready, overwritten);
  }
}

void Lowering::lower_group(std::size_t stage, std::size_t chunk, Interval tiles, const LastWork& ready,
                           const LastWork& overwritten) {
  const StagePlan& plan = input_.plan[stage];
  const std::int64_t width = plan.grid().width;
  struct Together {
    std::size_t line = 0;
    std::vector<TileOperation> tiles;
  };
  std::vector<Together> steps;  // by call
  LastWork needs = ready;
  raise(needs, overwritten);
  std::vector<Piece> arrivals;
  for (std::int64_t n = tiles.begin; n < tiles.end; ++n) {
    const Tile tile{stage, chunk, n / width, n % width};
    raise(needs, makers(tile));
    const auto place = static_cast<std::size_t>(n - tiles.begin);
    while (groups_.size() <= place) groups_.push_back(std::make_unique<TileMemory>(*lane_));
    if (place > 0) groups_[place]->copy(stage, *groups_.front(), place * bytes_of_tile_[stage]);
    for_each_call(tile, *groups_[place], 0, [&](std::size_t call, TileOperation work) {
      if (steps.size() <= call) steps.resize(call + 1);
      steps[call].line = line_of(stage, call);
      if (work.operation != nullptr) steps[call].tiles.push_back(std::move(work));
    });
    if (input_.packed != nullptr) arrivals.push_back(arrive(tile));
    arrivals.push_back(accept(tile));
  }
  std::vector<Piece> pieces;
  for (Together& step : steps) {
    if (step.tiles.empty()) continue;
    pieces.push_back({program_.make<TilesWork>(std::move(step.tiles), *input_.streams.front()), step.line});
  }
  pieces.insert(pieces.end(), arrivals.begin(), arrivals.end());
  const Tile first{stage, chunk, tiles.begin / width, tiles.begin % width};
  const std::uint32_t behind = program_.add(0, needs, pieces, label_of(first));
  for (std::int64_t n = tiles.begin; n < tiles.end; ++n)
    made({stage, chunk, n / width, n % width}, behind, 0);
}

// Steps of the parts, one part after the other; beside steps, on streams of their own, copies of borders and
// the beginning of the next part. Behind them the tiles are accepted.
void Lowering::lower_parts(std::size_t stage, std::size_t chunk, const LastWork& needs) {
  MergedStage& merged = *input_.merged[stage];
  const MergedTiles& parts = merged.tiles();
  const LoweredStage& lowered = input_.stages[stage];
  const std::size_t computing = 0;
  const std::size_t copying = asked_;
  const std::size_t beginning = asked_ + 1;
  const auto add = [&](const char* what, std::size_t part, std::size_t step, std::size_t stream,
                       const LastWork& waits, Work* work, std::size_t line) {
    InstructionLabel label = chunk_label(what, chunk, lowered.name);
    label.kind = InstructionLabel::Kind::part;
    label.key.row = static_cast<std::int64_t>(part);
    label.key.column = static_cast<std::int64_t>(step);
    const Piece piece{work, line};
    return last_[stream] = program_.add(stream, waits, {&piece, 1}, label);
  };
  const auto add_first_needs = [&](LastWork& waits, std::size_t part) {
    raise(waits, needs);
    raise(waits, makers(stage, chunk, parts.inputs[part]));
  };
  const std::size_t steps = parts.borders.size();
  const PlacedMap in = input_.maps.of_chunk(lowered.inputs.front().map, chunk);
  const PlacedMap out = input_.maps.of_chunk(lowered.outputs.front().map, chunk);
  const Interval images{0, in.images};
  for (std::size_t part = 0; part < parts.inputs.size(); ++part) {
    throw_if_stopped();
    std::vector<std::uint32_t> copies(steps);  // per step, of this part
    for (std::size_t step = 0; step < steps; ++step) {
      LastWork waits = nothing();
      if (step == 0) {
        add_first_needs(waits, part);
        waits[copying] = last_[copying];
        waits[beginning] = last_[beginning];
      } else if (parts.border_waits[step]) {
        waits[copying] = copies[*parts.border_waits[step]];
      }
      // What goes beside a step has its input, and room for its output, behind the step before.
      LastWork behind = nothing();
      behind[computing] = last_[computing];
      behind[copying] = last_[copying];
      if (parts.borders[step]) {
        Work* const work = program_.call(
            [&merged, chunk, part, step](Stream& s) { merged.copy_borders(chunk, part, step, s); });
        copies[step] = add("borders", part, step, copying, behind, work, input_.lines.borders);
      }
      if (step > 0 && step == parts.ahead && part + 1 < parts.inputs.size()) {
        add_first_needs(behind, part + 1);
        Work* const work =
            program_.call([&merged, chunk, part](Stream& s) { merged.begin(chunk, part + 1, s); },
                          {{subview(in, images, parts.inputs[part + 1]), false}});
        add("ahead", part + 1, 0, beginning, behind, work, lowered.lines.front());
      }
      std::vector<Access> accesses;
      if (step == 0) accesses.push_back({subview(in, images, parts.inputs[part]), false});
      if (step + 1 == steps) accesses.push_back({subview(out, images, parts.outputs[part]), true});
      Work* const work =
          program_.call([&merged, chunk, part, step](Stream& s) { merged.compute(chunk, part, step, s); },
                        std::move(accesses));
      add("step", part, step, computing, waits, work, lowered.lines[step]);
    }
  }
  accept_all(stage, chunk, computing, needs);
}

void Lowering::accept_all(std::size_t stage, std::size_t chunk, std::size_t stream, const LastWork& needs) {
  const Extent2 grid = input_.plan[stage].grid();
  std::vector<Piece> pieces;
  for (std::int64_t n = 0; n < grid.area(); ++n)
    pieces.push_back(accept({stage, chunk, n / grid.width, n % grid.width}));
  const std::uint32_t behind = program_.add(stream, needs, pieces, label_of({stage, chunk, 0, 0}));
  for (std::int64_t n = 0; n < grid.area(); ++n)
    made({stage, chunk, n / grid.width, n % grid.width}, behind, stream);
}

LastWork Lowering::lower_vectors(std::size_t number, const LastWork& done) {
  const LoweredVectors& vectors = input_.vectors[number];
  const std::size_t stage = input_.stages.size() + number;
  std::vector<PlacedMap> in;
  for (const std::size_t map : vectors.inputs) in.push_back(as_vectors(input_.maps.whole(map)));
  const std::vector<MapGeometry> shapes(in.begin(), in.end());
  const PlacedMap out = as_vectors(input_.maps.whole(vectors.map));
  LastWork mine = nothing();
  for (std::size_t block = 0; block < vectors.blocks.size(); ++block) {
    const std::size_t stream = block % asked_;
    TileMemory& memory = *memories_[stream];
    const PlacedMap part = block_of(out, vectors.blocks[block]);
    const TileOperations::Caller caller{static_cast<std::int64_t>(stream), static_cast<std::int64_t>(stage),
                                        static_cast<std::int64_t>(block)};
    Operation* const operation =
        input_.operations.on_vectors(caller, vectors.step, vectors.blocks[block], shapes, part);
    Place& scratch = memory.scratch(stage, 0);
    scratch.hold(operation->scratch_bytes());
    std::vector<Piece> pieces;
    pieces.push_back(
        {program_.make<TileWork>(TileOperation{operation, in, part, &scratch, 0}), vectors.line});
    InstructionLabel label{InstructionLabel::Kind::block, vectors.name, "", {}, 0};
    label.key.row = static_cast<std::int64_t>(block);
    mine[stream] = last_[stream] =
        program_.add(stream, done, in_pool_memory(std::move(pieces), memory), label);
  }
  return mine;
}

// What comes before a stage's tiles; returns what each of them needs.
LastWork Lowering::before_tiles(std::size_t stage, std::size_t chunk, std::size_t stream) {
  LastWork ready = nothing();
  const LoweredStage& lowered = input_.stages[stage];
  if (stage == 0 && input_.host != nullptr && !input_.settings.resident_input)
    uploaded_[chunk][stream] = lower_upload(chunk, stream);
  for (const StageInput& in : lowered.inputs) {
    if (in.map == 0) raise(ready, uploaded_[chunk]);
  }
  for (const StageOutput& out : lowered.outputs) {
    if (!in_pool() || input_.maps[out.map].whole_batch) continue;
    Space& space = input_.maps.pooled(out.map, chunk);
    const std::size_t bytes = bytes_of(input_.maps.of_chunk(out.map, chunk));
    if (space.bytes != bytes) space.bytes = bytes;  // streams may be looking
    const Access whole{input_.maps.of_chunk(out.map, chunk), true};
    const Piece piece{allocate(space, {whole}), input_.lines.allocation, PieceClock::host};
    ready[stream] = last_[stream] =
        program_.add(stream, nothing(), {&piece, 1}, chunk_label("allocate", chunk, lowered.name));
  }
  if (input_.packed != nullptr) {
    // Behind the stages before; for the first stage, behind the chunk that used the slot before.
    raise(ready, finished_[chunk % input_.maps.slots()]);
    Work* const work =
        program_.call([packed = input_.packed, stage, chunk](Stream& s) { packed->pack(stage, chunk, s); },
                      packed_accesses(stage, chunk, false));
    const Piece piece{work, input_.lines.pack};
    ready[stream] = last_[stream] =
        program_.add(stream, ready, {&piece, 1}, chunk_label("pack", chunk, lowered.name));
  }
  return ready;
}

LastWork Lowering::makers(const Tile& tile) const {
  LastWork last = nothing();
  if (input_.packed != nullptr) return last;  // tiles are cut behind all of them
  const StagePlan& plan = input_.plan[tile.stage];
  for (const StageInput& in : input_.stages[tile.stage].inputs) {
    const Rect seen = plan.seen_input(tile.row, tile.column, in.value);
    if (in.stage != no_number) raise(last, writers(in.stage, tile.chunk, in.there, seen));
  }
  return last;
}

LastWork Lowering::makers(std::size_t stage, std::size_t chunk, Rect seen) const {
  const StageInput& in = input_.stages[stage].inputs.front();
  return in.stage == no_number ? nothing() : writers(in.stage, chunk, in.there, seen);
}

// What comes behind them.
void Lowering::behind_tiles(std::size_t stage, std::size_t chunk) {
  const LoweredStage& lowered = input_.stages[stage];
  const auto stream = static_cast<std::size_t>(made_[stage][chunk].back().stream);
  if (input_.packed != nullptr) {
    Work* const work =
        program_.call([packed = input_.packed, stage, chunk](Stream& s) { packed->place(stage, chunk, s); },
                      packed_accesses(stage, chunk, true));
    const Piece piece{work, input_.lines.place};
    InstructionLabel label = chunk_label("place", chunk, lowered.name);
    label.key.stage = static_cast<std::int64_t>(stage);
    const std::uint32_t behind = program_.add(stream, last_of_stage_, {&piece, 1}, label);
    last_of_stage_ = nothing();
    last_of_stage_[stream] = last_[stream] = behind;
  }
  LastWork& finished = finished_[chunk % input_.maps.slots()];
  raise(finished, last_of_stage_);
  for (const StageInput& in : lowered.inputs) {
    const MapStore& map = input_.maps[in.map];
    if (!in_pool() || map.whole_batch || map.last != stage) continue;
    // Behind its writers too: nobody may have read what one of them wrote.
    const Access whole{input_.maps.of_chunk(in.map, chunk), true};
    const Piece piece{release(input_.maps.pooled(in.map, chunk), {whole}), input_.lines.allocation,
                      PieceClock::host};
    last_[stream] = program_.add(stream, finished, {&piece, 1}, chunk_label("release", chunk, lowered.name));
  }
}

std::uint32_t Lowering::lower_upload(std::size_t chunk, std::size_t stream) {
  HostCopies* const host = input_.host;
  const Interval images = input_.maps.chunks()[chunk];
  std::vector<Piece> pieces;
  const Access written{input_.maps.of_chunk(0, chunk), true};
  pieces.push_back({program_.call([host, images](Stream& s) { host->upload(images, s); }, {written}),
                    host->upload_line()});
  if (host->normalizes()) {
    pieces.push_back({program_.call([host, images](Stream& s) { host->normalize(images, s); }, {written}),
                      host->normalize_line()});
  }
  return last_[stream] = program_.add(stream, nothing(), pieces, chunk_label("upload", chunk, no_name_));
}

void Lowering::lower_download() {
  HostCopies* const host = input_.host;
  RunMaps* const maps = &input_.maps;
  std::vector<Access> accesses;
  for (const std::size_t map : host->downloads()) accesses.push_back({maps->whole(map), false});
  const auto download = [host, maps](Stream& s) {
    for (const std::size_t map : host->downloads()) host->download(map, maps->whole(map).view(), s);
  };
  Work* const work = program_.call(download, std::move(accesses));
  const Piece piece{work, host->download_line()};
  program_.add(0, last_, {&piece, 1}, {InstructionLabel::Kind::run, no_name_, "download", {}, 0});
}

void Lowering::made(const Tile& tile, std::uint32_t behind, std::size_t stream) {
  const auto number = static_cast<std::size_t>(tile.row * input_.plan[tile.stage].grid().width + tile.column);
  made_[tile.stage][tile.chunk][number] = {behind, static_cast<std::int32_t>(stream)};
  last_[stream] = last_of_stage_[stream] = std::max(last_of_stage_[stream], behind);
}

LastWork Lowering::writers(std::size_t stage, std::size_t chunk, std::size_t value, Rect rect) const {
  LastWork last = nothing();
  const StagePlan& plan = input_.plan[stage];
  const auto [rows, cols] = plan.tiles_meeting(rect, value);
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t column = cols.begin; column < cols.end; ++column) {
      const Made& made = made_[stage][chunk][static_cast<std::size_t>(row * plan.grid().width + column)];
      auto& of_stream = last[static_cast<std::size_t>(made.stream)];
      of_stream = std::max(of_stream, made.behind);
    }
  }
  return last;
}

LastWork Lowering::users_before(std::size_t map, std::size_t chunk) {
  LastWork users = nothing();
  const std::vector<LastWork>& of_slot = users_[chunk % input_.maps.slots()];
  for (std::size_t m = 0; m < of_slot.size(); ++m) {
    if (m == map || input_.maps.overlap(m, map)) raise(users, of_slot[m]);
  }
  return users;
}

void Lowering::use(std::size_t map, std::size_t chunk, const LastWork& by) {
  if (!input_.maps[map].whole_batch) raise(users_[chunk % input_.maps.slots()][map], by);
}

}  // namespace halotile
