// dispatch: batched. Tiles of a stage take its steps together, step by step: all of them, or as many as have
// what lies between two steps in the lane, a small piece of memory.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "pipeline/running/map_memory.hpp"
#include "pipeline/running/schedule.hpp"

namespace halotile {

class TileGroups {
 public:
  /// Tiles that go together need at most so many bytes, if they are several.
  TileGroups(std::size_t stages, std::size_t lane_bytes) : lane_bytes_(lane_bytes), scratch_(stages) {}
  /// What one tile of each spatial stage needs; grows while operations are prepared.
  [[nodiscard]] Scratch& scratch(std::size_t stage) { return scratch_[stage]; }

  /// Bytes of the lane. When all operations are prepared.
  [[nodiscard]] std::size_t bytes(const Schedule& schedule) const;

  /// To be called for the calls of a task in the order of its work; `line` comes back with the step.
  using Add = std::function<void(std::size_t call, std::size_t line, const TileCall& tile)>;
  using Calls = std::function<void(std::size_t task, const Scratch& scratch, const Add& add)>;
  /// Makes the groups; `lane` is the memory, `calls` visits a task's calls with the scratch given.
  void prepare(const Schedule& schedule, Engine& engine, std::byte* lane, const Calls& calls);

  /// Calls run(line, step) for the steps of the group that begins with this task, if one does.
  void for_each_step(std::size_t task, const std::function<void(std::size_t line, TileStep& step)>& run);

 private:
  struct Step {
    std::size_t line = 0;
    std::unique_ptr<TileStep> step;
  };

  // Tiles of a stage that go together.
  [[nodiscard]] std::size_t most(std::size_t stage) const;
  // One behind the last task of the group that begins with `task`.
  [[nodiscard]] std::size_t end_of_group(const Schedule& schedule, std::size_t task) const;

  // Calls visit(stage, first task, one behind the last) for every group.
  template <typename Visit>
  void for_each_group(const Schedule& schedule, const Visit& visit) const;

  std::size_t lane_bytes_;
  std::vector<Scratch> scratch_;
  std::vector<std::vector<Step>> steps_;  // per task: of the group that it begins
};

}  // namespace halotile
