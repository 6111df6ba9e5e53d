// Chains of layers as graphs: value l is the map before layer l, the last value the output.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "patching/plan.hpp"

namespace halotile {

struct LayerGeometry {
  std::string name;
  Window window;
  Extent2 input;
  Extent2 output;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  double flops_per_position = 0;
};

/// Layers [first, last) that are a stage.
struct StageRange {
  std::size_t first = 0;
  std::size_t last = 0;

  bool operator==(const StageRange&) const = default;
};

/// Extents are taken from the layers as they are.
inline GraphGeometry chain_geometry(std::span<const LayerGeometry> layers) {
  GraphGeometry graph;
  if (layers.empty()) return graph;
  graph.values.push_back({"", layers.front().input, layers.front().in_channels, 0});
  for (std::size_t l = 0; l < layers.size(); ++l) {
    graph.values.push_back(
        {layers[l].name, layers[l].output, layers[l].out_channels, layers[l].flops_per_position});
    graph.edges.push_back({plane_map(layers[l].window), l, l + 1});
  }
  return graph;
}

inline std::vector<StagePlan> make_plan(std::span<const LayerGeometry> layers,
                                        std::span<const StageRange> stages, const PatchSpec& patch) {
  std::vector<StageValues> values;
  for (const StageRange& range : stages) {
    StageValues& stage = values.emplace_back(StageValues{{}, {range.last}, range.last});
    for (std::size_t v = range.first + 1; v <= range.last; ++v) stage.made.push_back(v);
  }
  return make_plan(chain_geometry(layers), values, patch);
}

}  // namespace halotile
