// The schedule: which tile runs on which stream, in which order, and which tiles it must wait for. Worked out
// once from the plan; a run follows it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "patching/plan.hpp"
#include "patching/tile_key.hpp"

namespace halotile {

/// What a task does. All but `tile` are for devices with memory of their own.
enum class TaskRole : std::uint8_t {
  tile,      ///< one tile of one chunk of images, or one block of a layer behind the feature maps
  step,      ///< a step of a part of several tiles: `row` is the part, `column` the step
  borders,   ///< copies of borders beside that step
  ahead,     ///< what a part's first step can do of its input ahead of its turn
  upload,    ///< a chunk's images to the device
  allocate,  ///< memory for a stage's output of a chunk
  pack,      ///< all tiles of a stage of a chunk cut out at once
  place,     ///< and their cores placed at once
  release,   ///< memory of a stage's input of a chunk given back
  download,  ///< the kept outputs to the host, behind all else
};

struct Task {
  std::int32_t stage = 0;  ///< spatial stages first, then the others
  std::int32_t chunk = 0;
  std::int32_t row = 0;  ///< tile row, or the block
  std::int32_t column = 0;
  std::int32_t stream = 0;
  bool awaited = false;  ///< a task of another stream waits for this one
  std::uint32_t first_wait = 0;
  std::uint32_t wait_count = 0;
  TaskRole role = TaskRole::tile;
};

/// For traces: "conv1: image 0, stage 0, row 1, column 0, 8 images", "fc6: block 2", "upload, image 8, 8
/// images". `layer` is the stage's first; `images` are the chunk's; `spatial` false behind the feature maps.
[[nodiscard]] std::string to_string(const Task& task, const std::string& layer, Interval images,
                                    bool spatial);

/// A stage in parts, each of several tiles that are computed together, step by step, on one stream. Two more
/// streams do what has time until a later step: beside steps, one copies borders of maps to where they are
/// kept for later parts, and borders of others from there; one begins with the next part's input.
struct MergedTiles {
  std::vector<Rect> inputs;   ///< per part: what it reads of the stage's input
  std::vector<bool> borders;  ///< per step: whether borders are copied beside it
  /// Per step: the step of the same part beside which the last copies go that this one needs. The first step
  /// needs all of the part before.
  std::vector<std::optional<std::size_t>> border_waits;
  std::size_t ahead = 0;  ///< the step beside which the next part begins; 0: none
};

struct ScheduleRequest {
  std::span<const StagePlan> stages;
  std::vector<bool>
      whole_batch_output;  ///< per spatial stage: its output has memory of its own for all images
  std::vector<std::int64_t> vector_blocks;  ///< per stage behind the feature maps: its number of blocks
  std::int64_t batch = 1;
  std::int64_t sub_batch = 1;
  int streams = 1;
  bool upload = false;           ///< images come from the host, a chunk at a time
  bool pack_at_once = false;     ///< tiles of a stage are cut and placed together, in memory of their slot
  bool allocate_in_run = false;  ///< outputs without memory of their own get it during the run, no slots
  bool download = false;
  std::vector<const MergedTiles*> merged = {};  ///< per spatial stage: its parts, for streams = 1; or null
  std::vector<std::int64_t> first_sub_batches = {};  ///< sizes of the chunks before those of sub_batch images
};

struct Schedule {
  std::vector<Task> tasks;           ///< in the order in which they are queued
  std::vector<std::uint32_t> waits;  ///< indices of tasks, see Task::first_wait
  std::vector<Interval> chunks;      ///< images of each chunk
  int streams = 1;                   ///< those asked for, and behind them what parts need
  std::int64_t slots = 1;            ///< chunks in flight: chunk c uses the memory of slot c % slots

  [[nodiscard]] std::span<const std::uint32_t> waits_of(const Task& task) const {
    return std::span(waits).subspan(task.first_wait, task.wait_count);
  }
};

/// The images of each chunk: sub-batches of the first sizes, then of `sub_batch`.
[[nodiscard]] std::vector<Interval> chunks_of(std::int64_t batch, std::int64_t sub_batch,
                                              std::span<const std::int64_t> first_sub_batches);

/// Outputs that have no memory of their own alternate between two halves of their chunk's slot: spatial stage
/// s writes half (s + 1) % 2. Throws std::logic_error for pack_at_once with allocate_in_run, and for parts on
/// several streams.
[[nodiscard]] Schedule make_schedule(const ScheduleRequest& request);

}  // namespace halotile
