#include "pipeline/running/tile_groups.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace halotile {

std::size_t TileGroups::most(std::size_t stage) const {
  const std::size_t each = scratch_[stage].bytes();
  if (each == 0) return std::numeric_limits<std::size_t>::max();
  return std::max<std::size_t>(lane_bytes_ / each, 1);
}

std::size_t TileGroups::end_of_group(const Schedule& schedule, std::size_t task) const {
  const Task& first = schedule.tasks[task];
  const std::size_t limit = most(static_cast<std::size_t>(first.stage));
  std::size_t end = task + 1;
  while (end < schedule.tasks.size() && end - task < limit) {
    const Task& next = schedule.tasks[end];
    if (next.role != TaskRole::tile || next.stage != first.stage || next.chunk != first.chunk) break;
    ++end;
  }
  return end;
}

template <typename Visit>
void TileGroups::for_each_group(const Schedule& schedule, const Visit& visit) const {
  for (std::size_t task = 0; task < schedule.tasks.size();) {
    const auto stage = static_cast<std::size_t>(schedule.tasks[task].stage);
    if (schedule.tasks[task].role != TaskRole::tile || stage >= scratch_.size()) {
      ++task;
      continue;
    }
    const std::size_t end = end_of_group(schedule, task);
    visit(stage, task, end);
    task = end;
  }
}

std::size_t TileGroups::bytes(const Schedule& schedule) const {
  std::size_t bytes = 0;
  for_each_group(schedule, [&](std::size_t stage, std::size_t first, std::size_t end) {
    bytes = std::max(bytes, (end - first) * scratch_[stage].bytes());
  });
  return bytes;
}

void TileGroups::prepare(const Schedule& schedule, Engine& engine, std::byte* lane, const Calls& calls) {
  steps_.resize(schedule.tasks.size());
  for_each_group(schedule, [&](std::size_t stage, std::size_t first, std::size_t end) {
    std::map<std::size_t, std::pair<std::size_t, std::vector<TileCall>>> tiles;  // by call: line, tiles
    for (std::size_t task = first; task < end; ++task) {
      Scratch scratch = scratch_[stage];
      scratch.base = lane + (task - first) * scratch.bytes();
      calls(task, scratch, [&](std::size_t call, std::size_t line, const TileCall& tile) {
        tiles[call].first = line;
        tiles[call].second.push_back(tile);
      });
    }
    for (const auto& [call, step] : tiles) {
      steps_[first].push_back({step.first, engine.tile_step(step.second)});
    }
  });
}

void TileGroups::for_each_step(std::size_t task,
                               const std::function<void(std::size_t line, TileStep& step)>& run) {
  for (const Step& step : steps_[task]) run(step.line, *step.step);
}

}  // namespace halotile
