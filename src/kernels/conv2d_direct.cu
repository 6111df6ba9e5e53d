// Convolution on CUDA cores, fp32.
//
//   y(i, r, q, o) = relu?(bias(o) + sum over ky, kx, c of w(o, ky, kx, c) x(i, Y, X, g C + c))
//   Y = r Sh - Ph + ky Dh, X = q Sw - Pw + kx Dw, C channels a group, g = o / outputs of a group;
//   x = 0 where (Y, X) lies outside the image or outside in.rect, and is multiplied all the same
//
// Maps are NHWC views with any strides; filters (group, k, output channel) as made by conv2d_filters.
//
// A block computes Tile::pixels outputs' positions by Tile::channels output channels of one group, and walks
// over k = (ky, kx, c) in slices of 16 that pass through a ring in dynamic shared memory (register_tile.cuh).
// Three kernels, by where the input is read from:
//   patch   shared memory holds all the input that the block's rectangle of outputs reads, halo included,
//           loaded once. With few channels, a kernel row's kx and c are one contiguous run (merged).
//   slice   the pixels are consecutive in (image, row, column); with each slice of filters goes a slice of
//           input, 16 channels of one tap for every pixel. Any window, any size.
//   filter  only filters are staged; threads read their pixels' channels through the L1 cache.
// Grid: x pixels' tiles, y groups x output channels' tiles. Positions outside the image are decided by
// coordinates when the input is fetched and enter as zeros.
//
// Preconditions: those of reference.hpp; the variant was made for the geometry. Sources: CUDA C++ Programming
// Guide (asynchronous copies); Lai and Seznec 2013 on register tiles of SGEMM.
#include <array>
#include <utility>

#include "kernels/conv2d_direct.cuh"
#include "kernels/cuda_error.hpp"

namespace halotile::direct {
namespace {

__constant__ float constant_bias[ConstantSpace::capacity];

// Bias, ReLU, store.
template <typename Tile>
__device__ __forceinline__ void finish(const Conv2dParameters& p, const Accumulators<Tile>& acc,
                                       const Shared<Tile>& shared, int2 channels, ThreadPlace place) {
#pragma unroll
  for (int j = 0; j < Tile::nv; ++j) {
    const int o = channels.y + place.channel + j * 4 * Tile::channel_threads;  // of the group
    if (o >= p.outputs) continue;
    const int whole_o = channels.x * p.outputs + o;
    float bias[4] = {};
    if (p.has_bias) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (o + e >= p.outputs) continue;
        bias[e] = p.bias_constant >= 0 ? constant_bias[p.bias_constant + whole_o + e] : p.bias[whole_o + e];
      }
    }
#pragma unroll
    for (int i = 0; i < Tile::mt; ++i) {
      const std::int64_t offset = shared.output[place.pixel + i * Tile::pixel_threads];
      if (offset < 0) continue;
      float y[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        y[e] = acc[i][4 * j + e];
        if (p.has_bias) y[e] = __fadd_rn(y[e], bias[e]);
        if (p.relu && y[e] < 0.0F) y[e] = 0.0F;
      }
      float* to = p.out.data + offset + whole_o;
      if (p.vector_out && o + 3 < p.outputs) {
        *reinterpret_cast<float4*>(to) = make_float4(y[0], y[1], y[2], y[3]);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (o + e < p.outputs) to[e] = y[e];
        }
      }
    }
  }
}

// ---- slice ----

template <typename Tile>
__device__ __forceinline__ void stage_input(const Conv2dParameters& p, const PixelSource* sources, float* slice,
                                            const TapCursor& tap) {
  constexpr int vectors = slice_rows / 4;
  const int row_step = tap.ky * p.dilation_h;
  const int col_step = tap.kx * p.dilation_w;
  const std::int64_t step = row_step * p.in.row_stride + col_step * p.in.col_stride;
  const int c = tap.channel + static_cast<int>(threadIdx.x) % vectors * 4;
#pragma unroll
  for (int n = 0; n < Tile::pixels * vectors / Tile::threads; ++n) {
    const int pixel = (static_cast<int>(threadIdx.x) + n * Tile::threads) / vectors;
    const PixelSource source = sources[pixel];
    const bool inside = p.in.readable_row(source.row + row_step) && p.in.readable_col(source.col + col_step);
    const float* from = p.in.data + source.input + step + c;
    float* to = slice + pixel * Tile::input_pitch + static_cast<int>(threadIdx.x) % vectors * 4;
    if (p.vector_in) {
      const bool valid = inside && c < p.channels;
      copy_async_16(to, valid ? from : p.filters, valid);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool valid = inside && c + e < p.channels;
        copy_async_4(to + e, valid ? from + e : p.filters, valid);
      }
    }
  }
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) conv2d_slice(const Conv2dParameters p) {
  const Shared<Tile> shared = shared_memory<Tile>();
  const int2 channels = block_channels<Tile>(p);
  const ThreadPlace place = thread_place<Tile>();
  list_pixels<Tile>(p, channels.x, shared);
  __syncthreads();

  const int tap_slices = divide_up(p.channels, slice_rows);
  const int slices = p.kernel_h * p.kernel_w * tap_slices;
  const int columns = p.output_pitch - channels.y;
  TapCursor fetch;
  const float* filters = block_filters<Tile>(p, channels);
  const auto stage = [&](int slice) {
    if (slice < slices) {
      const int rows = fetch.groups(p) * 4;
      stage_filters<Tile>(shared.filters + slice % stages * Tile::filter_slice, filters, rows, p.output_pitch,
                          columns);
      stage_input<Tile>(p, shared.source, shared.input + slice % stages * Tile::input_slice, fetch);
      filters += static_cast<std::int64_t>(rows) * p.output_pitch;
      fetch.advance(p);
    }
    copy_async_commit();
  };
  for (int slice = 0; slice < stages - 1; ++slice) stage(slice);

  Accumulators<Tile> acc = {};
  TapCursor tap;
  for (int slice = 0; slice < slices; ++slice) {
    copy_async_wait<stages - 2>();
    __syncthreads();
    stage(slice + stages - 1);
    accumulate_slice<Tile>(acc, shared.input + slice % stages * Tile::input_slice,
                           shared.filters + slice % stages * Tile::filter_slice, tap.groups(p), place);
    tap.advance(p);
  }
  finish<Tile>(p, acc, shared, channels, place);
}

// ---- filter ----

// Four channels from `c` on; what lies outside the image or beyond the group's channels is zero.
__device__ __forceinline__ float4 read_input(const Conv2dParameters& p, const float* from, int c) {
  if (from == nullptr) return {};
  if (p.vector_in) return __ldg(reinterpret_cast<const float4*>(from + c));
  float4 x = {};
  x.x = __ldg(from + c);
  if (c + 1 < p.channels) x.y = __ldg(from + c + 1);
  if (c + 2 < p.channels) x.z = __ldg(from + c + 2);
  if (c + 3 < p.channels) x.w = __ldg(from + c + 3);
  return x;
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::threads) conv2d_filter(const Conv2dParameters p) {
  const Shared<Tile> shared = shared_memory<Tile>();
  const int2 channels = block_channels<Tile>(p);
  const ThreadPlace place = thread_place<Tile>();
  list_pixels<Tile>(p, channels.x, shared);

  const int columns = p.output_pitch - channels.y;
  const float* filters = block_filters<Tile>(p, channels);
  TapCursor fetch;
  const auto stage = [&](int slice) {
    if (fetch.ky < p.kernel_h) {
      const int rows = fetch.groups(p) * 4;
      stage_filters<Tile>(shared.filters + slice % stages * Tile::filter_slice, filters, rows, p.output_pitch,
                          columns);
      filters += static_cast<std::int64_t>(rows) * p.output_pitch;
      fetch.advance(p);
    }
    copy_async_commit();
  };
  for (int slice = 0; slice < stages - 1; ++slice) stage(slice);

  Accumulators<Tile> acc = {};
  TapCursor tap;
  for (int slice = 0; tap.ky < p.kernel_h; ++slice) {
    copy_async_wait<stages - 2>();
    __syncthreads();
    stage(slice + stages - 1);
    const int row_step = tap.ky * p.dilation_h;
    const int col_step = tap.kx * p.dilation_w;
    const std::int64_t step = row_step * p.in.row_stride + col_step * p.in.col_stride;
    const float* from[Tile::mt];
#pragma unroll
    for (int i = 0; i < Tile::mt; ++i) {
      const PixelSource source = shared.source[place.pixel + i * Tile::pixel_threads];
      const bool inside = p.in.readable_row(source.row + row_step) && p.in.readable_col(source.col + col_step);
      from[i] = inside ? p.in.data + source.input + step : nullptr;
    }
    const float* w = shared.filters + slice % stages * Tile::filter_slice + place.channel;
    const int groups = tap.groups(p);
#pragma unroll 2
    for (int g = 0; g < groups; ++g) {
      float4 x[Tile::mt];
#pragma unroll
      for (int i = 0; i < Tile::mt; ++i) x[i] = read_input(p, from[i], tap.channel + 4 * g);
      accumulate_4<Tile>(acc, x, w + 4 * g * Tile::channels);
    }
    tap.advance(p);
  }
  finish<Tile>(p, acc, shared, channels, place);
}

// ---- patch ----

// Sources (offsets in the patch, kept in PixelSource::row) and destinations of the block's rectangle of
// outputs; returns the image and the position of the patch's first row and column.
template <typename Tile>
__device__ int3 list_rectangle(const Conv2dParameters& p, const Shared<Tile>& shared) {
  const int across = static_cast<int>(blockIdx.x) % p.tiles_across;
  const int down = static_cast<int>(blockIdx.x) / p.tiles_across % p.tiles_down;
  const int image = static_cast<int>(blockIdx.x) / p.tiles_across / p.tiles_down;
  for (int n = static_cast<int>(threadIdx.x); n < Tile::pixels; n += Tile::threads) {
    const int tile_row = n / p.tile_cols;
    const int tile_col = n % p.tile_cols;
    const int row = down * p.tile_rows + tile_row;
    const int col = across * p.tile_cols + tile_col;
    const bool inside = tile_row < p.tile_rows;
    shared.source[n].row =
        inside ? tile_row * p.stride_h * p.row_pitch + tile_col * p.stride_w * p.col_pitch : 0;
    shared.output[n] = inside && row < p.out.rows && col < p.out.cols
                           ? p.out.offset(image, p.out.row0 + row, p.out.col0 + col)
                           : -1;
  }
  return {image, (p.out.row0 + down * p.tile_rows) * p.stride_h - p.pad_h,
          (p.out.col0 + across * p.tile_cols) * p.stride_w - p.pad_w};
}

// A warp fetches whole rows of the patch.
template <typename Tile>
__device__ __forceinline__ void stage_patch(const Conv2dParameters& p, float* patch, int3 origin, int group) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int vectors = divide_up(p.channels, 4);
  // Values of a row that are inside the image, when a row is one contiguous stretch.
  const int first = max(p.in.read_col0 - origin.z, 0) * p.channels;
  const int last = min(p.in.read_col0 + p.in.read_cols - origin.z, p.patch_cols) * p.channels;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < p.patch_rows; row += Tile::threads / 32) {
    const bool row_inside = p.in.readable_row(origin.y + row);
    const float* from =
        p.in.data + p.in.offset(origin.x, origin.y + row, origin.z) + static_cast<std::int64_t>(group) * p.channels;
    float* to = patch + row * p.row_pitch;
    if (p.merged) {
      for (int e = lane; e < p.patch_cols * p.channels; e += 32) {
        const bool valid = row_inside && e >= first && e < last;
        copy_async_4(to + e, valid ? from + e : p.filters, valid);
      }
      continue;
    }
    for (int e = lane; e < p.patch_cols * vectors; e += 32) {
      const int col = static_cast<int>(static_cast<unsigned>(e) / static_cast<unsigned>(vectors));
      const int c = (e - col * vectors) * 4;
      const bool inside = row_inside && p.in.readable_col(origin.z + col);
      const float* source = from + col * p.in.col_stride + c;
      float* target = to + col * p.col_pitch + c;
      if (p.vector_in) {
        copy_async_16(target, inside ? source : p.filters, inside);
      } else {
        for (int k = 0; k < 4; ++k) {
          const bool valid = inside && c + k < p.channels;
          copy_async_4(target + k, valid ? source + k : p.filters, valid);
        }
      }
    }
  }
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) conv2d_patch(const Conv2dParameters p) {
  const Shared<Tile> shared = shared_memory<Tile>();
  const int2 channels = block_channels<Tile>(p);
  const ThreadPlace place = thread_place<Tile>();
  const int3 origin = list_rectangle<Tile>(p, shared);
  stage_patch<Tile>(p, shared.input, origin, channels.x);

  const int slices = divide_up(p.k_rows, slice_rows);
  const int columns = p.output_pitch - channels.y;
  const float* filters = block_filters<Tile>(p, channels);
  const auto stage = [&](int slice) {
    if (slice < slices) {
      stage_filters<Tile>(shared.filters + slice % stages * Tile::filter_slice,
                          filters + static_cast<std::int64_t>(slice) * slice_rows * p.output_pitch,
                          min(slice_rows, p.k_rows - slice * slice_rows), p.output_pitch, columns);
    }
    copy_async_commit();
  };
  for (int slice = 0; slice < stages - 1; ++slice) stage(slice);
  __syncthreads();  // the list of pixels
  const float* input[Tile::mt];
#pragma unroll
  for (int i = 0; i < Tile::mt; ++i) {
    input[i] = shared.input + shared.source[place.pixel + i * Tile::pixel_threads].row;
  }

  Accumulators<Tile> acc = {};
  int run = 0;     // offset of the run's first value from a pixel's first value
  int kx = 0;
  int row = 0;     // offset of the kernel row
  int group = 0;   // of the run
  for (int slice = 0; slice < slices; ++slice) {
    copy_async_wait<stages - 2>();
    __syncthreads();
    stage(slice + stages - 1);
    const float* w = shared.filters + slice % stages * Tile::filter_slice + place.channel;
    const int groups = min(slice_rows, p.k_rows - slice * slice_rows) / 4;
#pragma unroll 1
    for (int g = 0; g < groups; ++g) {
      float4 x[Tile::mt];
#pragma unroll
      for (int i = 0; i < Tile::mt; ++i) {
        x[i] = *reinterpret_cast<const float4*>(input[i] + run + 4 * group);
      }
      if (++group < p.run_groups || p.run_tail == 0) {
        accumulate_4<Tile>(acc, x, w);
      } else {
        accumulate_tail<Tile>(acc, x, w, p.run_tail);
      }
      w += 4 * Tile::channels;
      if (group == p.run_groups) {  // the next run
        group = 0;
        run += p.dilation_w * p.col_pitch;
        if (p.merged || ++kx == p.kernel_w) {
          kx = 0;
          row += p.dilation_h * p.row_pitch;
          run = row;
        }
      }
    }
  }
  finish<Tile>(p, acc, shared, channels, place);
}

// ---- launching ----

using Kernel = void (*)(Conv2dParameters);

// Kernels [Conv2dKernel][tile]; nullptr where there is none.
template <std::size_t... tile>
constexpr auto kernel_table(std::index_sequence<tile...>) {
  return std::array<std::array<Kernel, conv2d_tile_count>, 3>{
      std::array<Kernel, conv2d_tile_count>{conv2d_patch<std::tuple_element_t<tile, Conv2dTiles>>...},
      std::array<Kernel, conv2d_tile_count>{conv2d_slice<std::tuple_element_t<tile, Conv2dTiles>>...},
      std::array<Kernel, conv2d_tile_count>{conv2d_filter<std::tuple_element_t<tile, Conv2dTiles>>...}};
}

const auto kernels = kernel_table(std::make_index_sequence<conv2d_tile_count>());

template <typename Tile>
constexpr TileShape tile_shape() {
  return {Tile::pixels, Tile::channels, Tile::threads, conv2d_shared_bytes<Tile>(0),
          sizeof(float) * stages * Tile::input_slice};
}

template <std::size_t... tile>
constexpr std::array<TileShape, conv2d_tile_count> tile_shapes(std::index_sequence<tile...>) {
  return {tile_shape<std::tuple_element_t<tile, Conv2dTiles>>()...};
}

Kernel kernel_of(Conv2dKernel kernel, int tile) {
  return kernels[static_cast<std::size_t>(kernel)][static_cast<std::size_t>(tile)];
}

void write_constants(int offset, std::span<const float> values) {
  check_cuda(cudaMemcpyToSymbol(constant_bias, values.data(), values.size_bytes(),
                                static_cast<std::size_t>(offset) * sizeof(float)),
             "writing a bias to constant memory");
  check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "writing a bias to constant memory");
}

Conv2dParameters parameters(const Conv2d& layer, const Conv2dVariant& variant, const ConstMapView& in,
                            const MapView& out) {
  const Window& window = layer.window;
  Conv2dParameters p{};
  p.in = device_map(in, in.data);
  p.out = device_map(out, out.data);
  p.relu = layer.relu;
  p.pixels = positions(p.out);
  p.channels = device_int(layer.in_channels / layer.groups, "the number of channels");
  p.outputs = device_int(layer.out_channels / layer.groups, "the number of channels");
  p.output_pitch = divide_up(p.outputs, 4) * 4;
  p.kernel_h = device_int(window.kernel.height, "a kernel");
  p.kernel_w = device_int(window.kernel.width, "a kernel");
  p.stride_h = device_int(window.stride.height, "a stride");
  p.stride_w = device_int(window.stride.width, "a stride");
  p.pad_h = device_int(window.padding.height, "a padding");
  p.pad_w = device_int(window.padding.width, "a padding");
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

}  // namespace

std::span<const TileShape> conv2d_tiles() {
  static constexpr auto shapes = tile_shapes(std::make_index_sequence<conv2d_tile_count>());
  return shapes;
}

ConstantSpace& conv2d_constants() {
  static ConstantSpace space(write_constants);
  return space;
}

int conv2d_resident_blocks(Conv2dKernel kernel, int tile, std::size_t shared_bytes) {
  const auto function = reinterpret_cast<const void*>(kernel_of(kernel, tile));
  int device = 0;
  int limit = 0;
  check_cuda(cudaGetDevice(&device), "asking for the device");
  check_cuda(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
             "asking for shared memory");
  if (function == nullptr || shared_bytes > static_cast<std::size_t>(limit)) return 0;
  check_cuda(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, limit),
             "asking for shared memory");
  int blocks = 0;
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                 &blocks, function, conv2d_tiles()[static_cast<std::size_t>(tile)].threads, shared_bytes),
             "asking for the occupancy");
  return blocks;
}

void conv2d(const Conv2d& layer, const Conv2dVariant& variant, const float* filters, const BiasPlace& bias,
            const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  Conv2dParameters p = parameters(layer, variant, in, out);
  if (p.pixels == 0 || p.outputs == 0) return;
  p.filters = filters;
  p.has_bias = bias.present();
  p.bias = bias.global;
  p.bias_constant = bias.constant;
  const TileShape tile = conv2d_tiles()[static_cast<std::size_t>(variant.tile)];
  const int pixel_tiles = variant.kernel == Conv2dKernel::patch ? p.out.images * p.tiles_down * p.tiles_across
                                                                : divide_up(p.pixels, tile.pixels);
  const int groups = static_cast<int>(layer.groups);
  const dim3 grid(static_cast<unsigned>(pixel_tiles), static_cast<unsigned>(groups * p.group_tiles));
  kernel_of(variant.kernel, variant.tile)<<<grid, static_cast<unsigned>(tile.threads), variant.shared_bytes,
                                            stream>>>(p);
  check_launch("launching conv2d");
}

}  // namespace halotile::direct
