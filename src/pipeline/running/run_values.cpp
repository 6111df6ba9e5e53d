#include "pipeline/running/run_values.hpp"

#include <algorithm>

#include "patching/error.hpp"

namespace halotile {
namespace {

// Values of which all images must be there at once: kept ones, and what vectors are made of.
std::vector<bool> whole_values(const Network& network, const std::set<std::size_t>& keep) {
  std::vector<bool> whole(network.values.size());
  for (const std::size_t n : keep) whole[n + 1] = true;
  for (const std::size_t v : network.outputs) whole[v] = true;
  for (std::size_t n = network.spatial_nodes(); n < network.nodes.size(); ++n) {
    for (const std::size_t v : network.nodes[n].inputs) whole[v] = true;
  }
  return whole;
}

}  // namespace

std::size_t RunValues::shown(const Network& network, std::size_t value) const {
  std::size_t v = value;
  while (v > 0 && map_of[v] == no_number && network.nodes[v - 1].identity())
    v = network.nodes[v - 1].inputs.front();
  const std::size_t map = map_of[v];
  if (map == no_number || !maps[map].whole_batch)
    throw ConfigError("the output of layer " + network.nodes[value - 1].name + " was not kept");
  return map;
}

RunValues connect(const Network& network, std::span<const StagePlan> plan, std::span<LoweredStage> stages,
                  std::span<LoweredVectors> vectors, const std::set<std::size_t>& keep, DType type) {
  RunValues made{{{network.values.front().memory, type, true}},
                 std::vector<std::size_t>(network.values.size(), no_number)};
  made.map_of.front() = 0;
  const std::vector<bool> whole = whole_values(network, keep);
  std::vector<std::size_t> stage_of(network.values.size(), no_number);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (StageInput& in : stages[s].inputs) {
      const std::size_t value = plan[s].number_in_graph(in.value);
      in.map = made.map_of[value];
      in.stage = stage_of[value];
      if (in.stage != no_number) in.there = plan[in.stage].value(value);
      made.maps[in.map].last = s;
    }
    for (StageOutput& out : stages[s].outputs) {
      out.map = made.maps.size();
      MapStore& map = made.maps.emplace_back();
      for (const std::size_t name : out.names) {
        const std::size_t value = plan[s].number_in_graph(name);
        map = {network.values[value].memory, type, map.whole_batch || whole[value], s, s};
        made.map_of[value] = out.map;
        stage_of[value] = s;
      }
    }
  }
  for (LoweredVectors& v : vectors) {
    for (const std::size_t input : v.step.inputs) v.inputs.push_back(made.map_of[input]);
    v.map = made.map_of[v.step.output] = made.maps.size();
    made.maps.push_back(
        {network.values[v.step.output].memory, output_type(network, v.step.output, type), true});
  }
  return made;
}

}  // namespace halotile
