// What the kernels of conv2d_direct have in common: the register tiles, the launch parameters, the layout of
// a block's shared memory, the block's pixels and the loop over taps.
#pragma once

#include <tuple>

#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/direct/conv2d.hpp"
#include "kernels/engines/cuda/direct/register_tile.cuh"

namespace halotile::direct {

using namespace cuda;  // the engine stands on what all CUDA engines share

// Pixels, channel vectors of a thread; threads along both; resident blocks; unrolling; stages. From large
// maps to few outputs. Their rates are in conv2d_plan_direct.cpp.
using Conv2dTiles = std::tuple<RegisterTile<8, 3, 16, 8, 2, 2>, RegisterTile<8, 2, 8, 8, 6, 4>,
                               RegisterTile<4, 2, 8, 8, 8, 2>, RegisterTile<4, 1, 8, 8, 12, 4, 8>,
                               RegisterTile<2, 1, 8, 8, 12, 4, 8>>;
inline constexpr int conv2d_tile_count = std::tuple_size_v<Conv2dTiles>;

struct Conv2dParameters {
  DeviceMap<float> in;
  DeviceMap<float> out;
  const float* filters;
  const float* bias;
  int bias_constant;  // offset in constant memory, or -1
  bool has_bias;
  bool relu;
  bool vector_in;    // channels of the input may be read 16 bytes at a time
  bool vector_out;   // likewise written
  int pixels;        // of all images
  int channels;      // of a group
  int outputs;       // of a group
  int output_pitch;  // filters: floats from one k to the next
  int k_rows;        // filters: values of k of a group
  int group_tiles;   // blocks along the output channels of a group
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  // patch
  int tile_rows, tile_cols;      // outputs of a block
  int tiles_down, tiles_across;  // blocks of an image
  int patch_rows, patch_cols;    // input positions of a block
  int row_pitch, col_pitch;      // floats in shared memory
  bool merged;
  int run_groups;  // groups of four k from one run of contiguous values to the next
  int run_tail;    // values of k in a run's last group, or 0 for all four
};

/// A pixel of the block, in shared memory.
struct alignas(16) PixelSource {
  std::int64_t input;  // element offset of its window's first tap, channel 0 of the group
  int row;             // of that tap, in coordinates of the whole map
  int col;
};

inline constexpr int pixel_table_bytes = sizeof(PixelSource) + sizeof(std::int64_t);

/// Dynamic shared memory: the table of pixels, then the ring of filter slices, then the input.
template <typename Tile>
constexpr std::size_t conv2d_shared_bytes(std::size_t input_floats) {
  return std::size_t{Tile::pixels} * pixel_table_bytes +
         sizeof(float) * (std::size_t{Tile::stages} * Tile::filter_slice + input_floats);
}

// A block's shared memory.
template <typename Tile>
struct Shared {
  PixelSource* source;
  std::int64_t* output;  // element offset of each pixel's outputs, or -1
  float* filters;
  float* input;
};

template <typename Tile>
__device__ __forceinline__ Shared<Tile> shared_memory() {
  extern __shared__ float4 dynamic_shared[];
  Shared<Tile> shared;
  shared.source = reinterpret_cast<PixelSource*>(dynamic_shared);
  shared.output = reinterpret_cast<std::int64_t*>(shared.source + Tile::pixels);
  shared.filters = reinterpret_cast<float*>(shared.output + Tile::pixels);
  shared.input = shared.filters + Tile::stages * Tile::filter_slice;
  return shared;
}

// The group and the first output channel (of the group) of this block.
template <typename Tile>
__device__ __forceinline__ int2 block_channels(const Conv2dParameters& p) {
  const int group = static_cast<int>(blockIdx.y) / p.group_tiles;
  return {group, static_cast<int>(blockIdx.y) % p.group_tiles * Tile::channels};
}

template <typename Tile>
__device__ __forceinline__ const float* block_filters(const Conv2dParameters& p, int2 channels) {
  return p.filters + static_cast<std::int64_t>(channels.x) * p.k_rows * p.output_pitch + channels.y;
}

// Sources and destinations of the block's pixels, consecutive in (image, row, column).
template <typename Tile>
__device__ void list_pixels(const Conv2dParameters& p, int group, const Shared<Tile>& shared) {
  for (int n = static_cast<int>(threadIdx.x); n < Tile::pixels; n += Tile::threads) {
    const unsigned pixel = blockIdx.x * Tile::pixels + n;
    PixelSource source{0, -(1 << 30), -(1 << 30)};  // reads as padding at every tap
    std::int64_t output = -1;
    if (pixel < static_cast<unsigned>(p.pixels)) {
      const int col = static_cast<int>(pixel % p.out.cols) + p.out.col0;
      const int row = static_cast<int>(pixel / p.out.cols % p.out.rows) + p.out.row0;
      const int image = static_cast<int>(pixel / p.out.cols / p.out.rows);
      source.row = row * p.stride_h - p.pad_h;
      source.col = col * p.stride_w - p.pad_w;
      source.input = p.in.offset(image, source.row, source.col) + group * p.channels;
      output = p.out.offset(image, row, col);
    }
    shared.source[n] = source;
    shared.output[n] = output;
  }
}

// Position in the loop over taps and slices of channels.
struct TapCursor {
  int ky = 0;
  int kx = 0;
  int channel = 0;

  __device__ __forceinline__ void advance(const Conv2dParameters& p) {
    channel += slice_rows;
    if (channel < p.channels) return;
    channel = 0;
    if (++kx < p.kernel_w) return;
    kx = 0;
    ++ky;
  }
  // Groups of four k in this slice.
  __device__ __forceinline__ int groups(const Conv2dParameters& p) const {
    return min(slice_rows, p.channels - channel + 3) / 4;
  }
};

// All but the filters and the bias.
inline Conv2dParameters conv2d_parameters(const Conv2d& layer, const Conv2dVariant& variant,
                                          const ConstMapView& in, const MapView& out) {
  const Window& window = layer.window;
  Conv2dParameters p{};
  p.in = device_map<float>(in, in.data);
  p.out = device_map<float>(out, out.data);
  p.relu = layer.relu;
  p.pixels = positions(p.out);
  p.channels = device_int(layer.in_channels / layer.groups, "the number of channels");
  p.outputs = device_int(layer.out_channels / layer.groups, "the number of channels");
  p.output_pitch = divide_up(p.outputs, 4) * 4;
  p.kernel_h = device_int(window.kernel.height, "a kernel");
  p.kernel_w = device_int(window.kernel.width, "a kernel");
  p.stride_h = device_int(window.stride.height, "a stride");
  p.stride_w = device_int(window.stride.width, "a stride");
  p.pad_h = device_int(window.padding.begin.height, "a padding");
  p.pad_w = device_int(window.padding.begin.width, "a padding");
  p.dilation_h = device_int(window.dilation.height, "a dilation");
  p.dilation_w = device_int(window.dilation.width, "a dilation");
  p.merged = variant.merged;
  const int run = p.channels * (p.merged ? p.kernel_w : 1);
  p.run_groups = divide_up(run, 4);
  p.run_tail = p.merged ? run % 4 : 0;  // otherwise zeros pad the channels
  p.k_rows = p.kernel_h * (p.merged ? 1 : p.kernel_w) * p.run_groups * 4;
  p.vector_in = vector_aligned(p.in) && p.channels % 4 == 0;
  p.vector_out = vector_aligned(p.out) && p.outputs % 4 == 0;
  const TileShape tile = conv2d_tiles()[static_cast<std::size_t>(variant.tile)];
  p.group_tiles = divide_up(p.outputs, tile.channels);
  if (variant.kernel == Conv2dKernel::patch) {
    const PatchLayout patch = patch_layout(layer, variant.outputs, variant.merged);
    p.tile_rows = static_cast<int>(variant.outputs.height);
    p.tile_cols = static_cast<int>(variant.outputs.width);
    p.tiles_down = divide_up(p.out.rows, p.tile_rows);
    p.tiles_across = divide_up(p.out.cols, p.tile_cols);
    p.patch_rows = static_cast<int>(patch.input.height);
    p.patch_cols = static_cast<int>(patch.input.width);
    p.row_pitch = static_cast<int>(patch.row_pitch);
    p.col_pitch = static_cast<int>(patch.col_pitch);
  }
  return p;
}

}  // namespace halotile::direct
