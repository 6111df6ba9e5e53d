#include "pipeline/running/traffic.hpp"

#include "pipeline/network/op_table.hpp"
#include "pipeline/running/lowered_stage.hpp"

namespace halotile {
namespace {

double area(Rect rect) { return static_cast<double>(rect.extent().area()); }

// Values that a step's tiles read and write for one image.
double values_moved(const StagePlan& stage, const Step& step) {
  std::vector<std::size_t> moved{stage.value(step.output)};
  for (const std::size_t v : step.inputs) moved.push_back(stage.value(v));
  double values = 0;
  for (const std::size_t v : moved) {
    const auto channels = static_cast<double>(stage.graph().values[v].channels);
    for (std::int64_t r = 0; r < stage.grid().height; ++r) {
      for (std::int64_t c = 0; c < stage.grid().width; ++c) values += channels * area(stage.needed(r, c, v));
    }
  }
  return values;
}

}  // namespace

std::map<std::string, double> least_bytes(const Network& network, std::span<const StagePlan> plan,
                                          const Engine& engine, std::int64_t batch) {
  const auto images = static_cast<double>(batch);
  const auto element = static_cast<double>(size_of(engine.map_type()));
  std::map<std::string, double> bytes;
  for (const StagePlan& stage : plan) {
    for (const Step& step : lower_stage(network, stage, engine.supports(LrnMaxPool{}), false).steps) {
      const auto parameters = static_cast<double>(parameter_count(network.nodes[step.node]));
      bytes[name_of(network, step)] += element * (images * values_moved(stage, step) + parameters);
    }
  }
  for (std::size_t n = network.spatial_nodes(); n < network.nodes.size(); ++n) {
    auto values = static_cast<double>(network.out(n).shape.elements());
    for (const std::size_t v : network.nodes[n].inputs)
      values += static_cast<double>(network.values[v].shape.elements());
    const auto parameters = static_cast<double>(parameter_count(network.nodes[n]));
    bytes[network.nodes[n].name] = element * (images * values + parameters);
  }
  return bytes;
}

}  // namespace halotile
