#include "pipeline/running/packing.hpp"

#include <algorithm>

namespace halotile {

PackedTiles::PackedTiles(const Network& network, std::span<const StagePlan> plan, DType type,
                         std::int64_t sub_batch)
    : network_(network), plan_(plan), type_(type), sub_batch_(sub_batch) {
  for (const StagePlan& stage : plan_) {
    OfStage& places = stages_.emplace_back();
    std::size_t inputs = 0;
    std::size_t cores = 0;
    const auto add = [&](std::vector<Place>& to, std::size_t& end, Rect rect, std::size_t layer) {
      const std::size_t bytes = bytes_of(dense(layer, sub_batch_, rect, {}));
      to.push_back({nullptr, end, bytes});
      end += aligned(bytes);
    };
    for (std::int64_t row = 0; row < stage.grid().height; ++row) {
      for (std::int64_t column = 0; column < stage.grid().width; ++column) {
        add(places.inputs, inputs, stage.needed(row, column, 0), stage.range().first);
        add(places.cores, cores, stage.core(row, column), stage.range().last);
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
      const MapView from = maps.of_chunk(s, c).view();
      const MapView to = maps.of_chunk(s + 1, c).view();
      std::vector<TileCopy> cut;
      std::vector<TileCopy> placed;
      for (std::int64_t row = 0; row < grid.height; ++row) {
        for (std::int64_t column = 0; column < grid.width; ++column) {
          const MapView tile = core(s, c, row, column, images.size()).view();
          cut.push_back({from, input(s, c, row, column, images.size()).view()});
          placed.push_back({tile, subview(to, {0, images.size()}, tile.rect)});
        }
      }
      work_.push_back(
          {engine.tile_copies(cut), engine.tile_copies(placed),
           engine.tile_ledger({static_cast<std::int64_t>(s), images.begin, images.size(), grid})});
    }
  }
}

std::size_t PackedTiles::place_of(std::size_t stage, std::size_t chunk, std::int64_t row,
                                  std::int64_t column) const {
  const Extent2 grid = plan_[stage].grid();
  return chunk % slots_ * static_cast<std::size_t>(grid.area()) +
         static_cast<std::size_t>(row * grid.width + column);
}

PlacedMap PackedTiles::dense(std::size_t layer, std::int64_t images, Rect rect, const Place& place) const {
  const MapShape& shape = layer == 0 ? network_.input : network_.layers[layer - 1].out;
  return {dense_geometry(type_, images, shape.channels, rect, shape.extent), &place, 0};
}

PlacedMap PackedTiles::input(std::size_t stage, std::size_t chunk, std::int64_t row, std::int64_t column,
                             std::int64_t images) const {
  return dense(plan_[stage].range().first, images, plan_[stage].needed(row, column, 0),
               stages_[stage].inputs[place_of(stage, chunk, row, column)]);
}

PlacedMap PackedTiles::core(std::size_t stage, std::size_t chunk, std::int64_t row, std::int64_t column,
                            std::int64_t images) const {
  return dense(plan_[stage].range().last, images, plan_[stage].core(row, column),
               stages_[stage].cores[place_of(stage, chunk, row, column)]);
}

void PackedTiles::pack(std::size_t stage, std::size_t chunk, Stream& stream) {
  of_chunk(stage, chunk).ledger->clear(stream);
  of_chunk(stage, chunk).pack->run(stream);
}

void PackedTiles::arrive(std::size_t stage, std::size_t chunk, std::int64_t row, std::int64_t column,
                         Stream& stream) {
  of_chunk(stage, chunk).ledger->arrive(stream, row, column);
}

void PackedTiles::place(std::size_t stage, std::size_t chunk, Stream& stream) {
  of_chunk(stage, chunk).ledger->check(stream);
  of_chunk(stage, chunk).place->run(stream);
}

void PackedTiles::finish() {
  for (const OfChunk& chunk : work_) chunk.ledger->finish();
}

}  // namespace halotile
