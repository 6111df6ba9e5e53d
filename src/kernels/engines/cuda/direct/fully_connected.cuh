// What the kernels of fully_connected_direct have in common: the launch parameters, and the staging of
// features for the register tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/engines/cuda/direct/register_tile.cuh"

namespace halotile::direct {

using namespace cuda;  // the engine stands on what all CUDA engines share

struct FullyConnectedParameters {
  const float* in;
  std::int64_t in_stride;  // between images
  float* out;              // of output 0 below
  std::int64_t out_stride;
  const float* filters;  // of output 0 below
  float* sums;           // scratch: (segments, images, sums_pitch)
  const float* bias;     // of output 0 below
  int bias_constant;     // likewise, or -1
  bool has_bias;
  bool relu;
  bool vector_in;
  int images;
  int in_features;
  int filter_pitch;
  int first;    // outputs [first, outputs) are stored; 0 to 3
  int outputs;  // counted from a multiple of 4
  int sums_pitch;
  int segments;
};

/// Dynamic shared memory: the rings of filters and of features.
template <typename Tile>
constexpr std::size_t fully_connected_shared_bytes() {
  return sizeof(float) * Tile::stages * (Tile::filter_slice + Tile::input_slice);
}

// Stages slices of features: a thread copies the same 4 of 16 features of the same images every time.
template <typename Tile>
class FeatureStager {
 public:
  __device__ __forceinline__ FeatureStager(const FullyConnectedParameters& p, int begin) {
#pragma unroll
    for (int n = 0; n < count; ++n) {
      const int image = static_cast<int>(blockIdx.x) * Tile::pixels + row(n);
      from_[n] = p.in + image * p.in_stride + begin + column();
      bytes_[n] = image < p.images ? 16 : 0;
    }
  }
  // Copies the next 16 features, of which `left` exist, and moves on.
  __device__ __forceinline__ void stage(const FullyConnectedParameters& p, float* slice, int left) {
    float* to = slice + row(0) * Tile::input_pitch + column();
#pragma unroll
    for (int n = 0; n < count; ++n) {
      float* target = to + n * (Tile::threads / vectors) * Tile::input_pitch;
      if (p.vector_in) {
        copy_async_16(target, from_[n], column() < left ? bytes_[n] : 0);
      } else {
        for (int e = 0; e < 4; ++e) {
          copy_async_4(target + e, from_[n] + e, bytes_[n] != 0 && column() + e < left);
        }
      }
      from_[n] += slice_rows;
    }
  }

 private:
  static constexpr int vectors = slice_rows / 4;
  static constexpr int count = Tile::pixels * vectors / Tile::threads;
  __device__ static __forceinline__ int row(int n) {
    return static_cast<int>(threadIdx.x) / vectors + n * (Tile::threads / vectors);
  }
  __device__ static __forceinline__ int column() { return static_cast<int>(threadIdx.x) % vectors * 4; }

  const float* from_[count];
  int bytes_[count];
};

}  // namespace halotile::direct
