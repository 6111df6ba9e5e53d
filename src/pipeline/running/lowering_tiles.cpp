// Of lowering, what a tile's own work is: its pieces, where they read and write, and what names them.
#include <utility>

#include "pipeline/running/lowering.hpp"

namespace halotile {

std::vector<Piece> Lowering::pieces_of(const Tile& tile, TileMemory& memory, std::size_t stream) {
  std::vector<Piece> pieces;
  const TileKey key = key_of(tile);
  for_each_call(tile, memory, static_cast<std::int64_t>(stream),
                [&](std::size_t call, const Step* step, const TileOperation& work) {
                  if (work.operation == nullptr) return;
                  pieces.push_back({program_.make<TileWork>(work), line_of(tile.stage, call, step),
                                    PieceClock::stream, RangeLabel::Role::step, key});
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
  const PlacedMap whole = input_.maps.of_chunk(placing ? stage + 1 : stage, chunk);
  std::vector<Access> accesses{{whole, placing}};
  const Extent2 grid = input_.plan[stage].grid();
  for (std::int64_t n = 0; n < grid.area(); ++n) {
    const std::int64_t row = n / grid.width;
    const std::int64_t column = n % grid.width;
    accesses.push_back({placing ? input_.packed->core(stage, chunk, row, column, whole.images)
                                : input_.packed->input(stage, chunk, row, column, whole.images),
                        !placing});
  }
  return accesses;
}

Piece Lowering::arrive(const Tile& tile) {
  Work* const work = program_.call([packed = input_.packed, tile](Stream& s) {
    packed->arrive(tile.stage, tile.chunk, tile.row, tile.column, s);
  });
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

std::size_t Lowering::line_of(std::size_t stage, std::size_t call, const Step* step) const {
  if (step == nullptr) return call == 0 ? input_.lines.pack : input_.lines.place;
  const LoweredStage& lowered = input_.stages[stage];
  return lowered.lines[static_cast<std::size_t>(step - lowered.steps.data())];
}

void Lowering::for_each_call(const Tile& tile, TileMemory& memory, std::int64_t stream, const Visit& visit) {
  static constexpr Step copy{0, 0, 0, false, true};
  const std::size_t s = tile.stage;
  const StagePlan& plan = input_.plan[s];
  const std::vector<Step>& steps = input_.stages[s].steps;
  const Interval chunk = input_.maps.chunks()[tile.chunk];
  const Interval images{0, chunk.size()};
  const std::size_t first = plan.range().first;
  const Rect core = plan.core(tile.row, tile.column);
  std::size_t call = 0;
  // A dense map of its own for `rect` of the map before layer `layer`, in the memory of the present call.
  const auto local = [&](std::size_t layer, Rect rect) {
    const MapShape& shape = layer == 0 ? input_.network.input : input_.network.layers[layer - 1].out;
    Place& place = memory.output(s, call);
    const PlacedMap map{
        dense_geometry(input_.engine.map_type(), images.size(), shape.channels, rect, shape.extent), &place,
        0};
    place.hold(bytes_of(map));
    return map;
  };
  const auto next = [&](const Step* step, const PlacedMap& in, const PlacedMap& out) {
    TileOperation work{nullptr, in, out, &memory.scratch(s, call), chunk.begin};
    if (!out.rect.empty()) {
      work.operation =
          input_.operations.on_map({stream, static_cast<std::int64_t>(s), static_cast<std::int64_t>(call)},
                                   step != nullptr ? *step : copy, in, out);
      memory.scratch(s, call).hold(work.operation->scratch_bytes());
    }
    visit(call++, step, work);
  };

  const PlacedMap whole_in = input_.maps.of_chunk(s, tile.chunk);
  const PlacedMap core_out = input_.packed != nullptr
                                 ? input_.packed->core(s, tile.chunk, tile.row, tile.column, images.size())
                                 : subview(input_.maps.of_chunk(s + 1, tile.chunk), images, core);
  PlacedMap in;
  if (input_.packed != nullptr) {
    in = input_.packed->input(s, tile.chunk, tile.row, tile.column, images.size());
  } else if (packs_tiles()) {
    const Rect need = plan.needed(tile.row, tile.column, 0);
    in = local(first, need);
    next(nullptr, subview(whole_in, images, need), in);
  } else {
    in = subview(whole_in, images, plan.seen_input(tile.row, tile.column));
  }
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const bool last = i + 1 == steps.size();
    const PlacedMap out =
        last && !packs_tiles()
            ? core_out
            : local(steps[i].last, last ? core : plan.needed(tile.row, tile.column, steps[i].last - first));
    next(&steps[i], in, out);
    in = out;
  }
  if (packs_tiles()) next(nullptr, in, core_out);
}

}  // namespace halotile
