// Shapes of ONNX values by the operators' own rules: what a file says about its inner values decides nothing.
// ONNX's shape inference keeps windows of ceil_mode pools that every runtime drops, and a file's `value_info`
// may be older than its nodes. A free batch is worked out as `free_batch`, so that shapes are always
// integers.
#pragma once

#include "pipeline/network/onnx/node_rules.hpp"

namespace halotile {

/// The shape of the node's first output from those of its inputs; nothing for operators without a rule here.
/// Throws NodeProblem where the node breaks its rule.
[[nodiscard]] std::optional<OnnxShape> output_shape(const NodeRules& rules,
                                                    const std::vector<OnnxShape>& inputs);

/// What shapes make together that broadcast. Throws NodeProblem where they do not fit.
[[nodiscard]] OnnxShape broadcast_shape(const std::vector<OnnxShape>& shapes);

}  // namespace halotile
