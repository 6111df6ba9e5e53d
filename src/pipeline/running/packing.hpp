// Packed tiles where a device cuts and places all tiles of a stage at once: where each lies, the batched
// copies, and the account by key.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "patching/plan.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/running/schedule.hpp"

namespace halotile {

class PackedTiles {
 public:
  PackedTiles(const Network& network, std::span<const StagePlan> plan, DType type, std::int64_t sub_batch);

  /// Bytes of a slot: the largest stage's tiles, inputs and cores.
  [[nodiscard]] std::size_t slot_bytes() const { return input_bytes_ + core_bytes_; }
  /// Prepares the copies. `memory` holds the slots one behind the other; `map` gives the map before stage
  /// number n (the last: behind all), for the images of a chunk.
  void prepare(Engine& engine, const Schedule& schedule, std::byte* memory,
               const std::function<MapView(std::size_t map, std::size_t chunk)>& map);

  /// A tile's input, and its core, in packed memory; without data before prepare().
  [[nodiscard]] MapView input(const Task& task, std::int64_t images) const;
  [[nodiscard]] MapView core(const Task& task, std::int64_t images) const;

  void pack(const Task& task, Stream& stream);
  void arrive(const Task& task, Stream& stream);
  void place(const Task& task, Stream& stream);
  /// Throws TileError when a key was missing, doubled, foreign or not in its place.
  void finish();

 private:
  struct OfStage {
    std::vector<std::size_t> inputs;  // per tile: offset in the slot
    std::vector<std::size_t> cores;
  };
  struct OfChunk {
    std::unique_ptr<TileCopies> pack;
    std::unique_ptr<TileCopies> place;
    std::unique_ptr<TileLedger> ledger;
  };

  [[nodiscard]] MapView view(const Task& task, std::int64_t images, std::size_t layer, Rect rect,
                             std::size_t offset) const;
  [[nodiscard]] std::size_t tile_of(const Task& task) const;
  [[nodiscard]] OfChunk& chunk_of(const Task& task);

  const Network& network_;
  std::span<const StagePlan> plan_;
  DType type_;
  std::size_t input_bytes_ = 0;
  std::size_t core_bytes_ = 0;
  std::vector<OfStage> stages_;
  std::byte* memory_ = nullptr;
  std::size_t slots_ = 1;
  std::size_t chunks_ = 0;
  std::vector<OfChunk> work_;  // per stage, per chunk
};

}  // namespace halotile
