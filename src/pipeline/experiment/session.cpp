#include "pipeline/experiment/session.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "patching/error.hpp"
#include "pipeline/experiment/engine_choice.hpp"
#include "pipeline/network/steps.hpp"

namespace halotile {
int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

namespace {

ModelFile model_of(const Experiment& experiment) {
  try {
    return read_model(experiment.model, input_extent(experiment.input), experiment.until);
  } catch (const ConfigError& e) {
    const std::string hint = layout_hint(experiment.input);
    if (hint.empty()) throw;
    throw ConfigError(fmt::format("{}\n{}", e.what(), hint));
  }
}

// Makes dropout layers drop where the experiment samples.
Network sampling(Network network, const Experiment& experiment) {
  if (experiment.dropout.samples == 0) return network;
  bool any = false;
  for (Node& node : network.nodes) {
    if (auto* const dropout = std::get_if<Dropout>(&node.op)) any = dropout->sampled = true;
  }
  if (!any) {
    throw ConfigError(
        fmt::format("dropout: network {} has no dropout layer to sample; leave dropout out", network.name));
  }
  return network;
}

Experiment with_given_input(Experiment experiment) {
  experiment.input.source = GivenInput{};
  return experiment;
}

}  // namespace

Network load_network(const Experiment& experiment) {
  return sampling(model_of(experiment).network, experiment);
}

namespace {

NodeGroups named_groups(const std::vector<std::vector<std::string>>& groups, const Network& network) {
  std::vector<std::size_t> firsts;
  std::size_t next = 0;
  for (const std::vector<std::string>& group : groups) {
    for (const std::string& name : group) {
      const std::size_t node = network.index_of(name);
      // Layers left unnamed between two named ones (a ReLU, say) belong to the group before.
      if (node < next || node >= network.spatial_nodes()) {
        throw ConfigError(
            fmt::format("patch.stages: '{}' is out of order or behind the feature maps; name the spatial "
                        "layers in their order",
                        name));
      }
      if (&name == &group.front()) firsts.push_back(firsts.empty() ? 0 : node);
      next = node + 1;
    }
    if (group.empty()) throw ConfigError("patch.stages: a group is empty; name at least one layer in each");
  }
  if (firsts.empty())
    throw ConfigError("patch.stages: the list is empty; use per_conv, fused, or groups of layers");
  return groups_from(network, firsts);
}

NodeGroups groups_of(const StagesConfig& config, const Network& network, bool lrn_with_pools) {
  switch (config.kind) {
    case StagesConfig::Kind::fused:
      return fused_groups(network);
    case StagesConfig::Kind::groups:
      return named_groups(config.groups, network);
    case StagesConfig::Kind::per_conv:
      break;
  }
  NodeGroups groups = per_conv_groups(network);
  return lrn_with_pools ? halotile::lrn_with_pools(network, std::move(groups)) : groups;
}

}  // namespace

std::vector<StageValues> make_stages(const Experiment& experiment, const Network& network,
                                     const std::set<std::size_t>& keep, bool lrn_with_pools) {
  const NodeGroups groups = groups_of(experiment.stages, network, lrn_with_pools);
  return stages_of(network, split_behind(groups, keep), keep);
}

std::size_t saved_layer(const Network& network, const std::string& name) {
  return name == "logits" ? network.logits() : network.index_of(name);
}

std::set<std::size_t> saved_layers(const Experiment& experiment, const Network& network) {
  std::set<std::size_t> layers;
  for (const auto& [name, file] : experiment.output.save) layers.insert(saved_layer(network, name));
  return layers;
}

Session::Session(Experiment experiment, Network network, std::unique_ptr<InputSource> input)
    : experiment_(std::move(experiment)),
      network_(std::move(network)),
      input_(input != nullptr ? std::move(input) : open_input(experiment_, network_.input())) {
  const bool reference = experiment_.engine == EngineKind::reference;
  threads_ =
      experiment_.threads > 0 ? experiment_.threads : std::max(1, available_cores() / experiment_.streams);
  if (reference) threads_ = 1;
  constexpr std::int64_t largest_default_batch = 32;
  // A photograph's views stay together.
  const std::int64_t views = input_->views();
  const std::int64_t images = experiment_.input.batch > 0
                                  ? experiment_.input.batch
                                  : std::max<std::int64_t>(1, largest_default_batch / views);
  batch_ = std::min(images * views, input_->count());
  EngineChoice choice = choose_engine(experiment_, threads_);
  engine_ = std::move(choice.engine);
  device_note_ = std::move(choice.note);
  if (!engine_->device().host_memory()) threads_ = 1;
  // Fail on a bad plan before the weights are made.
  (void)make_plan(network_.geometry(), stages({}), experiment_.patch);
  (void)saved_layers(experiment_, network_);
}

Session::Session(const Experiment& experiment) : Session(experiment, model_of(experiment)) {}

Session::Session(const Experiment& experiment, ModelFile model)
    : Session(experiment, sampling(std::move(model.network), experiment), nullptr) {
  const WeightsConfig& weights = experiment_.weights;
  if (!weights.file.empty()) {
    set_weights(Weights::from_file(network_, *open_weights(weights.file), weights.rename));
  } else if (model.weights != nullptr) {
    set_weights(Weights::from_file(network_, *model.weights, weights.rename));
  } else {
    random_weights_ = true;
    set_weights(Weights::random(network_, weights.seed));
  }
}

Session::Session(const Experiment& experiment, Network network, Weights weights,
                 std::unique_ptr<InputSource> input)
    : Session(with_given_input(experiment), sampling(std::move(network), experiment), std::move(input)) {
  from_values_ = true;
  set_weights(std::move(weights));
}

void Session::set_weights(Weights weights) {
  weights_ = std::move(weights);
  weights_.bind(network_);
}

int Session::decoders() const {
  const int wanted = experiment_.input.decoders;
  return wanted > 0 ? wanted : std::max(1, available_cores() / 2);
}

std::vector<Interval> Session::batches() const {
  std::vector<Interval> batches;
  for (std::int64_t begin = 0; begin < input_->count(); begin += batch_) {
    batches.push_back({begin, std::min(input_->count(), begin + batch_)});
  }
  return batches;
}

std::vector<StageValues> Session::stages(const std::set<std::size_t>& keep) const {
  return make_stages(experiment_, network_, keep, engine_->supports(LrnMaxPool{}));
}

DType Session::input_type() const {
  return experiment_.input.pixels && !engine_->device().host_memory() ? DType::u8 : engine_->map_type();
}

std::unique_ptr<Executor> Session::make_executor(std::int64_t batch, std::set<std::size_t> keep,
                                                 bool verifying) const {
  keep.merge(saved_layers(experiment_, network_));
  ExecutorSettings settings;
  settings.batch = batch;
  settings.streams = experiment_.streams;
  settings.sub_batch = experiment_.sub_batch;
  settings.first_sub_batches = experiment_.first_sub_batches;
  settings.storage = experiment_.storage;
  settings.keep = keep;
  settings.dropout_seed = experiment_.dropout.seed;
  settings.poison = verifying;
  settings.download = !verifying && !experiment_.resident_output;
  settings.memory = experiment_.memory;
  settings.batched = experiment_.dispatch == Dispatch::batched;
  settings.graph = experiment_.dispatch != Dispatch::streams;
  settings.resident_input = experiment_.resident_input;
  if (input_type() == DType::u8) {
    settings.pixels = PixelInput{experiment_.preprocess.mean, experiment_.preprocess.stddev};
  }
  return std::make_unique<Executor>(network_, make_plan(network_.geometry(), stages(keep), experiment_.patch),
                                    *engine_, settings);
}

std::unique_ptr<Executor> Session::make_whole_executor(std::int64_t batch,
                                                       const std::set<std::size_t>& keep) const {
  ExecutorSettings settings;
  settings.batch = batch;
  settings.keep = keep;
  settings.download = false;
  settings.dropout_seed = experiment_.dropout.seed;
  NodeGroups groups = per_conv_groups(network_);
  if (engine_->supports(LrnMaxPool{})) groups = lrn_with_pools(network_, std::move(groups));
  const std::vector<StageValues> stages = stages_of(network_, split_behind(std::move(groups), keep), keep);
  return std::make_unique<Executor>(network_, make_plan(network_.geometry(), stages, PatchSpec{}), *engine_,
                                    settings);
}

}  // namespace halotile
