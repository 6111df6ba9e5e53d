// Lowering: from a plan to the instructions of a run. Which tile runs on which stream, in which order, what
// it must wait for, and where what it reads and writes lies.
//
// The batch is cut into chunks of images. A chunk goes through all stages; the tiles of a stage are dealt to
// the streams so that each gets about the same work. A tile waits exactly for the tiles of the stage before
// whose cores it reads, and for the readers of memory that it overwrites. Layers behind the feature maps run
// on the whole batch, fully connected ones in blocks of output features.
//
// How a stage's tiles become instructions is one of: an instruction a tile (view or packed); all tiles cut
// out at once before them and placed at once behind (packed, on devices); groups of tiles that take their
// steps together; parts of a stage that keep borders for each other (merged_stage.hpp).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "patching/reassembler.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor.hpp"
#include "pipeline/running/host_copies.hpp"
#include "pipeline/running/lowered_stage.hpp"
#include "pipeline/running/merged_stage.hpp"
#include "pipeline/running/packing.hpp"
#include "pipeline/running/program.hpp"
#include "pipeline/running/run_maps.hpp"
#include "pipeline/running/tile_memory.hpp"
#include "pipeline/running/tile_operations.hpp"
#include "pipeline/running/tile_work.hpp"

namespace halotile {

/// Lines for work that is no layer.
struct OtherLines {
  std::size_t pack = 0;
  std::size_t place = 0;
  std::size_t borders = 0;
  std::size_t allocation = 0;
};

/// All that lowering works with; everything outlives the program.
struct LoweringInput {
  std::span<const StagePlan> plan;
  Engine& engine;
  const ExecutorSettings& settings;
  std::span<const LoweredStage> stages;
  std::span<const std::unique_ptr<MergedStage>> merged;  ///< per stage: where tiles are computed as parts
  std::span<const LoweredVectors> vectors;
  const OtherLines& lines;
  TileOperations& operations;
  RunMaps& maps;        ///< 0: the input
  HostCopies* host;     ///< null where the device's memory is the host's
  PackedTiles* packed;  ///< null: tiles are not cut and placed all at once
  std::span<Reassembler> reassemblers;
  std::span<const std::unique_ptr<Stream>> streams;  ///< those asked for, and behind them two for parts
};

/// The images of each chunk: sub-batches of the first sizes, then of `sub_batch`.
[[nodiscard]] std::vector<Interval> chunks_of(std::int64_t batch, std::int64_t sub_batch,
                                              std::span<const std::int64_t> first_sub_batches);

class Lowering {
 public:
  Lowering(const LoweringInput& input, Arena& arena, Program& program);
  /// Adds all instructions of a run to the program, and the spaces of tiles to the arena. Throws ShapeError
  /// for more tiles than a run can hold.
  void lower();
  /// Adds them again, with memory as it was laid out: of a program in waves.
  void make_instructions();
  /// Memory of streams' tiles, with a pool: what a failed run may leave allocated.
  [[nodiscard]] std::deque<Space>& pooled() { return loose_; }
  /// Where groups and parts work; null without them. Parts may make it larger.
  [[nodiscard]] Space* lane() const { return lane_; }

 private:
  using Tile = PackedTiles::Tile;
  // The last instruction of a tile, as LastWork counts, and its stream.
  struct Made {
    std::uint32_t behind = 0;
    std::int32_t stream = 0;
  };
  using Load = std::vector<double>;
  // Of each call of a tile's work, in order; where there is nothing to do the work has no operation.
  using Visit = std::function<void(std::size_t call, TileOperation work)>;

  void check_number_of_tiles() const;
  void lower_stage(std::size_t stage, std::size_t chunk, Load& load);
  // The ways to make a stage's instructions. Tiles need `ready`, and `overwritten` before they write.
  void lower_tiles(std::size_t stage, std::size_t chunk, Load& load, const LastWork& ready,
                   const LastWork& overwritten);
  void lower_groups(std::size_t stage, std::size_t chunk, const LastWork& ready, const LastWork& overwritten);
  void lower_group(std::size_t stage, std::size_t chunk, Interval tiles, const LastWork& ready,
                   const LastWork& overwritten);
  void lower_parts(std::size_t stage, std::size_t chunk, const LastWork& needs);
  void accept_all(std::size_t stage, std::size_t chunk, std::size_t stream, const LastWork& needs);

  [[nodiscard]] LastWork before_tiles(std::size_t stage, std::size_t chunk, std::size_t stream);
  // The writers of what a tile sees, or a part of the stage that sees `seen` of its only input.
  [[nodiscard]] LastWork makers(const Tile& tile) const;
  [[nodiscard]] LastWork makers(std::size_t stage, std::size_t chunk, Rect seen) const;
  void behind_tiles(std::size_t stage, std::size_t chunk);
  [[nodiscard]] std::uint32_t lower_upload(std::size_t chunk, std::size_t stream);
  [[nodiscard]] LastWork lower_vectors(std::size_t number, const LastWork& done);
  void lower_download();

  void for_each_call(const Tile& tile, TileMemory& memory, std::int64_t stream, const Visit& visit);
  [[nodiscard]] std::vector<Piece> pieces_of(const Tile& tile, TileMemory& memory, std::size_t stream);
  [[nodiscard]] std::vector<Piece> in_pool_memory(std::vector<Piece> pieces, TileMemory& memory);
  [[nodiscard]] Work* allocate(Space& space, std::vector<Access> accesses = {});
  [[nodiscard]] Work* release(Space& space, std::vector<Access> accesses = {});
  // Of cutting out all tiles of a stage, or of placing their cores.
  [[nodiscard]] std::vector<Access> packed_accesses(std::size_t stage, std::size_t chunk, bool placing) const;
  [[nodiscard]] Piece arrive(const Tile& tile);
  [[nodiscard]] Piece accept(const Tile& tile);

  [[nodiscard]] TileKey key_of(const Tile& tile) const;
  [[nodiscard]] InstructionLabel label_of(const Tile& tile) const;
  [[nodiscard]] InstructionLabel chunk_label(const char* what, std::size_t chunk, std::uint32_t name) const;
  [[nodiscard]] std::size_t line_of(std::size_t stage, std::size_t call) const;

  void made(const Tile& tile, std::uint32_t behind, std::size_t stream);
  // Last instructions of `stage` whose cores of output `value` meet `rect`.
  [[nodiscard]] LastWork writers(std::size_t stage, std::size_t chunk, std::size_t value, Rect rect) const;
  // Whoever uses memory that a map of a chunk will overwrite.
  [[nodiscard]] LastWork users_before(std::size_t map, std::size_t chunk);
  void use(std::size_t map, std::size_t chunk, const LastWork& by);

  [[nodiscard]] bool in_pool() const { return input_.settings.memory == MemoryMode::pool; }
  [[nodiscard]] bool packs_tiles() const {
    return input_.settings.storage == Storage::packed && input_.packed == nullptr;
  }
  [[nodiscard]] LastWork nothing() const { return LastWork(input_.streams.size()); }

  const LoweringInput input_;
  Arena& arena_;
  Program& program_;
  const std::size_t asked_;  // streams that compute
  const std::uint32_t no_name_;
  LastWork last_;                                      // of all instructions
  LastWork last_of_stage_;                             // of the chunk added last
  std::vector<std::vector<std::vector<Made>>> made_;   // per stage, per chunk, per tile
  std::vector<std::vector<LastWork>> users_;           // per slot, per map
  std::vector<LastWork> finished_;                     // per slot: of all stages so far
  std::vector<LastWork> uploaded_;                     // per chunk
  std::deque<Space> loose_;                            // of streams, with a pool
  std::vector<std::unique_ptr<TileMemory>> memories_;  // per stream
  Space* lane_ = nullptr;                              // of groups and parts
  std::vector<std::unique_ptr<TileMemory>> groups_;    // per place in a group
  std::vector<std::size_t> bytes_of_tile_;             // of groups, per stage
};

}  // namespace halotile
