// Borders kept for neighbours: along one axis, parts of a stage's output are taken one after the other, and
// what a part needs behind a step it computes only where no part before it has. The rest it gets from the
// part right before it.
#pragma once

#include <set>
#include <span>
#include <vector>

#include "patching/axis_graph.hpp"

namespace halotile {

/// What a part holds of a map, two intervals that touch.
struct Held {
  Interval kept;   ///< computed by parts before; the part right before holds it, too
  Interval fresh;  ///< computed by this one

  bool operator==(const Held&) const = default;
  [[nodiscard]] constexpr Interval all() const { return hull(kept, fresh); }
};

/// `steps` are the stage's, each a chain of layers along the axis; `cores` the parts of its output, ascending
/// and disjoint. Element i of the result is what each part holds of the map before step i: before the first,
/// all that it reads, as `fresh`; behind the last (element steps.size()) its core. Before any other step
/// everything that some part needs is `fresh` in exactly one of them, but for the maps (numbered as the
/// result's elements) of which every part computes all that it needs, `repeated`.
[[nodiscard]] std::vector<std::vector<Held>> held_by_parts(std::span<const std::vector<AxisLayer>> steps,
                                                           std::span<const Interval> cores,
                                                           const std::set<std::size_t>& repeated = {});

}  // namespace halotile
