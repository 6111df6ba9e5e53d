#include "kernels/engines/cuda/op_support.hpp"

namespace halotile::cuda {
namespace {

// Of the kernels that all of them share.
bool is_shared(const Op& op) {
  return is_one_of<Pool2d, Lrn, Relu, LeakyRelu, Binary, Softmax, Copy, Normalize>(op);
}

// Of engines that compute fully connected layers as products of whole matrices.
std::string obstacle_to_whole_layers(const Op& op) {
  const auto* const layer = std::get_if<FullyConnected>(&op);
  if (layer != nullptr && !layer->whole()) return "fully connected layers are computed as a whole";
  if (is_shared(op) || is_one_of<Conv2d, FullyConnected>(op)) return {};
  return "the engine does not have it";
}

}  // namespace

std::string direct_obstacle(const Op& op) {
  if (is_shared(op) || is_one_of<Conv2d, FullyConnected>(op)) return {};
  if (is_one_of<LrnMaxPool>(op)) return "LRN and pools are not fused";
  return "the engine does not have it";
}

std::string tensor_core_obstacle(const Op& op) {
  if (const auto* const both = std::get_if<LrnMaxPool>(&op))
    return both->pool.kind == PoolKind::max ? "" : "LRN is fused with max pools only";
  return obstacle_to_whole_layers(op);
}

std::string cudnn_obstacle(const Op& op) {
  if (is_one_of<LrnMaxPool>(op)) return "LRN and pools are not fused";
  return obstacle_to_whole_layers(op);
}

}  // namespace halotile::cuda
