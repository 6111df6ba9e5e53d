// The weights of a network, and their binding to its layers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/tensor_file.hpp"
#include "pipeline/network/network.hpp"

namespace halotile {

/// Weights that the nodes of networks share the ownership of. Fully connected ones lie in the order of the
/// input in memory (NHWC of the flattened map).
class Weights {
 public:
  /// Seeded He initialization (uniform): weights in [-b, b), b = sqrt(6 / fan_in); biases in [-1, 1) /
  /// sqrt(fan_in). Element i of `<layer>.weight` in PyTorch's order is element i of the random sequence of
  /// that name.
  [[nodiscard]] static Weights random(const Network& network, std::uint64_t seed);

  /// The tensors `<layer>.weight` and `<layer>.bias` of a file, shaped as in PyTorch; a layer's name in the
  /// file is looked up in `rename`, then in the network's own. Throws FormatError naming every tensor that is
  /// missing, extra or of the wrong shape, with what was expected.
  [[nodiscard]] static Weights from_file(const Network& network, const TensorFile& file,
                                         const std::map<std::string, std::string>& rename);

  /// Gives the nodes of `network` these weights.
  void bind(Network& network) const;
  /// 64-bit hash of all values, for provenance.
  [[nodiscard]] std::uint64_t hash() const;
  [[nodiscard]] std::size_t bytes() const;

 private:
  std::vector<std::vector<Parameter>> nodes_;  // of each node, those of its parameters_of()
};

/// What a model file says.
struct ModelFile {
  Network network;
  std::unique_ptr<TensorFile> weights;  ///< that the file brings with it, as ONNX files do; else null
};

/// As read_network(), with the weights.
[[nodiscard]] ModelFile read_model(const std::filesystem::path& file, std::optional<Extent2> input_override,
                                   const std::string& until);

}  // namespace halotile
