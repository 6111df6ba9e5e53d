// The inner machinery of convolution and of fully connected layers: a block of threads computes a tile of
// outputs, pixels by output channels, each thread MT pixels by 4 NV channels of it in registers.
//
//   acc(pixel, o) = fma(x(pixel, k), w(k, o), acc(pixel, o)), k ascending: one chain per output, so no choice
//   of tile changes a bit.
//
// Filters are staged in shared memory in slices of `slice_rows` values of k by all output channels of the
// tile, a ring of `stages` slices filled by cp.async. Values of x are read four k at a time (channels lie
// next to each other); where k has no multiple of four, filters hold -0 and x is +0: fma(+0, -0, acc) = acc
// for every acc.
//
// Threads: a warp covers 4 neighbouring pixels by 8 neighbouring groups of 4 channels, so that a 16-byte load
// of x has 4 addresses (8 threads each) and one of w has 8, and rows of outputs are stored 128 bytes at a
// time.
#pragma once

#include <cstdint>

namespace halotile::direct {

inline constexpr int slice_rows = 16;  // values of k in a slice

/// Threads are pixel_threads x channel_threads; channel_threads is a multiple of 8, pixel_threads of 4.
template <int pixels_per_thread, int channel_vectors, int pixel_threads_, int channel_threads_, int blocks_,
          int unroll_ = 1, int stages_ = 3>
struct RegisterTile {
  static constexpr int mt = pixels_per_thread;
  static constexpr int nv = channel_vectors;
  static constexpr int pixel_threads = pixel_threads_;
  static constexpr int channel_threads = channel_threads_;
  static constexpr int threads = pixel_threads * channel_threads;
  static constexpr int blocks = blocks_;  // resident on a multiprocessor, at least
  static constexpr int stages = stages_;  // slices in the ring
  static constexpr int unroll = unroll_;  // groups of four k of a slice
  static constexpr int pixels = pixel_threads * mt;
  static constexpr int channels = channel_threads * nv * 4;
  static constexpr int filter_slice = slice_rows * channels;  // floats
  static constexpr int input_pitch = slice_rows + 4;          // floats; 4 neighbours hit different banks
  static constexpr int input_slice = pixels * input_pitch;    // floats
  static_assert(channel_threads % 8 == 0 && pixel_threads % 4 == 0 && threads % 32 == 0);
  static_assert(filter_slice % (4 * threads) == 0 && pixels * slice_rows % (4 * threads) == 0);
};

/// Where in the tile a thread's outputs are: pixels `pixel + i * pixel_threads`, channels
/// `channel + j * 4 * channel_threads + {0, 1, 2, 3}`.
struct ThreadPlace {
  int pixel;
  int channel;
};

template <typename Tile>
__device__ __forceinline__ ThreadPlace thread_place() {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  constexpr int warps_across = Tile::channel_threads / 8;
  return {warp / warps_across * 4 + lane / 8, (warp % warps_across * 8 + lane % 8) * 4};
}

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
// Copies 16 or 4 bytes to shared memory behind the thread's back. With `bytes` (or `valid`) 0 it writes zeros
// and reads nothing, so that `from` may point anywhere.
__device__ __forceinline__ void copy_async_16(float* to, const float* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_4(float* to, const float* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// Stages slices of filters one after another. A thread copies the same columns of every slice.
template <typename Tile>
class FilterStager {
 public:
  /// `filters` points at the first row and the tile's first channel, 16-byte aligned; `columns` channels from
  /// there may be read, the rest of the tile becomes zero. slice_rows - 1 rows behind the last may be read.
  __device__ __forceinline__ FilterStager(const float* filters, int pitch, int columns)
      : filters_(filters), pitch_(pitch) {
#pragma unroll
    for (int n = 0; n < count; ++n) {
      const int v = static_cast<int>(threadIdx.x) + n * Tile::threads;
      const int column = v % vectors * 4;
      offset_[n] = static_cast<unsigned>(v / vectors * pitch + column);
      bytes_[n] = column < columns ? 16 : 0;
    }
  }
  /// Copies slice_rows rows and moves on by `rows`.
  __device__ __forceinline__ void stage(float* slice, int rows) {
    float* to = slice + threadIdx.x * 4;
#pragma unroll
    for (int n = 0; n < count; ++n) {
      copy_async_16(to + n * 4 * Tile::threads, filters_ + offset_[n], bytes_[n]);
    }
    filters_ += static_cast<std::int64_t>(rows) * pitch_;
  }

 private:
  static constexpr int vectors = Tile::channels / 4;
  static constexpr int count = Tile::filter_slice / 4 / Tile::threads;

  const float* filters_;
  int pitch_;
  unsigned offset_[count];
  int bytes_[count];
};

/// The next place in the ring.
template <typename Tile>
__device__ __forceinline__ int next_stage(int stage) {
  return stage == Tile::stages - 1 ? 0 : stage + 1;
}

template <int k>
__device__ __forceinline__ float component(const float4& v) {
  static_assert(k >= 0 && k < 4);
  if constexpr (k == 0) return v.x;
  if constexpr (k == 1) return v.y;
  if constexpr (k == 2) return v.z;
  return v.w;
}

template <typename Tile>
using Accumulators = float[Tile::mt][Tile::nv * 4];

/// One value of k: `row` points at the thread's first channel in the slice.
template <typename Tile, int k>
__device__ __forceinline__ void accumulate_1(Accumulators<Tile>& acc, const float4 (&x)[Tile::mt],
                                             const float* row) {
  float4 w[Tile::nv];
#pragma unroll
  for (int j = 0; j < Tile::nv; ++j) {
    w[j] = *reinterpret_cast<const float4*>(row + j * 4 * Tile::channel_threads);
  }
#pragma unroll
  for (int i = 0; i < Tile::mt; ++i) {
    const float value = component<k>(x[i]);
#pragma unroll
    for (int j = 0; j < Tile::nv; ++j) {
      acc[i][4 * j] = __fmaf_rn(value, w[j].x, acc[i][4 * j]);
      acc[i][4 * j + 1] = __fmaf_rn(value, w[j].y, acc[i][4 * j + 1]);
      acc[i][4 * j + 2] = __fmaf_rn(value, w[j].z, acc[i][4 * j + 2]);
      acc[i][4 * j + 3] = __fmaf_rn(value, w[j].w, acc[i][4 * j + 3]);
    }
  }
}

/// Four values of k, rows `rows`, ...
template <typename Tile>
__device__ __forceinline__ void accumulate_4(Accumulators<Tile>& acc, const float4 (&x)[Tile::mt],
                                             const float* rows) {
  accumulate_1<Tile, 0>(acc, x, rows);
  accumulate_1<Tile, 1>(acc, x, rows + Tile::channels);
  accumulate_1<Tile, 2>(acc, x, rows + 2 * Tile::channels);
  accumulate_1<Tile, 3>(acc, x, rows + 3 * Tile::channels);
}

/// The first `count` (1, 2 or 3) of four values of k.
template <typename Tile>
__device__ __forceinline__ void accumulate_tail(Accumulators<Tile>& acc, const float4 (&x)[Tile::mt],
                                                const float* rows, int count) {
  accumulate_1<Tile, 0>(acc, x, rows);
  if (count > 1) accumulate_1<Tile, 1>(acc, x, rows + Tile::channels);
  if (count > 2) accumulate_1<Tile, 2>(acc, x, rows + 2 * Tile::channels);
}

/// `groups` groups of four k of slices in shared memory: `input` is (pixels, input_pitch).
template <typename Tile>
__device__ __forceinline__ void accumulate_slice(Accumulators<Tile>& acc, const float* input,
                                                 const float* filters, int groups, ThreadPlace place) {
  const float* x_base = input + place.pixel * Tile::input_pitch;
  const float* w_base = filters + place.channel;
  const auto step = [&](int g) {
    float4 x[Tile::mt];
#pragma unroll
    for (int i = 0; i < Tile::mt; ++i) {
      x[i] = *reinterpret_cast<const float4*>(x_base + i * Tile::pixel_threads * Tile::input_pitch + 4 * g);
    }
    accumulate_4<Tile>(acc, x, w_base + 4 * g * Tile::channels);
  };
#pragma unroll(Tile::unroll)
  for (int g = 0; g < groups; ++g) step(g);
}

}  // namespace halotile::direct
