#include "patching/borders.hpp"

#include <algorithm>
#include <limits>

namespace halotile {
namespace {

constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();

// What the parts hold of a map of which they need these intervals.
std::vector<Held> shared_out(std::span<const Interval> needed) {
  std::vector<std::int64_t> done;  // per part: where the parts before it have come to
  std::int64_t end = std::numeric_limits<std::int64_t>::min();
  for (const Interval& n : needed) {
    done.push_back(end);
    if (!n.empty()) end = std::max(end, n.end);
  }
  std::vector<Held> held(needed.size());
  Interval for_next;  // what the next part takes over
  for (std::size_t p = needed.size(); p-- > 0;) {
    const Interval all = hull(needed[p], for_next);
    held[p] = {intersect(all, {-far, done[p]}), intersect(all, {done[p], far})};
    for_next = held[p].kept;
  }
  return held;
}

}  // namespace

std::vector<std::vector<Held>> held_by_parts(std::span<const std::vector<AxisLayer>> steps,
                                             std::span<const Interval> cores,
                                             const std::set<std::size_t>& repeated) {
  std::vector<std::vector<Held>> held(steps.size() + 1);
  for (const Interval& core : cores) held.back().push_back({{}, core.empty() ? Interval{} : core});
  for (std::size_t i = steps.size(); i-- > 0;) {
    std::vector<Interval> needed;
    for (const Held& next : held[i + 1]) {
      needed.push_back(next.fresh.empty() ? Interval{} : needed_intervals(steps[i], next.fresh).front());
    }
    if (i > 0 && !repeated.contains(i)) {
      held[i] = shared_out(needed);
    } else {
      for (const Interval& n : needed) held[i].push_back({{}, n});
    }
  }
  return held;
}

}  // namespace halotile
