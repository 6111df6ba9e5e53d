// Of lowering, what a tile's own work is: its pieces, where they read and write, and what names them.
#include <algorithm>
#include <utility>

#include "pipeline/running/lowering.hpp"

namespace halotile {
namespace {

// The calls of one tile: where each of the stage's values lies in turn.
class TileCalls {
 public:
  using Visit = std::function<void(std::size_t call, TileOperation work)>;

  TileCalls(const LoweringInput& input, const PackedTiles::Tile& tile, TileMemory& memory,
            std::int64_t stream)
      : input_(input),
        tile_(tile),
        memory_(memory),
        stream_(stream),
        plan_(input.plan[tile.stage]),
        stage_(input.stages[tile.stage]),
        chunk_(input.maps.chunks()[tile.chunk]),
        images_{0, chunk_.size()},
        lies_(plan_.graph().values.size()) {
    for (std::size_t i = 0; i < stage_.inputs.size(); ++i) {
      const StageInput& in = stage_.inputs[i];
      lies_[in.value] = input_.packed != nullptr
                            ? input_.packed->input(tile_, i, images_.end)
                            : whole(in.map, plan_.seen_input(tile_.row, tile_.column, in.value));
    }
  }

  void visit(const Visit& visit) {
    for (std::size_t call = 0; call < stage_.calls.size(); ++call) {
      const std::size_t number = stage_.calls[call].number;
      switch (stage_.calls[call].kind) {
        case StageCall::Kind::pack:
          visit(call, pack(call, stage_.inputs[number]));
          break;
        case StageCall::Kind::step:
          visit(call, compute(call, stage_.steps[number]));
          break;
        case StageCall::Kind::place:
          visit(call, place(call, number));
          break;
      }
    }
  }

 private:
  TileOperation pack(std::size_t call, const StageInput& in) {
    const Rect need = needed(in.value);
    lies_[in.value] = local(call, in.value, need);
    return copy(call, whole(in.map, need), lies_[in.value]);
  }

  TileOperation compute(std::size_t call, const Step& step) {
    const std::size_t value = plan_.value(step.output);
    if (!step.channels || step.channels->begin == 0) place_output(call, value);
    const PlacedMap out = step.channels ? channels_of(lies_[value], *step.channels) : lies_[value];
    std::vector<PlacedMap> in;
    for (std::size_t i = 0; i < step.inputs.size(); ++i) in.push_back(read_by(step, i, out));
    TileOperation work = begin(call, std::move(in), out);
    if (out.rect.empty()) return work;
    const std::vector<MapGeometry> shapes(work.in.begin(), work.in.end());
    return with(input_.operations.on_map(caller(call), step, shapes, out), call, std::move(work));
  }

  // What a step reads of an input, where others read more of it. At the end of a map it sees the positions
  // behind its last window, too, as in StagePlan::seen_input.
  PlacedMap read_by(const Step& step, std::size_t input, const PlacedMap& out) {
    const PlacedMap& lies = lies_[plan_.value(step.inputs[input])];
    if (out.rect.empty() || lies.rect.empty()) return lies;
    const PlaneMap map = step.copy ? PlaneMap{} : input_.operations.reads_of(step.node)[input];
    const Interval rows =
        trimmed(map.rows, lies.rect.rows, lies.whole.height, out.rect.rows, out.whole.height);
    const Interval cols = trimmed(map.cols, lies.rect.cols, lies.whole.width, out.rect.cols, out.whole.width);
    const Rect rect{rows, cols};
    return rect == lies.rect ? lies : subview(lies, images_, rect);
  }

  static Interval trimmed(const AxisMap& map, Interval in, std::int64_t in_size, Interval out,
                          std::int64_t out_size) {
    Interval read =
        intersect(bounds(read_positions(map, in_size, {out})), in);  // never more than was planned
    if (read.empty()) return {in.begin, in.begin};
    if (out.end == out_size) read.end = in.end;
    return read;
  }

  // Where a step writes: at once where its output goes, if that is all that is needed of it.
  void place_output(std::size_t call, std::size_t value) {
    const auto output = std::ranges::find(stage_.outputs, value, &StageOutput::written);
    const Rect need = needed(value);
    const bool is_output = output != stage_.outputs.end();
    const bool in_place = is_output && (!output->placed || (need == core(*output) && !packs()));
    lies_[value] = in_place ? target(static_cast<std::size_t>(output - stage_.outputs.begin()))
                            : local(call, value, need);
  }

  TileOperation place(std::size_t call, std::size_t number) {
    const StageOutput& output = stage_.outputs[number];
    const PlacedMap& from = lies_[output.written];
    const PlacedMap to = target(number);
    if (from.place == to.place) return begin(call, {from}, to);  // it is there
    return copy(call, to.rect.empty() ? from : subview(from, images_, to.rect), to);
  }

  TileOperation copy(std::size_t call, const PlacedMap& from, const PlacedMap& to) {
    TileOperation work = begin(call, {from}, to);
    if (to.rect.empty()) return work;
    return with(input_.operations.copying(caller(call), from, to), call, std::move(work));
  }

  TileOperation begin(std::size_t call, std::vector<PlacedMap> in, const PlacedMap& out) {
    return {nullptr, std::move(in), out, &memory_.scratch(tile_.stage, call), chunk_.begin};
  }

  TileOperation with(Operation* operation, std::size_t call, TileOperation work) {
    work.operation = operation;
    memory_.scratch(tile_.stage, call).hold(operation->scratch_bytes());
    return work;
  }

  [[nodiscard]] TileOperations::Caller caller(std::size_t call) const {
    return {stream_, static_cast<std::int64_t>(tile_.stage), static_cast<std::int64_t>(call)};
  }

  [[nodiscard]] bool packs() const { return stage_.calls.front().kind == StageCall::Kind::pack; }
  [[nodiscard]] Rect needed(std::size_t value) const { return plan_.needed(tile_.row, tile_.column, value); }
  [[nodiscard]] Rect core(const StageOutput& output) const {
    return plan_.core(tile_.row, tile_.column, output.value);
  }
  [[nodiscard]] PlacedMap whole(std::size_t map, Rect rect) const {
    return subview(input_.maps.of_chunk(map, tile_.chunk), images_, rect);
  }

  // Where the core of an output must go.
  [[nodiscard]] PlacedMap target(std::size_t number) const {
    const StageOutput& output = stage_.outputs[number];
    return input_.packed != nullptr ? input_.packed->core(tile_, number, images_.end)
                                    : whole(output.map, core(output));
  }

  // A dense map of its own for `rect` of a value, in the memory of a call.
  PlacedMap local(std::size_t call, std::size_t value, Rect rect) {
    const ValueGeometry& map = plan_.graph().values[value];
    Place& place = memory_.output(tile_.stage, call, stage_.calls[call].last_reader);
    const PlacedMap made{
        dense_geometry(input_.engine.map_type(), images_.end, map.channels, rect, map.extent), &place, 0};
    place.hold(bytes_of(made));
    return made;
  }

  const LoweringInput& input_;
  const PackedTiles::Tile tile_;
  TileMemory& memory_;
  const std::int64_t stream_;
  const StagePlan& plan_;
  const LoweredStage& stage_;
  const Interval chunk_;
  const Interval images_;
  std::vector<PlacedMap> lies_;  // by the stage's values
};

}  // namespace

std::vector<Piece> Lowering::pieces_of(const Tile& tile, TileMemory& memory, std::size_t stream) {
  std::vector<Piece> pieces;
  const TileKey key = key_of(tile);
  for_each_call(tile, memory, static_cast<std::int64_t>(stream), [&](std::size_t call, TileOperation work) {
    if (work.operation == nullptr) return;
    pieces.push_back({program_.make<TileWork>(std::move(work)), line_of(tile.stage, call), PieceClock::stream,
                      RangeLabel::Role::step, key});
  });
  if (input_.packed != nullptr) pieces.push_back(arrive(tile));
  pieces.push_back(accept(tile));
  return in_pool_memory(std::move(pieces), memory);
}

// With a pool, a tile's memory is there from before its first piece until behind its last.
std::vector<Piece> Lowering::in_pool_memory(std::vector<Piece> pieces, TileMemory& memory) {
  if (!in_pool()) return pieces;
  pieces.insert(pieces.begin(), {allocate(memory.space()), input_.lines.allocation, PieceClock::host});
  pieces.push_back({release(memory.space()), input_.lines.allocation, PieceClock::host});
  return pieces;
}

Work* Lowering::allocate(Space& space, std::vector<Access> accesses) {
  const auto run = [&space, &device = input_.engine.device()](Stream& s) {
    if (space.bytes > 0) space.base = static_cast<std::byte*>(device.allocate_in_order(s, space.bytes));
  };
  return program_.call(run, std::move(accesses));
}

Work* Lowering::release(Space& space, std::vector<Access> accesses) {
  const auto run = [&space, &device = input_.engine.device()](Stream& s) {
    if (space.base != nullptr) device.release_in_order(s, std::exchange(space.base, nullptr));
  };
  return program_.call(run, std::move(accesses));
}

std::vector<Access> Lowering::packed_accesses(std::size_t stage, std::size_t chunk, bool placing) const {
  std::vector<Access> accesses;
  const LoweredStage& lowered = input_.stages[stage];
  const std::int64_t images = input_.maps.chunks()[chunk].size();
  const Extent2 grid = input_.plan[stage].grid();
  const auto add = [&](std::size_t map, const auto& of_tile) {
    accesses.push_back({input_.maps.of_chunk(map, chunk), placing});
    for (std::int64_t n = 0; n < grid.area(); ++n)
      accesses.push_back({of_tile(Tile{stage, chunk, n / grid.width, n % grid.width}), !placing});
  };
  for (std::size_t o = 0; placing && o < lowered.outputs.size(); ++o)
    add(lowered.outputs[o].map, [&](const Tile& tile) { return input_.packed->core(tile, o, images); });
  for (std::size_t i = 0; !placing && i < lowered.inputs.size(); ++i)
    add(lowered.inputs[i].map, [&](const Tile& tile) { return input_.packed->input(tile, i, images); });
  return accesses;
}

Piece Lowering::arrive(const Tile& tile) {
  Work* const work = program_.call([packed = input_.packed, tile](Stream& s) { packed->arrive(tile, s); });
  return {work, 0, PieceClock::none};
}

Piece Lowering::accept(const Tile& tile) {
  const TileKey key = key_of(tile);
  const Interval images = input_.maps.chunks()[tile.chunk];
  const Rect core = input_.plan[tile.stage].core(tile.row, tile.column);
  return {program_.make<AcceptWork>(input_.reassemblers[tile.stage], key, images.size(), core), 0,
          PieceClock::none, RangeLabel::Role::reassembly, key};
}

TileKey Lowering::key_of(const Tile& tile) const {
  return input_.plan[tile.stage].key(tile.row, tile.column, input_.maps.chunks()[tile.chunk].begin);
}

InstructionLabel Lowering::label_of(const Tile& tile) const {
  return {InstructionLabel::Kind::tile, input_.stages[tile.stage].name, "", key_of(tile),
          input_.maps.chunks()[tile.chunk].size()};
}

InstructionLabel Lowering::chunk_label(const char* what, std::size_t chunk, std::uint32_t name) const {
  const Interval images = input_.maps.chunks()[chunk];
  return {InstructionLabel::Kind::chunk, name, what, {images.begin, 0, 0, 0}, images.size()};
}

std::size_t Lowering::line_of(std::size_t stage, std::size_t call) const {
  const LoweredStage& lowered = input_.stages[stage];
  switch (lowered.calls[call].kind) {
    case StageCall::Kind::pack:
      return input_.lines.pack;
    case StageCall::Kind::step:
      return lowered.lines[lowered.calls[call].number];
    case StageCall::Kind::place:
      break;
  }
  return input_.lines.place;
}

void Lowering::for_each_call(const Tile& tile, TileMemory& memory, std::int64_t stream, const Visit& visit) {
  TileCalls(input_, tile, memory, stream).visit(visit);
}

}  // namespace halotile
