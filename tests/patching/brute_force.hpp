// Plans from their definition, position by position: what the patcher's interval arithmetic is tested
// against.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "chain.hpp"

namespace halotile::brute_force {

/// A chain of layers, its stages and how it is cut.
struct Case {
  std::vector<LayerGeometry> layers;
  std::vector<StageRange> stages;
  PatchSpec patch;
};

/// Everything needed to write the case down.
[[nodiscard]] std::string to_string(const Case& c);

/// Largest input edge and most layers of random chains.
struct Limits {
  std::int64_t edge = 64;
  std::int64_t layers = 5;
};

/// Kernels 1 to 11, strides 1 to 5, padding 0 to 5, dilation 1 to 3, ceil mode, adaptive windows, both axes
/// alike or not; random stages; whole, patch sizes and grids (also larger than the map).
[[nodiscard]] Case random_case(std::mt19937_64& random, const Limits& limits);

/// Positions along an axis that do or do not belong to a set.
using Positions = std::vector<bool>;

/// The positions inside a map of `input` positions that the outputs in `out` are made from, asked one by one.
[[nodiscard]] Positions reads(const AxisMap& map, std::int64_t input, const Positions& out);

/// Smallest interval holding all positions of the set; {} for an empty one.
[[nodiscard]] Interval bounds(const Positions& set);

/// What needed() of a graph must be, from sets of positions.
[[nodiscard]] std::vector<Interval> needed(const AxisGraph& graph, std::span<const AxisCore> cores);

}  // namespace halotile::brute_force
