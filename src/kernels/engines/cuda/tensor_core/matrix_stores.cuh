// From the fragments of tensor cores to maps: four neighbouring threads hold 2 of every 8 columns of a row
// each; they exchange until each has what fills 16 bytes. mma.sync and wgmma leave sums in the same places.
#pragma once

#include <cstdint>

#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/maps/map.hpp"

namespace halotile::tensor_core {

/// What is known of every row of results.
struct OutputRow {
  DType type;
  int channels;  // of a group: columns from there on are not stored
  bool vector;   // 16 bytes of channels may be stored at once, where their first is a multiple of as many
};

__device__ __forceinline__ unsigned exchange_with(unsigned value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}
__device__ __forceinline__ float exchange_with(float value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}

// Threads t, t + 1 (t even) hold words x0 and x1. Afterwards t holds both threads' x0, t + 1 both x1, in
// order.
template <typename Word>
__device__ __forceinline__ void exchange_pair(Word& x0, Word& x1, int mask, bool upper) {
  const Word other = exchange_with(upper ? x0 : x1, mask);
  const Word mine = upper ? x1 : x0;
  x0 = upper ? other : mine;
  x1 = upper ? mine : other;
}

__device__ __forceinline__ unsigned pack(DType type, float low, float high) {
  const float pair[2] = {low, high};
  return type == DType::bf16 ? cuda::narrow<__nv_bfloat16, 2>(pair).word[0]
                             : cuda::narrow<__half, 2>(pair).word[0];
}

// Four columns of 8 of one row, held by four threads as the instructions leave them: stores them in 16-bit
// elements. `to` is the row's first output channel of the group, `first` the columns' first channel.
__device__ __forceinline__ void store_16_bit(const OutputRow& row, const float (&y)[8], std::uint16_t* to,
                                             bool exists, int first) {
  const int t = static_cast<int>(threadIdx.x) % 4;
  unsigned word[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) word[j] = pack(row.type, y[2 * j], y[2 * j + 1]);
  // Turns words x threads over: thread t gets its eight columns' four words.
  exchange_pair(word[0], word[1], 1, t % 2 != 0);
  exchange_pair(word[2], word[3], 1, t % 2 != 0);
  exchange_pair(word[0], word[2], 2, t / 2 != 0);
  exchange_pair(word[1], word[3], 2, t / 2 != 0);
  const int channel = first + t * 8;
  if (!exists || channel >= row.channels) return;
  if (row.vector && channel + 8 <= row.channels) {
    *reinterpret_cast<uint4*>(to + channel) = make_uint4(word[0], word[1], word[2], word[3]);
    return;
  }
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    if (channel + e < row.channels) to[channel + e] = static_cast<std::uint16_t>(word[e / 2] >> e % 2 * 16);
  }
}

// As above, in f32.
__device__ __forceinline__ void store_f32(const OutputRow& row, float (&y)[8], float* to, bool exists,
                                          int first) {
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int j = 0; j < 8; j += 4) {
    // Threads 0 and 2 get the first eight columns' halves, 1 and 3 the second's.
    exchange_pair(y[j], y[j + 2], 1, t % 2 != 0);
    exchange_pair(y[j + 1], y[j + 3], 1, t % 2 != 0);
    const int channel = first + (j / 2 + t % 2) * 8 + t / 2 * 4;
    if (!exists || channel >= row.channels) continue;
    if (row.vector && channel + 4 <= row.channels) {
      *reinterpret_cast<float4*>(to + channel) = make_float4(y[j], y[j + 1], y[j + 2], y[j + 3]);
      continue;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (channel + e < row.channels) to[channel + e] = y[j + e];
    }
  }
}

}  // namespace halotile::tensor_core
