// Tiles on streams: what stands behind an Executor. It is prepared once (tile_program_prepare.cpp), then run
// (tile_program.cpp).
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "kernels/devices/trace_range.hpp"
#include "patching/reassembler.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/dropout.hpp"
#include "pipeline/running/executor_program.hpp"
#include "pipeline/running/host_copies.hpp"
#include "pipeline/running/map_memory.hpp"
#include "pipeline/running/merged_stage.hpp"
#include "pipeline/running/packing.hpp"
#include "pipeline/running/schedule.hpp"
#include "pipeline/running/tile_groups.hpp"
#include "pipeline/running/tile_operations.hpp"

namespace halotile {

struct SpatialStage {
  std::vector<Step> steps;
  std::vector<std::size_t> times;  // index of each step's LayerTime
};

struct VectorStage {
  Step step;
  std::vector<Interval> blocks;  // output features
  std::size_t time = 0;
};

class TileProgram final : public Executor::Program {
 public:
  TileProgram(const Network& network, std::vector<StagePlan> plan, Engine& engine,
              const ExecutorSettings& settings);

  void run(bool profiled) override;
  [[nodiscard]] MapView input() const override;
  void load_input() override;
  void set_dropout(std::int64_t sample, std::span<const std::int64_t> images) override {
    dropout_.choose(sample, images);
  }
  [[nodiscard]] ConstMapView output(std::size_t layer) override;
  [[nodiscard]] ConstMapView device_output(std::size_t layer) const override {
    return map_view(map_of_layer(layer));
  }
  [[nodiscard]] const std::vector<StagePlan>& plan() const override { return plan_; }
  [[nodiscard]] StageWork work(std::size_t stage) const override;
  [[nodiscard]] MemoryUse memory() const override { return {map_bytes_, arena_.bytes() - map_bytes_}; }
  [[nodiscard]] const RunTimes& times() const override { return times_; }
  [[nodiscard]] double idle_seconds() const override { return idle_seconds_; }
  void reset_times() override {
    times_.reset();
    idle_seconds_ = 0;
  }

 private:
  // What one step of a tile reads and writes.
  struct Call {
    ConstMapView in;
    MapView out;
  };
  void lower_stages();
  void plan_maps();
  void make_tasks();
  void prepare_operations();
  // Where tiles are computed as parts of several; else null.
  [[nodiscard]] std::unique_ptr<MergedStage> merge(std::size_t stage, std::span<const Step> steps);
  // Arithmetic of one image in a step, and what of it is repeated.
  [[nodiscard]] StageWork work_of(std::size_t stage, std::size_t step) const;
  void prepare_groups();
  void prepare_merged();
  void allocate();

  // Calls visit(call index, step or null for pack and place, Call) in the order of a tile's work. Used once
  // to prepare operations (memory is not there yet: views have no data) and then by every run.
  template <typename Visit>
  void for_each_call(const Task& task, const Scratch& scratch, const Visit& visit) const;
  // A line of times_ for a call of a spatial stage; `step` null for pack and place.
  [[nodiscard]] std::size_t time_of(std::size_t stage, std::size_t call, const Step* step) const;
  [[nodiscard]] Call vector_call(const Task& task) const;

  // A map that has memory for the whole batch, or a chunk's part of any map.
  [[nodiscard]] MapView map_view(std::size_t map) const;
  [[nodiscard]] MapView map_view(std::size_t map, std::size_t chunk) const;
  [[nodiscard]] MapView tile_view(std::size_t layer, Rect rect, std::int64_t images, const Scratch& scratch,
                                  std::size_t at) const;
  [[nodiscard]] std::size_t map_of_layer(std::size_t layer) const;
  [[nodiscard]] std::size_t pooled_at(std::size_t map, std::size_t chunk) const {
    return map * schedule_.chunks.size() + chunk;
  }

  void queue_tasks();
  void synchronize();
  static void run_task(void* program, std::size_t index);
  void execute(const Task& task, std::size_t index);
  void execute_tile(const Task& task, std::size_t index);
  [[nodiscard]] RangeLabel label_of(const Task& task) const;
  [[nodiscard]] RangeLabel label_inside(const Task& task, const std::string& name,
                                        RangeLabel::Role role) const;
  // Of its first layer; empty for tasks of no stage.
  [[nodiscard]] std::string stage_name(const Task& task) const {
    const auto stage = static_cast<std::size_t>(task.stage);
    return stage < stage_names_.size() ? stage_names_[stage] : "";
  }
  [[nodiscard]] Stream& stream_of(const Task& task) {
    return *streams_[static_cast<std::size_t>(task.stream)];
  }

  const Network& network_;
  const std::vector<StagePlan> plan_;
  Engine& engine_;
  const ExecutorSettings settings_;
  DropoutSample dropout_;

  std::vector<SpatialStage> spatial_;
  std::vector<VectorStage> vector_;
  std::vector<std::string> stage_names_;
  std::vector<MapStore> maps_;  // 0: the input; s + 1: the output of stage s
  Schedule schedule_;
  std::vector<Reassembler> reassemblers_;
  TileOperations operations_;
  std::vector<Operation*> calls_;                     // all tasks' operations, one after the other
  std::vector<std::size_t> first_call_;               // per task
  std::vector<Scratch> scratch_;                      // per stream
  std::unique_ptr<TileGroups> groups_;                // with dispatch: batched
  std::vector<std::unique_ptr<MergedStage>> merged_;  // per spatial stage; null where it is not merged
  std::size_t lane_offset_ = 0;                       // in the arena, for both
  std::size_t borders_offset_ = 0;
  std::size_t slot_bytes_ = 0;
  std::size_t slots_offset_ = 0;
  std::size_t map_bytes_ = 0;
  Buffer arena_;

  // Of devices with memory of their own:
  const bool own_memory_;
  std::unique_ptr<PackedTiles> packed_;  // tiles of a stage are cut and placed at once
  std::vector<void*> pooled_;            // per map, per chunk
  std::unique_ptr<HostCopies> host_;
  std::size_t pixels_offset_ = 0;  // of the u8 input in the arena
  std::unique_ptr<Replay> replay_;
  bool ran_ = false;  // work is captured from the second run on: the first loads kernels

  RunTimes times_;
  std::size_t pack_time_ = 0;
  std::size_t place_time_ = 0;
  std::size_t border_time_ = 0;
  std::size_t allocation_time_ = 0;
  double idle_seconds_ = 0;
  std::atomic<bool> failed_ = false;              // some task of the run
  std::vector<Event> events_;                     // per task, when awaited
  std::vector<std::unique_ptr<Stream>> streams_;  // last: their threads end first
};

template <typename Visit>
void TileProgram::for_each_call(const Task& task, const Scratch& scratch, const Visit& visit) const {
  const auto s = static_cast<std::size_t>(task.stage);
  const StagePlan& plan = plan_[s];
  const SpatialStage& stage = spatial_[s];
  const auto chunk = static_cast<std::size_t>(task.chunk);
  const Interval images{0, schedule_.chunks[chunk].size()};
  const bool packed = settings_.storage == Storage::packed && packed_ == nullptr;
  const std::size_t first = plan.range().first;
  const Rect core = plan.core(task.row, task.column);

  const MapView whole_in = map_view(s, chunk);
  const MapView core_out =
      packed_ != nullptr ? packed_->core(task, images.size()) : subview(map_view(s + 1, chunk), images, core);
  std::size_t call = 0;

  ConstMapView in;
  if (packed_ != nullptr) {
    in = packed_->input(task, images.size());
  } else if (packed) {
    const Rect need = plan.needed(task.row, task.column, 0);
    const MapView tile = tile_view(first, need, images.size(), scratch, scratch.at_packed_in());
    visit(call++, nullptr, Call{subview(ConstMapView(whole_in), images, need), tile});
    in = tile;
  } else {
    in = subview(ConstMapView(whole_in), images, seen_input(plan, task.row, task.column));
  }
  for (std::size_t i = 0; i < stage.steps.size(); ++i) {
    const Step& step = stage.steps[i];
    const bool last = i + 1 == stage.steps.size();
    MapView out;
    if (!last) {
      const Rect rect = plan.needed(task.row, task.column, step.last - first);
      out = tile_view(step.last, rect, images.size(), scratch, scratch.at_between(i % 2));
    } else if (packed) {
      out = tile_view(step.last, core, images.size(), scratch, scratch.at_packed_out());
    } else {
      out = core_out;
    }
    visit(call++, &step, Call{in, out});
    in = out;
  }
  if (packed) visit(call++, nullptr, Call{in, core_out});
}

}  // namespace halotile
