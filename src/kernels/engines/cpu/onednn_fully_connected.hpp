// Fully connected layers by oneDNN's primitives.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <span>

#include "kernels/engines/engine.hpp"

namespace halotile::onednn {

/// Features that one primitive computes. A constant: neither threads nor streams decide how a layer is cut.
constexpr std::int64_t features_of_piece = 128;

/// Some features of a layer; the primitive is made for one thread.
struct FullyConnectedPiece {
  dnnl::inner_product_forward::primitive_desc desc;
  dnnl::inner_product_forward primitive;
  dnnl::memory weight;
  dnnl::memory bias;  ///< empty where the layer has none
};

/// Pieces of `layer`, of features_of_piece features, but for the last, side by side, dealt to `threads`
/// threads, each with the layer's ReLU behind it.
[[nodiscard]] std::unique_ptr<Operation> fully_connected_operation(
    const dnnl::engine& engine, const FullyConnected& layer, std::span<const FullyConnectedPiece> pieces,
    const MapGeometry& out, int threads);

}  // namespace halotile::onednn
