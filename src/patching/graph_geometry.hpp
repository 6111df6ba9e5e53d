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

/// What the plan must know of one spatial layer of a chain.
struct LayerGeometry {
  std::string name;
  Window window;
  Extent2 input;
  Extent2 output;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  double flops_per_position = 0;  ///< work of all channels of one output position of one image
};

/// Value l is the map before layer l, the last value the output; edge l is layer l. Extents are taken from
/// the layers as they are.
[[nodiscard]] GraphGeometry chain_geometry(std::span<const LayerGeometry> layers);

}  // namespace halotile
