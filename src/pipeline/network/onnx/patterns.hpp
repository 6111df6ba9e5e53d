// Layers that PyTorch's exporters spell out in smaller nodes, put together again.
//
// LocalResponseNorm, x / (k + alpha * mean of x^2 over a window of channels)^beta, arrives as Mul(x, x),
// Reshape to (N, 1, C, H, W), Pad, AveragePool over C, Squeeze or Reshape, Mul alpha, Add k, Pow beta, Div:
// eight nodes from the newer exporter (dynamo), twenty and an If from the older (TorchScript).
//
// Softmax over the channels of a map arrives as Transpose, Softmax over the last axis, Transpose back from
// the older one below operator set 13, which had no other.
#pragma once

#include "pipeline/network/onnx/plain_graph.hpp"

namespace halotile {

/// Operators that no file has: what patterns become, in a domain of their own.
inline constexpr const char* joined_domain = "halotile";

/// Replaces the node that ends a pattern by one for the whole: "LocalResponseNorm" with PyTorch's size,
/// alpha, beta and k, or "ChannelSoftmax".
void join_patterns(PlainGraph& graph);

}  // namespace halotile
