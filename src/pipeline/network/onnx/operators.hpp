// ONNX's operators, a row each: what becomes of a node. Another operator takes a row in one of
// operators_*.cpp.
#pragma once

#include "pipeline/network/onnx/onnx_layers.hpp"

namespace halotile {

/// A node about to become layers.
struct OnnxStep {
  const OnnxNode& node;
  NodeRules rules;
  OnnxLayers& layers;
  std::vector<OnnxFlow> in;  ///< the inputs through which data flows
  OnnxShape shape;           ///< of the output

  /// The input, where there is one alone.
  [[nodiscard]] const OnnxFlow& x() const { return in.front(); }
  /// The output when it is this value of the network.
  [[nodiscard]] OnnxFlow made(std::size_t value) const { return {value, shape}; }
  /// The output when it is the input under another name.
  [[nodiscard]] OnnxFlow same() const;
  /// A layer on the first input, called as the node.
  [[nodiscard]] OnnxFlow layer(const std::string& type, NodeOp op) const;
  /// (channels, height, width) of the first input. Throws NodeProblem where it is no map.
  [[nodiscard]] OnnxShape need_map() const;
  /// The first input's shape for messages, without the batch.
  [[nodiscard]] std::string shown() const;
};

struct OnnxOperator {
  OnnxFlow (*read)(OnnxStep& step) = nullptr;
  const char* refusal = nullptr;  ///< why it cannot be expressed, instead of `read`
  bool takes_padding = false;     ///< takes in the zeros of a Pad before it
  bool takes_affine = false;      ///< takes in scales and shifts that wait before it
  bool any_type = false;          ///< moves elements only, so that they may be integers
  bool joins = false;             ///< may have several inputs through which data flows
};

using OnnxOperators = std::map<std::string, OnnxOperator>;

/// By ONNX's names, with those that patterns become.
[[nodiscard]] const OnnxOperators& onnx_operators();

// The rows by family, for onnx_operators().
void add_arithmetic_operators(OnnxOperators& table);
void add_pointwise_operators(OnnxOperators& table);
void add_view_operators(OnnxOperators& table);
void add_weight_operators(OnnxOperators& table);
void add_window_operators(OnnxOperators& table);

/// The axes of `own` that each axis of `shape` is made of, in order; those of one element belong to none.
/// Nothing where an axis would have to be split.
[[nodiscard]] std::optional<std::vector<std::vector<std::size_t>>> grouped_axes(const OnnxShape& own,
                                                                                const OnnxShape& shape);
/// A shape without its batch.
[[nodiscard]] OnnxShape without_batch(const OnnxShape& shape);

/// A float32 attribute in its shortest decimal form: 1e-4 and not 9.99999974e-05.
[[nodiscard]] double shortest(double value);

}  // namespace halotile
