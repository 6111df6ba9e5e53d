#include "pipeline/running/tile_memory.hpp"

namespace halotile {

TileMemory::Call& TileMemory::of(std::size_t stage, std::size_t call) {
  while (stages_.size() <= stage) stages_.emplace_back();
  std::deque<Call>& calls = stages_[stage];
  while (calls.size() <= call) calls.push_back({{&space_, 0, 0}, {&space_, 0, 0}});
  return calls[call];
}

Place& TileMemory::output(std::size_t stage, std::size_t call, std::size_t last_reader) {
  Call& made = of(stage, call);
  made.last_reader = last_reader;
  return made.output;
}

std::size_t TileMemory::lay_out(std::size_t stage, std::size_t shift) {
  if (stage >= stages_.size()) return 0;
  std::deque<Call>& calls = stages_[stage];
  std::vector<Lifetime> lifetimes;
  for (std::size_t c = 0; c < calls.size(); ++c) {
    lifetimes.push_back({calls[c].output.bytes, c, calls[c].last_reader});
    lifetimes.push_back({calls[c].scratch.bytes, c, c});
  }
  const MemoryPlan plan = plan_memory(lifetimes);
  for (std::size_t c = 0; c < calls.size(); ++c) {
    calls[c].output.offset = shift + plan.offsets[2 * c];
    calls[c].scratch.offset = shift + plan.offsets[2 * c + 1];
  }
  return plan.bytes;
}

void TileMemory::lay_out() {
  for (std::size_t stage = 0; stage < stages_.size(); ++stage)
    space_.bytes = std::max(space_.bytes, lay_out(stage));
}

void TileMemory::copy(std::size_t stage, TileMemory& other, std::size_t shift) {
  if (stage >= other.stages_.size()) return;
  for (std::size_t c = 0; c < other.stages_[stage].size(); ++c) {
    const Call& from = other.stages_[stage][c];
    Call& to = of(stage, c);
    to.output = {&space_, from.output.offset + shift, from.output.bytes};
    to.scratch = {&space_, from.scratch.offset + shift, from.scratch.bytes};
  }
}

}  // namespace halotile
