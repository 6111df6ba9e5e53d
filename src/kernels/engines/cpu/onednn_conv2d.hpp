// Convolutions by oneDNN's primitives: what a tile's primitives see, and the operation that runs them.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "kernels/engines/op.hpp"

namespace halotile::onednn {

/// A convolution of one dense image, and the weights in the format it wants.
struct ConvPrimitive {
  dnnl::convolution_forward::primitive_desc desc;
  dnnl::convolution_forward primitive;
  dnnl::memory weight;
  dnnl::memory bias;
};

struct ConvShape {
  Extent2 in;
  Extent2 out;
  Halo padding;

  bool operator==(const ConvShape&) const = default;
};

/// Some output rows of a tile and the input that the primitive sees, relative to the begins of the tile's
/// rectangles. What of that lies outside in.rect is zeros.
struct Band {
  Interval in_rows;
  Interval in_cols;
  Interval out_rows;
  ConvShape shape;
};

/// A tile's bands: their results stay in the second-level cache.
[[nodiscard]] std::vector<Band> cut_bands(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out);

/// The same with its padding in the input, and with the positions behind the last window that no window reads
/// but that kernels for 1x1 windows ask for.
[[nodiscard]] Band with_zeros(const Band& band, const Window& window);

/// The primitive of a shape.
using PrimitiveOf = std::function<const ConvPrimitive&(const ConvShape&)>;

/// Runs the primitive of each band of `layer`, image by image, and a ReLU behind each on `threads` threads.
/// Asks for a primitive once for each shape. The layer's weights must be finite.
[[nodiscard]] std::unique_ptr<Operation> conv2d_operation(const dnnl::engine& engine, const Conv2d& layer,
                                                          std::span<const Band> bands,
                                                          const PrimitiveOf& primitive_of,
                                                          const MapGeometry& in, const MapGeometry& out,
                                                          int threads);

}  // namespace halotile::onednn
