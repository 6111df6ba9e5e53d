// All that a plan must know of a network: its maps, and how they depend on each other.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "patching/axis_graph.hpp"

namespace halotile {

/// One map.
struct ValueGeometry {
  std::string name;
  Extent2 extent;
  std::int64_t channels = 0;
  double flops_per_position = 0;  ///< work of making all channels of one position of one image
};

/// Value `to` is made of value `from`.
struct PlaneEdge {
  PlaneMap map;
  std::size_t from = 0;
  std::size_t to = 0;
};

/// Values and edges in the order that AxisGraph asks for. Values into which no edge leads are the sources.
struct GraphGeometry {
  std::vector<ValueGeometry> values;
  std::vector<PlaneEdge> edges;

  [[nodiscard]] AxisGraph rows() const;
  [[nodiscard]] AxisGraph cols() const;
};

/// Image pixels that stand for one position of a map.
struct PlaneStride {
  Ratio rows;
  Ratio cols;

  bool operator==(const PlaneStride&) const = default;
};
/// Of every value: strides() of both axes, sources at 1.
[[nodiscard]] std::vector<PlaneStride> plane_strides(const GraphGeometry& graph);

}  // namespace halotile
