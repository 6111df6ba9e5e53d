#include "pipeline/running/packing.hpp"

#include <algorithm>

namespace halotile {

PackedTiles::PackedTiles(std::span<const LoweredStage> stages, std::span<const StagePlan> plan, DType type,
                         std::int64_t sub_batch)
    : lowered_(stages), plan_(plan), type_(type), sub_batch_(sub_batch) {
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    const StagePlan& stage = plan_[s];
    OfStage& places = stages_.emplace_back();
    std::size_t inputs = 0;
    std::size_t cores = 0;
    const auto add = [&](std::vector<Place>& to, std::size_t& end, Rect rect, std::size_t value) {
      const std::size_t bytes = bytes_of(dense(stage, value, sub_batch_, rect, {}));
      to.push_back({nullptr, end, bytes});
      end += aligned(bytes);
    };
    for (std::int64_t row = 0; row < stage.grid().height; ++row) {
      for (std::int64_t column = 0; column < stage.grid().width; ++column) {
        for (const StageInput& in : lowered_[s].inputs)
          add(places.inputs, inputs, stage.needed(row, column, in.value), in.value);
        for (const StageOutput& out : lowered_[s].outputs)
          add(places.cores, cores, stage.core(row, column, out.value), out.value);
      }
    }
    input_bytes_ = std::max(input_bytes_, inputs);
    core_bytes_ = std::max(core_bytes_, cores);
  }
}

void PackedTiles::set_memory(const Space& memory, std::size_t slots) {
  slots_ = slots;
  const auto spread = [&](std::vector<Place>& places, std::size_t begin) {
    const std::vector<Place> of_slot = places;
    places.clear();
    for (std::size_t slot = 0; slot < slots; ++slot) {
      for (const Place& place : of_slot)
        places.push_back({&memory, slot * slot_bytes() + begin + place.offset, place.bytes});
    }
  };
  for (OfStage& stage : stages_) {
    spread(stage.inputs, 0);
    spread(stage.cores, input_bytes_);
  }
}

void PackedTiles::prepare(Engine& engine, const RunMaps& maps) {
  chunks_ = maps.chunks().size();
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    const Extent2 grid = plan_[s].grid();
    for (std::size_t c = 0; c < chunks_; ++c) {
      const Interval images = maps.chunks()[c];
      const Interval all{0, images.size()};
      std::vector<TileCopy> cut;
      std::vector<TileCopy> placed;
      for (std::int64_t n = 0; n < grid.area(); ++n) {
        const Tile tile{s, c, n / grid.width, n % grid.width};
        for (std::size_t i = 0; i < lowered_[s].inputs.size(); ++i) {
          const MapView from = maps.of_chunk(lowered_[s].inputs[i].map, c).view();
          const MapView packed = input(tile, i, images.size()).view();
          if (!packed.rect.empty()) cut.push_back({from, packed});
        }
        for (std::size_t o = 0; o < lowered_[s].outputs.size(); ++o) {
          const MapView to = maps.of_chunk(lowered_[s].outputs[o].map, c).view();
          const MapView packed = core(tile, o, images.size()).view();
          if (!packed.rect.empty()) placed.push_back({packed, subview(to, all, packed.rect)});
        }
      }
      work_.push_back(
          {engine.tile_copies(cut), engine.tile_copies(placed),
           engine.tile_ledger({static_cast<std::int64_t>(s), images.begin, images.size(), grid})});
    }
  }
}

std::size_t PackedTiles::place_of(const Tile& tile) const {
  const Extent2 grid = plan_[tile.stage].grid();
  return tile.chunk % slots_ * static_cast<std::size_t>(grid.area()) +
         static_cast<std::size_t>(tile.row * grid.width + tile.column);
}

PlacedMap PackedTiles::dense(const StagePlan& plan, std::size_t value, std::int64_t images, Rect rect,
                             const Place& place) const {
  const ValueGeometry& map = plan.graph().values[value];
  return {dense_geometry(type_, images, map.channels, rect, map.extent), &place, 0};
}

PlacedMap PackedTiles::input(const Tile& tile, std::size_t number, std::int64_t images) const {
  const StagePlan& plan = plan_[tile.stage];
  const std::vector<StageInput>& inputs = lowered_[tile.stage].inputs;
  const std::size_t value = inputs[number].value;
  return dense(plan, value, images, plan.needed(tile.row, tile.column, value),
               stages_[tile.stage].inputs[place_of(tile) * inputs.size() + number]);
}

PlacedMap PackedTiles::core(const Tile& tile, std::size_t number, std::int64_t images) const {
  const StagePlan& plan = plan_[tile.stage];
  const std::vector<StageOutput>& outputs = lowered_[tile.stage].outputs;
  const std::size_t value = outputs[number].value;
  return dense(plan, value, images, plan.core(tile.row, tile.column, value),
               stages_[tile.stage].cores[place_of(tile) * outputs.size() + number]);
}

void PackedTiles::pack(std::size_t stage, std::size_t chunk, Stream& stream) {
  of_chunk(stage, chunk).ledger->clear(stream);
  of_chunk(stage, chunk).pack->run(stream);
}

void PackedTiles::arrive(const Tile& tile, Stream& stream) {
  of_chunk(tile.stage, tile.chunk).ledger->arrive(stream, tile.row, tile.column);
}

void PackedTiles::place(std::size_t stage, std::size_t chunk, Stream& stream) {
  of_chunk(stage, chunk).ledger->check(stream);
  of_chunk(stage, chunk).place->run(stream);
}

void PackedTiles::finish() {
  for (const OfChunk& chunk : work_) chunk.ledger->finish();
}

}  // namespace halotile
