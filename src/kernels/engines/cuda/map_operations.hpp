// The CUDA engines' kernels besides convolution and fully connected layers: launchers for maps of f32, bf16
// or f16 in device memory. They take any strides, compute in fp32 and round once, to the map's type, when
// they store. What an element becomes depends on its own inputs alone: not on the tile, the strides,
// alignment or the kernel chosen. f32 maps get the bits of reference.hpp (softmax and powers of lrn without
// square roots excepted: other functions of the device); bf16 and f16 ones those of the CPU's kernels in
// pointwise.hpp (softmax and lrn excepted). All do nothing for
// an empty `out` and throw ShapeError for maps that do not fit; in and out have the same element type unless
// it says otherwise.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <span>

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::cuda {

/// What a tile of a layer reads and writes.
struct TileMaps {
  ConstMapView in;
  MapView out;
};

/// How pooling reads its input.
enum class PoolKernel : std::uint8_t {
  automatic,
  cached,  ///< through the L1 cache
  strip,   ///< whole rows are copied into shared memory, a thread computes columns of a strip of outputs
  shared,  ///< a tile of the input is staged in static shared memory
};

/// Max or average pooling, sliding or adaptive. `shared` falls back to `cached` for windows whose tile does
/// not fit and for adaptive windows, `strip` for all but maxima of 3x3 windows with stride 2.
void pool2d(const Pool2d& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream,
            PoolKernel kernel = PoolKernel::automatic);
/// Of several tiles: of aligned channels, all that fit in one launch's parameters go together.
void pool2d(const Pool2d& layer, std::span<const TileMaps> tiles, cudaStream_t stream,
            PoolKernel kernel = PoolKernel::automatic);

/// How lrn takes powers of f32 maps. bf16 and f16 maps always take them fast.
enum class LrnPower : std::uint8_t {
  exact,  ///< correctly rounded square roots and division
  fast    ///< the device's approximations, a few units of fp32 off
};

/// Local response normalization of out.rect, which must lie in in.rect.
void lrn(const Lrn& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream,
         LrnPower power = LrnPower::exact);

/// max_pool(lrn(in)) in one pass, with the bits of the one kernel and then the other: the normalized map is
/// rounded to the maps' type, but never written. The pool is a sliding maximum (UnsupportedError otherwise);
/// what it reads outside in.rect counts as outside the image.
void lrn_max_pool(const Lrn& lrn, const Pool2d& pool, const ConstMapView& in, const MapView& out,
                  cudaStream_t stream, LrnPower power = LrnPower::exact);
/// Of several tiles, in as few launches as pool2d.
void lrn_max_pool(const Lrn& lrn, const Pool2d& pool, std::span<const TileMaps> tiles, cudaStream_t stream,
                  LrnPower power = LrnPower::exact);

/// y = x < 0 ? 0 : x for out.rect, which must lie in in.rect; may work in place.
void relu(const ConstMapView& in, const MapView& out, cudaStream_t stream);

/// y = x < 0 ? slope * x : x, likewise.
void leaky_relu(const LeakyRelu& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream);

/// Two maps, element by element; see cpu/binary.hpp.
void binary(const Binary& layer, const ConstMapView& a, const ConstMapView& b, const MapView& out,
            cudaStream_t stream);

/// Copies out.rect, which must lie in in.rect, converting between element types.
void copy_map(const ConstMapView& in, const MapView& out, cudaStream_t stream);
/// The same for several tiles, all of one element type, in as few launches as pool2d. No tile may read what
/// another writes.
void copy_maps(std::span<const TileMaps> tiles, cudaStream_t stream);

/// How normalize() treats the channels of pixels. A division is a product with the divisor's reciprocal and a
/// correction where that has the division's bits for every pixel, which the constructor tries.
struct PixelNormalization {
  PixelNormalization(const std::array<float, 3>& mean, const std::array<float, 3>& stddev);

  std::array<float, 3> mean;
  std::array<float, 3> stddev;
  std::array<float, 3> reciprocal;  ///< of stddev
  bool by_products;
};

/// (x / 255 - mean) / stddev, each step rounded to float, of dense u8 maps of 3 channels; `out` dense,
/// f32, or bf16 or f16 with one more rounding.
void normalize(const PixelNormalization& normalization, const ConstMapView& in, const MapView& out,
               cudaStream_t stream);

/// Softmax over the channels of every position of out.rect, which must lie in in.rect; element types may
/// differ.
void softmax(const ConstMapView& in, const MapView& out, cudaStream_t stream);

}  // namespace halotile::cuda
