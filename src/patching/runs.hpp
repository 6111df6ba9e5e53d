// Sets of positions along one axis, as the intervals that they are made of.
#pragma once

#include <cstddef>
#include <vector>

#include "patching/geometry.hpp"

namespace halotile {

/// A set of positions: intervals, none empty, ascending, no two of them touching.
using Runs = std::vector<Interval>;

/// Sets of more runs than this are not kept apart: they become the interval around them.
constexpr std::size_t most_runs = 4096;

/// Puts intervals (none empty) in the order that Runs have, and merges those that meet or touch.
void merge(Runs& intervals);

/// Smallest interval holding all runs; {} for none.
[[nodiscard]] inline Interval bounds(const Runs& runs) {
  return runs.empty() ? Interval{} : Interval{runs.front().begin, runs.back().end};
}

}  // namespace halotile
