// A network and its weights under construction, with arithmetic folded into the layers: in float64, rounded
// once at the end.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "formats/npy.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/network/onnx/node_rules.hpp"

namespace halotile {

/// x * scale + shift, not yet written: a number for each channel of a map (or feature of a vector), or for
/// each element in the order (C, H, W).
struct OnnxAffine {
  std::vector<double> scale;
  std::vector<double> shift;
  std::string place;  ///< the node, for errors
  std::string name;   ///< the node's, for the layer that it may become
};

/// What a value of the ONNX graph is in the network.
struct OnnxFlow {
  std::size_t value = 0;               ///< of the network
  OnnxShape shape{};                   ///< ONNX's, the batch first; the same elements in the same order
  bool sole = false;                   ///< read once, as is all between it and the layer that made it
  Padding padding{};                   ///< zeros that a Pad put round it, for the layer behind
  std::optional<OnnxAffine> affine{};  ///< for the layer behind, or to become one
};

class OnnxLayers {
 public:
  Network network;

  /// (channels, height, width) of a map, (features) of a vector.
  [[nodiscard]] OnnxShape own_shape(std::size_t value) const;
  [[nodiscard]] bool spatial(std::size_t value) const { return network.values[value].spatial; }

  /// Adds a layer called `name`, or by its type and number where that is empty or taken.
  std::size_t add(const std::string& type, const std::string& name, NodeOp op,
                  std::vector<std::size_t> inputs);
  std::size_t flatten(std::size_t value);
  std::size_t conv(const std::string& name, Conv2d conv, std::size_t input, const OnnxTensor& weight,
                   std::vector<double> bias);
  /// `weight` is (outputs, features) and is multiplied by `factor`. Takes in what waits before it.
  std::size_t fully_connected(const std::string& name, const OnnxFlow& flow, std::vector<float> weight,
                              std::int64_t outputs, std::vector<double> bias, double factor = 1);

  /// Into the layer before, where that has weights and nothing else reads it; else it waits.
  void apply(OnnxFlow& flow, OnnxAffine affine);
  /// Writes what waits as a layer of its own: a 1x1 convolution of single channels, or a fully connected
  /// layer with a diagonal matrix. Throws NodeProblem where neither can be.
  void settle(OnnxFlow& flow);

  /// Tensors by the names that layers look for. Throws ConfigError where a number is infinite or NaN.
  [[nodiscard]] std::map<std::string, NpyArray> take_weights();

 private:
  /// Weights of a layer; outputs are the first axis.
  struct Filters {
    std::vector<float> weight;
    OnnxShape shape;
    std::vector<double> scale;  ///< of each output
    std::vector<double> bias;   ///< of each output; empty: none
  };

  [[nodiscard]] std::string unique(const std::string& wish, const std::string& type);
  std::size_t weighted(const std::string& type, const std::string& name, NodeOp op, std::size_t input,
                       Filters filters);
  [[nodiscard]] bool fold(const OnnxFlow& flow, const OnnxAffine& affine);

  std::map<std::string, Filters> filters_;          // by the layer's name
  std::set<std::string> names_{"input", "logits"};  // taken; these two have a meaning of their own
  std::map<std::string, int> counts_;
};

/// One number for each channel of a map of this shape, where all positions of a channel have the same;
/// otherwise `values` as it is.
[[nodiscard]] std::vector<double> by_channel(std::vector<double> values, const OnnxShape& own);

}  // namespace halotile
