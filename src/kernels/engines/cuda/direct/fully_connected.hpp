// Fully connected layers of the `direct` engine: fp32 GEMM with the sums of reference.hpp: segments of 128
// features, each one chain of fused multiply-adds, added in ascending order. The variants differ in speed
// alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/engines/cuda/direct/conv2d.hpp"  // BiasPlace
#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::direct {

enum class FullyConnectedKernel : std::uint8_t {
  vector,  ///< few images: segments side by side, weights read once; a second pass adds the segments
  split,   ///< register tiles, segments side by side; a second pass adds the segments
  tile,    ///< register tiles that add the segments as they go
};

struct FullyConnectedVariant {
  FullyConnectedKernel kernel = FullyConnectedKernel::vector;
  int tile = 0;                      ///< of the kernel's own list
  std::int64_t images_per_pass = 0;  ///< more images go in several passes, so that the scratch stays small
  std::size_t scratch_bytes = 0;     ///< device memory for the segments' sums of a pass
};

/// "split 32x128".
[[nodiscard]] std::string to_string(const FullyConnectedVariant& variant);

/// All variants for `images` images and `features` outputs. Prepares the current device for them.
[[nodiscard]] std::vector<FullyConnectedVariant> fully_connected_variants(const FullyConnected& layer,
                                                                          std::int64_t images,
                                                                          std::int64_t features);
/// The one expected to be fastest.
[[nodiscard]] FullyConnectedVariant choose_fully_connected(const FullyConnected& layer, std::int64_t images,
                                                           std::int64_t features);

/// Floats of the layer's weight on the device: (in_features padded to a multiple of 4 and 16 more by
/// -0, out_features padded to a multiple of 4).
[[nodiscard]] std::size_t fully_connected_filter_floats(const FullyConnected& layer);
/// Brings `weight` (out_features, in_features), on the device, into that layout.
void fully_connected_filters(const FullyConnected& layer, const float* weight, float* filters,
                             cudaStream_t stream);

/// Constant memory of this family's module.
[[nodiscard]] ConstantSpace& fully_connected_constants();

/// Launches `variant` for the outputs [features.begin, features.end). `scratch` as large as the variant says,
/// aligned to 16 bytes. Does nothing for no images or features.
void fully_connected(const FullyConnected& layer, Interval features, const FullyConnectedVariant& variant,
                     const float* filters, const BiasPlace& bias, const ConstMapView& in, const MapView& out,
                     std::span<std::byte> scratch, cudaStream_t stream);

}  // namespace halotile::direct
