// The `direct` engine's kernels besides convolution and fully connected layers: launchers for maps in device
// memory, f32. They take any strides and give the bits of reference.hpp (softmax excepted: another expf).
// All do nothing for an empty `out` and throw ShapeError for maps that do not fit.
#pragma once

#include <cuda_runtime_api.h>

#include <array>

#include "kernels/layers.hpp"
#include "kernels/tensor.hpp"

namespace halotile::direct {

/// How pooling reads its input.
enum class PoolKernel : std::uint8_t {
  automatic,
  cached,  ///< through the L1 cache
  shared,  ///< a tile of the input is staged in static shared memory
};

/// Max or average pooling, sliding or adaptive. `shared` falls back to `cached` for windows whose tile does
/// not fit and for adaptive windows.
void pool2d(const Pool2d& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream,
            PoolKernel kernel = PoolKernel::automatic);

/// Local response normalization of out.rect, which must lie in in.rect.
void lrn(const Lrn& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream);

/// y = x < 0 ? 0 : x for out.rect, which must lie in in.rect; may work in place.
void relu(const ConstMapView& in, const MapView& out, cudaStream_t stream);

/// Copies out.rect, which must lie in in.rect.
void copy_map(const ConstMapView& in, const MapView& out, cudaStream_t stream);

/// (x / 255 - mean) / stddev, each step rounded to float, of dense u8 maps of 3 channels; `out` f32, dense.
void normalize(const std::array<float, 3>& mean, const std::array<float, 3>& stddev, const ConstMapView& in,
               const MapView& out, cudaStream_t stream);

/// Softmax over the channels of every position of out.rect, which must lie in in.rect.
void softmax(const ConstMapView& in, const MapView& out, cudaStream_t stream);

}  // namespace halotile::direct
