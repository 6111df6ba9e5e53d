// An experiment made ready: network, weights, engine, input and plans.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "pipeline/experiment/config.hpp"
#include "pipeline/experiment/input.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/network/stages.hpp"
#include "pipeline/network/weights.hpp"
#include "pipeline/running/executor.hpp"

namespace halotile {

/// Cores this process may use.
[[nodiscard]] int available_cores();

/// The experiment's network with input size and `until` applied.
[[nodiscard]] Network load_network(const Experiment& experiment);

/// Stages as the experiment groups them, with one ending behind each kept spatial layer. Layers that
/// hand-made groups leave out belong to the group before, those at the beginning to the first. Throws
/// ConfigError when there is no such group, one is empty, or one names a layer that is unknown, out of order
/// or behind the spatial layers.
/// `lrn_with_pools`: per_conv puts an LRN to the max pool behind it, for engines that fuse the two.
[[nodiscard]] std::vector<StageValues> make_stages(const Experiment& experiment, const Network& network,
                                                   const std::set<std::size_t>& keep, bool lrn_with_pools);

/// The layer that output.save calls so: "logits" is what the network ends with. Throws ConfigError.
[[nodiscard]] std::size_t saved_layer(const Network& network, const std::string& name);
/// Layers named in output.save.
[[nodiscard]] std::set<std::size_t> saved_layers(const Experiment& experiment, const Network& network);

class Session {
 public:
  /// With the files that the experiment names. Throws ConfigError, FormatError, ShapeError or
  /// UnsupportedError for what cannot be.
  explicit Session(const Experiment& experiment);
  /// From values, without a look at any file: the experiment's model, until, weights, input.source and
  /// input.extent mean nothing here. `weights` are the network's; `input` gives maps of the network's input.
  Session(const Experiment& experiment, Network network, Weights weights, std::unique_ptr<InputSource> input);

  [[nodiscard]] const Experiment& experiment() const { return experiment_; }
  [[nodiscard]] const Network& network() const { return network_; }
  [[nodiscard]] const Weights& weights() const { return weights_; }
  [[nodiscard]] Engine& engine() const { return *engine_; }
  [[nodiscard]] InputSource& input() const { return *input_; }
  /// Whether network, weights and input were given as values.
  [[nodiscard]] bool from_values() const { return from_values_; }
  /// Whether the weights were made up, and classes mean nothing.
  [[nodiscard]] bool random_weights() const { return random_weights_; }
  /// Why device: auto took the CPU, for the user; empty when it did not.
  [[nodiscard]] const std::string& device_note() const { return device_note_; }
  /// Threads inside each of `streams` streams.
  [[nodiscard]] int threads() const { return threads_; }
  /// Threads that read images ahead.
  [[nodiscard]] int decoders() const;
  /// Maps per forward pass (images times their views), and the batches that cover the input (the last may be
  /// smaller).
  [[nodiscard]] std::int64_t batch() const { return batch_; }
  [[nodiscard]] std::vector<Interval> batches() const;

  /// The experiment's stages on its engine, with one ending behind each kept spatial layer.
  [[nodiscard]] std::vector<StageValues> stages(const std::set<std::size_t>& keep) const;
  /// Element type of the maps that Executor::input() takes.
  [[nodiscard]] DType input_type() const;

  /// The experiment's executor for `batch` images, keeping also the layers that it saves. `verifying`: memory
  /// is poisoned before every run, and outputs stay on the device until asked for.
  [[nodiscard]] std::unique_ptr<Executor> make_executor(std::int64_t batch, std::set<std::size_t> keep,
                                                        bool verifying = false) const;
  /// The unpatched pipeline of the same engine: whole maps, a convolution a stage, one stream; float input.
  [[nodiscard]] std::unique_ptr<Executor> make_whole_executor(std::int64_t batch,
                                                              const std::set<std::size_t>& keep) const;

 private:
  Session(const Experiment& experiment, ModelFile model);
  // All but the weights; null: the input that the experiment names.
  Session(Experiment experiment, Network network, std::unique_ptr<InputSource> input);
  void set_weights(Weights weights);

  Experiment experiment_;
  Network network_;
  Weights weights_;
  std::unique_ptr<InputSource> input_;
  int threads_ = 1;
  std::unique_ptr<Engine> engine_;
  std::string device_note_;
  std::int64_t batch_ = 1;
  bool from_values_ = false;
  bool random_weights_ = false;
};

}  // namespace halotile
