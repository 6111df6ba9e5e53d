// What the kernels of matrix_wgmma.cuh are given, and how they store what they have summed.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/hopper.cuh"
#include "kernels/engines/cuda/tensor_core/non_finite.cuh"

namespace halotile::tensor_core {
namespace {

// Where a call's outputs go.
struct Outputs {
  const float* bias;
  void* map;
  float* partial;
  std::int64_t image_stride;  // of the map, in elements
  std::int64_t row_stride;
  std::int64_t col_stride;
  DType type;
  bool vectors;                   // can be stored by 16 bytes
  int positions;                  // rows of the product
  cuda::Divider image_positions;  // of them
  cuda::Divider cols;
  int out_cols;
};

// A call as the kernel sees it.
struct DeviceCall {
  CUtensorMap input[3];  // for chunks of 128 bytes, and rests of 64 and 32; those that the layer has
  // Input in planes: rows of the product are all positions of the packed rows where windows begin, those too
  // where none does, behind the last output of a row.
  const std::byte* planes;
  std::int64_t plane_bytes;  // of an image
  const std::byte* filters;
  int images;
  int pixels;  // of a box of the maps
  int first_row;
  int first_col;
  int first_item;  // of the launch
  Outputs outputs;
  UnpackedInput unpacked;
};

struct DeviceLayer {
  int groups;
  int in;   // channels of a group
  int out;  // channels of a group
  int kernel_rows;
  int kernel_cols;
  int stride_row;
  int stride_col;
  int dilation_row;
  int dilation_col;
  int chunks;  // whole ones of a tap
  int rest;    // bytes
  int filter_rows;
  int segments;
  int stages;
  int unit;                  // channels of 128 bytes
  std::int64_t low_filters;  // split: bytes from the high values to the low ones
  bool relu;
};

struct Launch {
  DeviceCall call;          // where there is no table
  const DeviceCall* table;  // calls, in order of first_item
  int calls;
  int items;
  int blocks_of_cols;
  int parts;         // items along a sum: the segments, or 1 where a block adds them itself
  int ring;          // stages in shared memory
  int filter_bytes;  // of a block that keeps them
  DeviceLayer layer;
  SpreadLayer spread;
};

// What an item of work covers.
struct Item {
  int row;  // first output position
  int col;  // first output channel of the group
  int group;
  int segment;
};

// ---- results ----

// Transposes 4x4 words over four neighbouring lanes: lane i's word j becomes lane j's word i.
__device__ __forceinline__ void transpose(std::uint32_t (&w)[4], int lane) {
  const auto exchange = [&](std::uint32_t& low, std::uint32_t& high, int distance) {
    const bool upper = (lane & distance) != 0;
    const std::uint32_t got = __shfl_xor_sync(0xffffffffU, upper ? low : high, distance);
    (upper ? low : high) = got;
  };
  exchange(w[0], w[1], 1);
  exchange(w[2], w[3], 1);
  exchange(w[0], w[2], 2);
  exchange(w[1], w[3], 2);
}

template <Element element>
__device__ __forceinline__ std::uint32_t pack_pair(float low, float high) {
  if constexpr (element == Element::f16) {
    const __half2 pair = __floats2half2_rn(low, high);
    return reinterpret_cast<const std::uint32_t&>(pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const std::uint32_t&>(pair);
  }
}

// Of both halves of a word: ReLU, or nothing. A NaN stays one.
template <Element element>
__device__ __forceinline__ std::uint32_t at_least_zero(std::uint32_t pair, bool relu) {
  if constexpr (element == Element::f16) {
    const std::uint32_t least = relu ? 0U : 0xfc00fc00U;
    asm("max.NaN.f16x2 %0, %0, %1;" : "+r"(pair) : "r"(least));
  } else {
    const std::uint32_t least = relu ? 0U : 0xff80ff80U;
    asm("max.NaN.bf16x2 %0, %0, %1;" : "+r"(pair) : "r"(least));
  }
  return pair;
}

__device__ __forceinline__ void store_global(void* to, const std::uint32_t (&w)[4]) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(w[0]), "r"(w[1]), "r"(w[2]),
               "r"(w[3])
               : "memory");
}
__device__ __forceinline__ void store_global(void* to, float x, float y) {
  asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(x), "f"(y) : "memory");
}

// Where a row of the product goes, if it is an output's: the offset of its first channel of the group's
// block.
struct Output {
  bool there;
  std::int64_t offset;
};
template <typename S>
__device__ __forceinline__ Output output_of(const Outputs& out, int position, int first_channel) {
  bool there = position < out.positions;
  const int2 image = out.image_positions.divide(there ? position : 0);
  const int2 row = out.cols.divide(image.y);
  if constexpr (S::planes) there = there && row.y < out.out_cols;
  return {there,
          image.x * out.image_stride + row.x * out.row_stride + row.y * out.col_stride + first_channel};
}

// A thread's sums of an item: rows row0 and row0 + 8, columns 8 j + pair and the next.
struct Place {
  int row0;
  int pair;
  int first_channel;
  int left;  // channels of the group from the block's first on
};

// Adds the biases of a thread's columns, 8 j + pair and the next, of channels that there are. `kept`: of the
// columns of a block that keeps them, in shared memory. `whole`: all of the block's columns are there.
template <typename S, bool whole>
__device__ __forceinline__ void add_biases(const Outputs& out, const float* kept, const Place& place,
                                           float (&sum)[S::sums]) {
  if (out.bias == nullptr) return;
  const float* const bias = S::keeps_filters ? kept : out.bias + place.first_channel;
  const auto* const pairs = reinterpret_cast<const float2*>(bias + place.pair);
#pragma unroll
  for (int j = 0; j < S::cols / 8; ++j) {
    if (!whole && 8 * j >= place.left) break;
    const float2 b = S::keeps_filters ? pairs[4 * j] : __ldg(pairs + 4 * j);
    sum[4 * j] = __fadd_rn(sum[4 * j], b.x);
    sum[4 * j + 1] = __fadd_rn(sum[4 * j + 1], b.y);
    sum[4 * j + 2] = __fadd_rn(sum[4 * j + 2], b.x);
    sum[4 * j + 3] = __fadd_rn(sum[4 * j + 3], b.y);
  }
}

// Channels can be stored by 16 bytes; of those of the block that exist there is a multiple of 8.
// `whole`: all of the block's columns do.
template <typename S, bool whole>
__device__ __forceinline__ void store_vectors(const Outputs& out, const float* kept_biases, bool relu,
                                              const Place& place, float (&sum)[S::sums]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  add_biases<S, whole>(out, kept_biases, place, sum);
  const bool floats = S::element == Element::tf32 || out.type == DType::f32;
  if (floats && relu) {
#pragma unroll
    for (float& y : sum) y = y <= 0.0F ? 0.0F : y;
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const auto [there, offset] = output_of<S>(out, place.row0 + 8 * h, place.first_channel);
    if (floats) {
      float* const to = static_cast<float*>(out.map) + offset + place.pair;
#pragma unroll
      for (int j = 0; j < S::cols / 8; ++j) {
        if (there && (whole || 8 * j < place.left))
          store_global(to + 8 * j, sum[4 * j + 2 * h], sum[4 * j + 2 * h + 1]);
      }
    } else if constexpr (S::element != Element::tf32) {
      std::uint16_t* const to = static_cast<std::uint16_t*>(out.map) + offset + 8 * (lane % 4);
#pragma unroll
      for (int j = 0; j < S::cols / 8; j += 4) {
        std::uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
          words[i] = at_least_zero<S::element>(
              pack_pair<S::element>(sum[4 * (j + i) + 2 * h], sum[4 * (j + i) + 2 * h + 1]), relu);
        transpose(words, lane);
        if (there && (whole || 8 * (j + lane % 4) < place.left)) store_global(to + 8 * j, words);
      }
    }
  }
}

// Any columns, any alignment.
template <typename S>
__device__ __forceinline__ void store_elements(const Outputs& out, bool relu, const Place& place,
                                               const float (&sum)[S::sums]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const auto [there, offset] = output_of<S>(out, place.row0 + 8 * h, place.first_channel);
    if (!there) continue;
#pragma unroll
    for (int n = 0; n < S::cols / 4; ++n) {
      const int col = n / 2 * 8 + place.pair + n % 2;
      if (col >= place.left) continue;
      float y = sum[n / 2 * 4 + 2 * h + n % 2];
      if (out.bias != nullptr) y = __fadd_rn(y, __ldg(out.bias + place.first_channel + col));
      if (relu && y <= 0.0F) y = 0.0F;
      if (S::element == Element::tf32 || out.type == DType::f32) {
        static_cast<float*>(out.map)[offset + col] = y;
      } else if constexpr (S::element != Element::tf32) {
        static_cast<std::uint16_t*>(out.map)[offset + col] =
            static_cast<std::uint16_t>(pack_pair<S::element>(y, 0.0F));
      }
    }
  }
}

// Sums of a segment.
template <typename S>
__device__ __forceinline__ void store_partial(const Outputs& out, int channels, int segment,
                                              const Place& place, const float (&sum)[S::sums]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = place.row0 + 8 * h;
    if (row >= out.positions) continue;
    float* const to = out.partial + (static_cast<std::int64_t>(segment) * out.positions + row) * channels +
                      place.first_channel;
#pragma unroll
    for (int j = 0; j < S::cols / 8; ++j) {
      const int col = 8 * j + place.pair;
      if (col + 1 < place.left && channels % 2 == 0) {
        store_global(to + col, sum[4 * j + 2 * h], sum[4 * j + 2 * h + 1]);
      } else {
        if (col < place.left) to[col] = sum[4 * j + 2 * h];
        if (col + 1 < place.left) to[col + 1] = sum[4 * j + 2 * h + 1];
      }
    }
  }
}

template <typename S>
__device__ __forceinline__ void store(const Launch& launch, const Outputs& out, const float* kept_biases,
                                      const Item& item, float (&sum)[S::sums]) {
  const DeviceLayer& layer = launch.layer;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32) % (S::rows / 16);
  const Place place{item.row + warp * 16 + lane / 4, 2 * (lane % 4), item.group * layer.out + item.col,
                    layer.out - item.col};
  if (launch.parts > 1) {
    store_partial<S>(out, layer.groups * layer.out, item.segment, place, sum);
  } else if (!out.vectors) {
    store_elements<S>(out, layer.relu, place, sum);
  } else if (place.left >= S::cols) {
    store_vectors<S, true>(out, kept_biases, layer.relu, place, sum);
  } else {
    store_vectors<S, false>(out, kept_biases, layer.relu, place, sum);
  }
}

// Writes those outputs of an item again that infinities and NaN reach: each warp those that it has stored.
template <typename S>
__device__ __forceinline__ void spread(const Launch& launch, const DeviceCall& call, const Item& item) {
  const Outputs& out = call.outputs;
  const int warp = static_cast<int>(threadIdx.x / 32) % (S::rows / 16);
  const int first_channel = item.group * launch.layer.out;
  const int end = min(item.col + S::cols, launch.layer.out);
  for (int row = item.row + warp * 16; row < min(item.row + warp * 16 + 16, out.positions); ++row) {
    const auto [there, offset] = output_of<S>(out, row, first_channel);
    if (!there) continue;
    const int2 image = out.image_positions.divide(row);
    const int2 place = out.cols.divide(image.y);
    spread_position(launch.spread, call.unpacked, {image.x, place.x, place.y, item.group}, item.col, end,
                    out.type, out.map, offset);
  }
}

}  // namespace
}  // namespace halotile::tensor_core
