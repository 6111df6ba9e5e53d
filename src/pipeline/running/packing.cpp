#include "pipeline/running/packing.hpp"

#include <algorithm>

namespace halotile {
namespace {

constexpr std::size_t alignment = 256;

}  // namespace

PackedTiles::PackedTiles(const Network& network, std::span<const StagePlan> plan, DType type,
                         std::int64_t sub_batch)
    : network_(network), plan_(plan), type_(type) {
  for (const StagePlan& stage : plan_) {
    OfStage offsets;
    std::size_t inputs = 0;
    std::size_t cores = 0;
    const auto advance = [&](std::size_t& end, Rect rect, std::size_t layer) {
      const std::int64_t channels =
          layer == 0 ? network_.input.channels : network_.layers[layer - 1].out.channels;
      const std::size_t begin = end;
      const auto bytes = static_cast<std::size_t>(sub_batch * rect.area() * channels * size_of(type_));
      end += (bytes + alignment - 1) / alignment * alignment;
      return begin;
    };
    for (std::int64_t row = 0; row < stage.grid().height; ++row) {
      for (std::int64_t column = 0; column < stage.grid().width; ++column) {
        offsets.inputs.push_back(advance(inputs, stage.needed(row, column, 0), stage.range().first));
        offsets.cores.push_back(advance(cores, stage.core(row, column), stage.range().last));
      }
    }
    input_bytes_ = std::max(input_bytes_, inputs);
    core_bytes_ = std::max(core_bytes_, cores);
    stages_.push_back(std::move(offsets));
  }
}

void PackedTiles::prepare(Engine& engine, const Schedule& schedule, std::byte* memory,
                          const std::function<MapView(std::size_t map, std::size_t chunk)>& map) {
  memory_ = memory;
  slots_ = static_cast<std::size_t>(schedule.slots);
  chunks_ = schedule.chunks.size();
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    const Extent2 grid = plan_[s].grid();
    for (std::size_t c = 0; c < chunks_; ++c) {
      const Interval images = schedule.chunks[c];
      const MapView from = map(s, c);
      const MapView to = map(s + 1, c);
      std::vector<TileCopy> cut;
      std::vector<TileCopy> placed;
      for (std::int32_t row = 0; row < grid.height; ++row) {
        for (std::int32_t column = 0; column < grid.width; ++column) {
          const Task task{static_cast<std::int32_t>(s), static_cast<std::int32_t>(c), row, column};
          const MapView tile = core(task, images.size());
          cut.push_back({from, input(task, images.size())});
          placed.push_back({tile, subview(to, {0, images.size()}, tile.rect)});
        }
      }
      work_.push_back(
          {engine.tile_copies(cut), engine.tile_copies(placed),
           engine.tile_ledger({static_cast<std::int64_t>(s), images.begin, images.size(), grid})});
    }
  }
}

MapView PackedTiles::view(const Task& task, std::int64_t images, std::size_t layer, Rect rect,
                          std::size_t offset) const {
  const MapShape& shape = layer == 0 ? network_.input : network_.layers[layer - 1].out;
  MapView view{dense_geometry(type_, images, shape.channels, rect, shape.extent), nullptr};
  if (memory_ != nullptr) {
    view.data = memory_ + static_cast<std::size_t>(task.chunk) % slots_ * slot_bytes() + offset;
  }
  return view;
}

std::size_t PackedTiles::tile_of(const Task& task) const {
  return static_cast<std::size_t>(task.row * plan_[static_cast<std::size_t>(task.stage)].grid().width +
                                  task.column);
}

PackedTiles::OfChunk& PackedTiles::chunk_of(const Task& task) {
  return work_[static_cast<std::size_t>(task.stage) * chunks_ + static_cast<std::size_t>(task.chunk)];
}

MapView PackedTiles::input(const Task& task, std::int64_t images) const {
  const auto stage = static_cast<std::size_t>(task.stage);
  return view(task, images, plan_[stage].range().first, plan_[stage].needed(task.row, task.column, 0),
              stages_[stage].inputs[tile_of(task)]);
}

MapView PackedTiles::core(const Task& task, std::int64_t images) const {
  const auto stage = static_cast<std::size_t>(task.stage);
  return view(task, images, plan_[stage].range().last, plan_[stage].core(task.row, task.column),
              input_bytes_ + stages_[stage].cores[tile_of(task)]);
}

void PackedTiles::pack(const Task& task, Stream& stream) {
  chunk_of(task).ledger->clear(stream);
  chunk_of(task).pack->run(stream);
}

void PackedTiles::arrive(const Task& task, Stream& stream) {
  chunk_of(task).ledger->arrive(stream, task.row, task.column);
}

void PackedTiles::place(const Task& task, Stream& stream) {
  chunk_of(task).ledger->check(stream);
  chunk_of(task).place->run(stream);
}

void PackedTiles::finish() {
  for (const OfChunk& chunk : work_) chunk.ledger->finish();
}

}  // namespace halotile
