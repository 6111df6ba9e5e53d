// Random graphs along one axis, for tests against brute force.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "patching/plan.hpp"

namespace halotile::random_graph {

struct Limits {
  std::int64_t size = 40;       ///< most positions of a source
  std::int64_t most_size = 80;  ///< of any value
  std::int64_t values = 9;
};

/// A map of any kind that fits `input` and makes at most `most` outputs.
[[nodiscard]] AxisMap draw_map(std::mt19937_64& random, std::int64_t input, std::int64_t most);

/// A graph of one to three sources of uneven sizes, and values of one to three inputs each (joins); values
/// may be read more than once (skips) or never. Maps are of all kinds.
[[nodiscard]] AxisGraph draw(std::mt19937_64& random, const Limits& limits);

/// A graph of maps of both axes, whose branches agree in stride where they meet, and its stages.
struct Plane {
  GraphGeometry graph;
  std::vector<StageValues> stages;
  PatchSpec patch;
};
[[nodiscard]] Plane draw_plane(std::mt19937_64& random, const Limits& limits);

/// Intervals of one to three values, some of them empty or of the same value.
[[nodiscard]] std::vector<AxisCore> draw_cores(std::mt19937_64& random, const AxisGraph& graph);

/// Everything needed to write the case down.
[[nodiscard]] std::string to_string(const AxisMap& map);
[[nodiscard]] std::string to_string(const AxisGraph& graph);
[[nodiscard]] std::string to_string(const std::vector<AxisCore>& cores);
[[nodiscard]] std::string to_string(const Plane& plane);

}  // namespace halotile::random_graph
