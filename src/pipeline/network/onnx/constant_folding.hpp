// Little subgraphs that depend on constants and on shapes alone, worked out: what exporters make of
// `x.view(x.size(0), -1)` (Shape, Gather, Unsqueeze, Concat), of scaled sizes (Cast, Mul, Floor), of weights
// that are transposed, cast or shared.
#pragma once

#include "pipeline/network/onnx/node_rules.hpp"

namespace halotile {

/// The node's outputs, made of its inputs (null where an optional one is left out). Nothing where the
/// operator is not worked out here, or would make more than some millions of elements. Throws NodeProblem
/// where the node breaks ONNX's rules.
[[nodiscard]] std::vector<OnnxConstant> fold_node(const NodeRules& rules,
                                                  const std::vector<OnnxConstant>& inputs);

/// What Shape or Size make of a value of this shape.
[[nodiscard]] OnnxConstant measured_shape(const NodeRules& rules, const OnnxShape& shape);

}  // namespace halotile
