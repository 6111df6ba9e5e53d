// Packed tiles where a device cuts and places all tiles of a stage at once: where each lies, the batched
// copies, and the account by key.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "patching/plan.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/running/run_maps.hpp"

namespace halotile {

class PackedTiles {
 public:
  PackedTiles(const Network& network, std::span<const StagePlan> plan, DType type, std::int64_t sub_batch);

  /// Bytes of a slot: the largest stage's tiles, inputs and cores.
  [[nodiscard]] std::size_t slot_bytes() const { return input_bytes_ + core_bytes_; }
  /// Before anything is asked of it: `memory` will hold the slots, one behind the other.
  void set_memory(const Space& memory, std::size_t slots);
  /// Prepares the copies, when memory is there. Map s is the one before stage s, the last behind all.
  void prepare(Engine& engine, const RunMaps& maps);

  /// A tile's input, and its core, in packed memory.
  [[nodiscard]] PlacedMap input(std::size_t stage, std::size_t chunk, std::int64_t row, std::int64_t column,
                                std::int64_t images) const;
  [[nodiscard]] PlacedMap core(std::size_t stage, std::size_t chunk, std::int64_t row, std::int64_t column,
                               std::int64_t images) const;

  void pack(std::size_t stage, std::size_t chunk, Stream& stream);
  void arrive(std::size_t stage, std::size_t chunk, std::int64_t row, std::int64_t column, Stream& stream);
  void place(std::size_t stage, std::size_t chunk, Stream& stream);
  /// Throws TileError when a key was missing, doubled, foreign or not in its place.
  void finish();

 private:
  struct OfStage {
    std::vector<Place> inputs;  // per slot, per tile
    std::vector<Place> cores;
  };
  struct OfChunk {
    std::unique_ptr<TileCopies> pack;
    std::unique_ptr<TileCopies> place;
    std::unique_ptr<TileLedger> ledger;
  };

  [[nodiscard]] std::size_t place_of(std::size_t stage, std::size_t chunk, std::int64_t row,
                                     std::int64_t column) const;
  [[nodiscard]] PlacedMap dense(std::size_t layer, std::int64_t images, Rect rect, const Place& place) const;
  [[nodiscard]] OfChunk& of_chunk(std::size_t stage, std::size_t chunk) {
    return work_[stage * chunks_ + chunk];
  }

  const Network& network_;
  std::span<const StagePlan> plan_;
  DType type_;
  std::int64_t sub_batch_;
  std::size_t input_bytes_ = 0;
  std::size_t core_bytes_ = 0;
  std::vector<OfStage> stages_;
  std::size_t slots_ = 1;
  std::size_t chunks_ = 0;
  std::vector<OfChunk> work_;  // per stage, per chunk
};

}  // namespace halotile
