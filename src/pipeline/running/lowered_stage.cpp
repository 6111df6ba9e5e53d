#include "pipeline/running/lowered_stage.hpp"

#include <algorithm>
#include <iterator>
#include <set>

namespace halotile {
namespace {

// Of the values that a step reads and an output shows, the calls by which they are there.
void make_calls(const Network& network, const StagePlan& plan, bool packed, LoweredStage& stage) {
  std::vector<std::size_t> made_by(network.values.size(), no_number);  // calls, by values
  const auto read = [&](std::size_t value) {
    if (made_by[value] == no_number) return;
    std::size_t& last = stage.calls[made_by[value]].last_reader;
    last = std::max(last, stage.calls.size());
  };
  const auto add = [&](StageCall::Kind kind, std::size_t number) {
    stage.calls.push_back({kind, number, stage.calls.size() + 1});
    return stage.calls.size() - 1;
  };
  if (packed) {
    for (std::size_t i = 0; i < stage.inputs.size(); ++i)
      made_by[plan.number_in_graph(stage.inputs[i].value)] = add(StageCall::Kind::pack, i);
  }
  const auto read_later = [&](std::size_t value, std::size_t step) {
    return std::any_of(
        stage.steps.begin() + static_cast<std::ptrdiff_t>(step) + 1, stage.steps.end(),
        [value](const Step& s) { return std::ranges::find(s.inputs, value) != s.inputs.end(); });
  };
  for (std::size_t s = 0; s < stage.steps.size(); ++s) {
    for (const std::size_t v : stage.steps[s].inputs) read(v);
    const std::size_t output = stage.steps[s].output;
    const std::size_t call = add(StageCall::Kind::step, s);
    // A concatenation's map is its first part's.
    if (made_by[output] == no_number) made_by[output] = call;
    if (s + 1 < stage.steps.size() && stage.steps[s + 1].output == output) continue;
    for (std::size_t o = 0; o < stage.outputs.size(); ++o) {
      const std::size_t written = plan.number_in_graph(stage.outputs[o].written);
      if (written != output) continue;
      // What is read in the stage, too, may be needed beyond the core.
      if (!packed && !read_later(written, s)) continue;
      read(written);
      add(StageCall::Kind::place, o);
      stage.outputs[o].placed = true;
    }
  }
}

}  // namespace

bool LoweredStage::chain() const {
  if (inputs.size() != 1 || outputs.size() != 1) return false;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    if (steps[s].copy || steps[s].inputs.size() != 1) return false;
    if (s > 0 && steps[s].inputs.front() != steps[s - 1].output) return false;
  }
  return true;
}

std::vector<std::size_t> nodes_of(const StagePlan& plan) {
  std::vector<std::size_t> nodes;
  for (std::size_t v = 0; v < plan.graph().values.size(); ++v) {
    const bool read = std::ranges::find(plan.inputs(), v) != plan.inputs().end();
    if (!read) nodes.push_back(plan.number_in_graph(v) - 1);
  }
  return nodes;
}

LoweredStage lower_stage(const Network& network, const StagePlan& plan, bool lrn_and_pool, bool packed) {
  LoweredStage stage;
  std::set<std::size_t> kept;
  for (const std::size_t v : plan.outputs()) kept.insert(plan.number_in_graph(v));
  stage.steps = lower(network, nodes_of(plan), kept, lrn_and_pool);
  for (const std::size_t v : plan.inputs()) stage.inputs.push_back({v});
  for (const Step& step : stage.steps) {
    // Several names of one value are one map.
    const auto shows = [&](std::size_t v) {
      const std::size_t number = plan.number_in_graph(v);
      const bool own = !step.copy || step.channels;  // not another name itself
      return number == step.output || (own && network.origin(number) == step.output);
    };
    std::vector<std::size_t> names;
    std::ranges::copy_if(plan.outputs(), std::back_inserter(names), shows);
    const bool begun = !stage.outputs.empty() && stage.outputs.back().written == plan.value(step.output);
    if (names.empty() || begun) continue;
    const std::size_t value = names.front();
    stage.outputs.push_back({value, plan.value(step.output), 0, false, std::move(names)});
  }
  make_calls(network, plan, packed, stage);
  return stage;
}

}  // namespace halotile
