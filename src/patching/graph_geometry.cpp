#include "patching/graph_geometry.hpp"

namespace halotile {
namespace {

AxisGraph axis_of(const GraphGeometry& graph, std::int64_t Extent2::*edge, AxisMap PlaneMap::*map) {
  std::vector<std::int64_t> sizes;
  std::vector<AxisEdge> edges;
  for (const ValueGeometry& v : graph.values) sizes.push_back(v.extent.*edge);
  for (const PlaneEdge& e : graph.edges) edges.push_back({e.map.*map, e.from, e.to});
  return {std::move(sizes), std::move(edges)};
}

}  // namespace

AxisGraph GraphGeometry::rows() const { return axis_of(*this, &Extent2::height, &PlaneMap::rows); }

AxisGraph GraphGeometry::cols() const { return axis_of(*this, &Extent2::width, &PlaneMap::cols); }

std::vector<PlaneStride> plane_strides(const GraphGeometry& graph) {
  const std::vector<Ratio> rows = strides(graph.rows());
  const std::vector<Ratio> cols = strides(graph.cols());
  std::vector<PlaneStride> all;
  for (std::size_t v = 0; v < rows.size(); ++v) all.push_back({rows[v], cols[v]});
  return all;
}

}  // namespace halotile
