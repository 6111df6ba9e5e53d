// Kernels that the CPU engines share: pooling, local response normalization, ReLU, leaky ReLU, softmax,
// copies. They are vectorized over channels, work on strided views, and keep the orders written in
// reference.hpp, so that the `reference` engine's bits do not depend on the vector width. bf16 and f16 maps
// are widened to fp32, computed in fp32, and rounded once when stored. Preconditions are those of
// reference.hpp; in and out must not overlap, except for relu and leaky_relu.
#pragma once

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile {

/// Max or average pooling (sliding or adaptive windows) of the outputs out.rect. in.dtype == out.dtype.
/// A window that lies in the padding altogether gives -infinity (max) or 0 (average).
void pool2d(const Pool2d& layer, const ConstMapView& in, const MapView& out);

/// Local response normalization of out.rect, which must lie in in.rect. in.dtype == out.dtype.
void lrn(const Lrn& layer, const ConstMapView& in, const MapView& out);

/// y = x < 0 ? 0 : x for out.rect, which must lie in in.rect; may work in place.
void relu(const ConstMapView& in, const MapView& out);

/// y = x < 0 ? slope * x : x, likewise.
void leaky_relu(const LeakyRelu& layer, const ConstMapView& in, const MapView& out);

/// Softmax over the channels of every position of out.rect, computed in f32 whatever the element types.
void softmax(const ConstMapView& in, const MapView& out);

/// Copies out.rect (which must lie in in.rect), converting the element type if the two differ.
void copy_map(const ConstMapView& in, const MapView& out);

}  // namespace halotile
