// Comparing maps on the device, for verification without moving them to the host.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/maps/map.hpp"

namespace halotile::cuda {

/// How two maps differ. NaN equals NaN; +0 and -0 differ, by no ULP.
struct MapDifference {
  std::int64_t differing = 0;  ///< elements with different bits
  std::int64_t first = -1;     ///< index of the first of them in (image, row, column, channel) order, or -1
  float max_abs = 0.0F;        ///< largest |a - b|; infinity where one is NaN or they are infinite and differ
  std::uint32_t max_ulp =
      0;  ///< most numbers of the maps' type from one to the other; all ones where one is NaN
  bool operator==(const MapDifference&) const = default;
};

/// Compares all elements of two views with the same images, channels, extent of rect and element type, which
/// is f32, bf16 or f16. Waits for the stream. Throws ShapeError when they do not fit each other.
[[nodiscard]] MapDifference compare_maps(const ConstMapView& a, const ConstMapView& b, cudaStream_t stream);

}  // namespace halotile::cuda
