#include "patching/runs.hpp"

namespace halotile {

void merge(Runs& intervals) {
  const auto by_begin = [](Interval a, Interval b) { return a.begin < b.begin; };
  if (!std::is_sorted(intervals.begin(), intervals.end(), by_begin))
    std::sort(intervals.begin(), intervals.end(), by_begin);
  std::size_t kept = 0;
  for (const Interval next : intervals) {
    if (kept > 0 && next.begin <= intervals[kept - 1].end) {
      intervals[kept - 1].end = std::max(intervals[kept - 1].end, next.end);
    } else {
      intervals[kept++] = next;
    }
  }
  intervals.resize(kept);
  if (kept > most_runs) intervals = {bounds(intervals)};
}

}  // namespace halotile
