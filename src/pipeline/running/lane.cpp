#include "pipeline/running/lane.hpp"

#include <algorithm>
#include <limits>

#include "pipeline/running/placement.hpp"

namespace halotile {

// Map 1 lies at the beginning, scratch 0 behind it: usually the first step needs most. The others go as far
// down as they can, and where they can apart from the map before the last, whose borders may still be copied.
Lane::Lane(const std::vector<std::size_t>& maps, const std::vector<std::size_t>& scratch, bool several) {
  const std::size_t steps = scratch.size();
  for (const std::size_t bytes : maps) maps_.push_back({0, aligned(bytes)});
  for (const std::size_t bytes : scratch) scratch_.push_back({0, aligned(bytes)});
  maps_.front().bytes = maps_.back().bytes = 0;
  const std::size_t first = maps_[1].bytes;
  if (several && scratch_[0].bytes > 0) {
    // With the step before, which writes the map that this one reads.
    const auto fits = [&](std::size_t step) {
      return maps_[step - 1].bytes + maps_[step].bytes <= first &&
             maps_[step].bytes + maps_[step + 1].bytes + scratch_[step].bytes <= first;
    };
    for (std::size_t step = steps; step-- > 1 && fits(step);) ahead_ = step;
  }
  const auto limit = [&](std::size_t step) {
    return ahead_ > 0 && step >= ahead_ ? first : first + scratch_[0].bytes;
  };
  for (std::size_t map = 2; map < steps; ++map) {
    place(maps_[map], {&maps_[map - 1]}, &maps_[map - 2], limit(map));
  }
  for (std::size_t step = 1; step < steps; ++step) {
    place(scratch_[step], {&maps_[step], &maps_[step + 1]}, nullptr, limit(step));
  }
  scratch_[0].at = first;
  for (std::size_t step = 1; step < steps; ++step) {
    const std::size_t end = std::max(
        {maps_[step].end(), maps_[step + 1].end(), scratch_[step].bytes > 0 ? scratch_[step].end() : 0});
    if (ahead_ > 0 && step >= ahead_) scratch_[0].at = std::max(scratch_[0].at, end);
    bytes_ = std::max(bytes_, end);
  }
  bytes_ = std::max(bytes_, scratch_[0].end());
}

// At the lowest place that overlaps none of `beside`, nor `if_possible` if that leaves one below `limit`.
void Lane::place(Span& span, const std::vector<const Span*>& beside, const Span* if_possible,
                 std::size_t limit) {
  const auto lowest = [&](const std::vector<const Span*>& others) {
    std::size_t best = std::numeric_limits<std::size_t>::max();
    const auto consider = [&](std::size_t at) {
      const Span there{at, span.bytes};
      if (std::ranges::none_of(others, [&](const Span* other) { return there.overlaps(*other); }))
        best = std::min(best, at);
    };
    consider(0);
    for (const Span* other : others) consider(other->end());
    return best;
  };
  if (if_possible != nullptr) {
    std::vector<const Span*> all = beside;
    all.push_back(if_possible);
    span.at = lowest(all);
    if (span.end() <= limit) return;
  }
  span.at = lowest(beside);
}

std::size_t Lane::fetched_beside(std::size_t map) const {
  std::size_t free_from = 0;
  for (std::size_t step = 0; step < map; ++step) {
    if (maps_[map].overlaps(maps_[step]) || maps_[map].overlaps(scratch_[step])) free_from = step + 1;
  }
  return free_from;
}

std::optional<std::size_t> Lane::waits_for(std::size_t step, const std::vector<bool>& kept) const {
  std::optional<std::size_t> last;
  if (kept[step]) last = fetched_beside(step);
  for (std::size_t map = 1; map < step; ++map) {
    const bool overwritten = maps_[map].overlaps(maps_[step + 1]) || maps_[map].overlaps(scratch_[step]);
    if (kept[map] && overwritten) last = std::max(last.value_or(0), map);
  }
  return last;
}

}  // namespace halotile
