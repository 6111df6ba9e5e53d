// Packed tiles where a device cuts and places all tiles of a stage at once: where each lies, the batched
// copies, and the account by key.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "patching/plan.hpp"
#include "pipeline/running/lowered_stage.hpp"
#include "pipeline/running/run_maps.hpp"

namespace halotile {

class PackedTiles {
 public:
  PackedTiles(std::span<const LoweredStage> stages, std::span<const StagePlan> plan, DType type,
              std::int64_t sub_batch);

  /// Bytes of a slot: the largest stage's tiles, inputs and cores.
  [[nodiscard]] std::size_t slot_bytes() const { return input_bytes_ + core_bytes_; }
  /// Before anything is asked of it: `memory` will hold the slots, one behind the other.
  void set_memory(const Space& memory, std::size_t slots);
  /// Prepares the copies, when memory is there.
  void prepare(Engine& engine, const RunMaps& maps);

  /// A tile of a stage.
  struct Tile {
    std::size_t stage = 0;
    std::size_t chunk = 0;
    std::int64_t row = 0;
    std::int64_t column = 0;
  };
  /// What a tile reads of one of the stage's inputs, and its core of one of the outputs, in packed memory.
  [[nodiscard]] PlacedMap input(const Tile& tile, std::size_t number, std::int64_t images) const;
  [[nodiscard]] PlacedMap core(const Tile& tile, std::size_t number, std::int64_t images) const;

  void pack(std::size_t stage, std::size_t chunk, Stream& stream);
  void arrive(const Tile& tile, Stream& stream);
  void place(std::size_t stage, std::size_t chunk, Stream& stream);
  /// Throws TileError when a key was missing, doubled, foreign or not in its place.
  void finish();

 private:
  struct OfStage {
    std::vector<Place> inputs;  // per slot, per tile, per input
    std::vector<Place> cores;   // likewise, per output
  };
  struct OfChunk {
    std::unique_ptr<TileCopies> pack;
    std::unique_ptr<TileCopies> place;
    std::unique_ptr<TileLedger> ledger;
  };

  [[nodiscard]] std::size_t place_of(const Tile& tile) const;
  [[nodiscard]] PlacedMap dense(const StagePlan& plan, std::size_t value, std::int64_t images, Rect rect,
                                const Place& place) const;
  [[nodiscard]] OfChunk& of_chunk(std::size_t stage, std::size_t chunk) {
    return work_[stage * chunks_ + chunk];
  }

  std::span<const LoweredStage> lowered_;
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
