// Comparison of two maps.
//
//   one pass over all elements: (a, b) -> (differ?, index, |a - b|, ULP), folded by (sum, min, max, max)
//
// Maps are NHWC views of f32, bf16 or f16 with any strides; ULP count in their own type; elements count in
// (image, row, column, channel) order. The pass is thrust::transform_reduce over the indices, which chooses
// its own grid. The fold is exact and commutes, so that the result does not depend on it.
#include <thrust/execution_policy.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/system_error.h>
#include <thrust/transform_reduce.h>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/compare.hpp"
#include "kernels/engines/cuda/device_map.cuh"

namespace halotile::cuda {
namespace {

constexpr std::int64_t no_index = INT64_MAX;

// Numbers in ascending order as integers in ascending order; both zeros are 0.
template <typename Bits>
__device__ std::int64_t ordered(Bits bits) {
  constexpr std::int64_t sign = std::int64_t{1} << (8 * sizeof(Bits) - 1);
  const auto magnitude = static_cast<std::int64_t>(bits) & (sign - 1);
  return (static_cast<std::int64_t>(bits) & sign) != 0 ? -magnitude : magnitude;
}

template <typename T>
struct CompareElement {
  using Element = Pack<T, 1>;

  DeviceMap<T> a;
  DeviceMap<T> b;

  __device__ static Element read(const DeviceMap<T>& map, std::int64_t position, int channel) {
    const int col = static_cast<int>(position % map.cols);
    const int row = static_cast<int>(position / map.cols % map.rows);
    const int image = static_cast<int>(position / map.cols / map.rows);
    return load<T, 1>(map.data + map.offset(image, map.row0 + row, map.col0 + col) + channel);
  }

  __device__ MapDifference operator()(std::int64_t index) const {
    const std::int64_t position = index / a.channels;
    const int channel = static_cast<int>(index % a.channels);
    const Element one = read(a, position, channel);
    const Element other = read(b, position, channel);
    float x = 0.0F;
    float y = 0.0F;
    widen(one, &x);
    widen(other, &y);
    const bool nan_x = x != x;
    const bool nan_y = y != y;
    if (one.word[0] == other.word[0] || (nan_x && nan_y)) return {0, no_index, 0.0F, 0};
    if (nan_x || nan_y) return {1, index, __int_as_float(0x7f800000), 0xffffffffU};
    const std::int64_t ulp = ordered(one.word[0]) - ordered(other.word[0]);
    return {1, index, fabsf(x - y), static_cast<std::uint32_t>(ulp < 0 ? -ulp : ulp)};
  }
};

struct Fold {
  __device__ MapDifference operator()(const MapDifference& a, const MapDifference& b) const {
    return {a.differing + b.differing, a.first < b.first ? a.first : b.first,
            a.max_abs > b.max_abs ? a.max_abs : b.max_abs, a.max_ulp > b.max_ulp ? a.max_ulp : b.max_ulp};
  }
};

template <typename T>
MapDifference compare_elements(const ConstMapView& a, const ConstMapView& b, cudaStream_t stream) {
  const CompareElement<T> compare{device_map<T>(a, a.data), device_map<T>(b, b.data)};
  return thrust::transform_reduce(thrust::cuda::par.on(stream), thrust::counting_iterator<std::int64_t>(0),
                                  thrust::counting_iterator<std::int64_t>(a.elements()), compare,
                                  MapDifference{0, no_index, 0.0F, 0}, Fold{});
}

}  // namespace

MapDifference compare_maps(const ConstMapView& a, const ConstMapView& b, cudaStream_t stream) {
  if (a.images != b.images || a.channels != b.channels || a.rect.extent() != b.rect.extent() ||
      a.dtype != b.dtype) {
    throw ShapeError("compare_maps: the maps must have the same images, channels, extent and element type");
  }
  if (a.elements() == 0) return {};
  try {
    MapDifference difference;
    with_device_type(a.dtype,
                     [&]<typename T>(DeviceType<T>) { difference = compare_elements<T>(a, b, stream); });
    if (difference.first == no_index) difference.first = -1;
    return difference;
  } catch (const thrust::system_error& error) {
    throw_cuda_error(static_cast<cudaError_t>(error.code().value()), "comparing maps");
  } catch (const std::bad_alloc&) {
    throw_cuda_error(cudaErrorMemoryAllocation, "comparing maps");
  }
}

}  // namespace halotile::cuda
