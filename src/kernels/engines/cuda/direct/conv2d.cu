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

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/direct/conv2d.cuh"
#include "kernels/engines/cuda/kernel_list.hpp"

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

// Stages slices of input: a thread copies the same 4 of 16 channels for the same pixels every time, so that
// it decides once a tap what lies inside the image.
template <typename Tile>
class InputStager {
 public:
  // Goes to the first channel of a tap.
  __device__ __forceinline__ void aim(const Conv2dParameters& p, const PixelSource* sources,
                                      const TapCursor& tap) {
    const int row_step = tap.ky * p.dilation_h;
    const int col_step = tap.kx * p.dilation_w;
    const std::int64_t step = row_step * p.in.row_stride + col_step * p.in.col_stride;
    const float* origin = p.in.data + step + static_cast<int>(threadIdx.x) % vectors * 4;
#pragma unroll
    for (int n = 0; n < count; ++n) {
      const PixelSource source = sources[pixel(n)];
      const bool inside =
          p.in.readable_row(source.row + row_step) && p.in.readable_col(source.col + col_step);
      from_[n] = origin + source.input;
      bytes_[n] = inside ? 16 : 0;
    }
  }
  // Copies 16 channels from `channel` on (as many as the group has) and moves on.
  __device__ __forceinline__ void stage(const Conv2dParameters& p, float* slice, int channel) {
    const int c = channel + static_cast<int>(threadIdx.x) % vectors * 4;
    float* to = slice + pixel(0) * Tile::input_pitch + static_cast<int>(threadIdx.x) % vectors * 4;
    if (p.vector_in) {
      const bool exists = c < p.channels;
#pragma unroll
      for (int n = 0; n < count; ++n) {
        copy_async_16(to + n * (Tile::threads / vectors) * Tile::input_pitch, from_[n],
                      exists ? bytes_[n] : 0);
        from_[n] += slice_rows;
      }
    } else {
#pragma unroll
      for (int n = 0; n < count; ++n) {
        for (int e = 0; e < 4; ++e) {
          copy_async_4(to + n * (Tile::threads / vectors) * Tile::input_pitch + e, from_[n] + e,
                       bytes_[n] != 0 && c + e < p.channels);
        }
        from_[n] += slice_rows;
      }
    }
  }

 private:
  static constexpr int vectors = slice_rows / 4;
  static constexpr int count = Tile::pixels * vectors / Tile::threads;
  __device__ static __forceinline__ int pixel(int n) {
    return static_cast<int>(threadIdx.x) / vectors + n * (Tile::threads / vectors);
  }

  const float* from_[count];
  int bytes_[count];
};

template <typename Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) conv2d_slice(const Conv2dParameters p) {
  const Shared<Tile> shared = shared_memory<Tile>();
  const int2 channels = block_channels<Tile>(p);
  const ThreadPlace place = thread_place<Tile>();
  list_pixels<Tile>(p, channels.x, shared);
  __syncthreads();

  FilterStager<Tile> filters(block_filters<Tile>(p, channels), p.output_pitch, p.output_pitch - channels.y);
  InputStager<Tile> input;
  TapCursor fetch;
  int fetch_stage = 0;
  const auto stage = [&] {
    if (fetch.ky < p.kernel_h) {
      if (fetch.channel == 0) input.aim(p, shared.source, fetch);
      filters.stage(shared.filters + fetch_stage * Tile::filter_slice, fetch.groups(p) * 4);
      input.stage(p, shared.input + fetch_stage * Tile::input_slice, fetch.channel);
      fetch.advance(p);
      fetch_stage = next_stage<Tile>(fetch_stage);
    }
    copy_async_commit();
  };
#pragma unroll 1
  for (int n = 0; n < Tile::stages - 1; ++n) stage();

  Accumulators<Tile> acc = {};
  TapCursor tap;
  int use_stage = 0;
#pragma unroll 1
  while (tap.ky < p.kernel_h) {
    copy_async_wait<Tile::stages - 2>();
    __syncthreads();
    stage();
    accumulate_slice<Tile>(acc, shared.input + use_stage * Tile::input_slice,
                           shared.filters + use_stage * Tile::filter_slice, tap.groups(p), place);
    tap.advance(p);
    use_stage = next_stage<Tile>(use_stage);
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

  FilterStager<Tile> filters(block_filters<Tile>(p, channels), p.output_pitch, p.output_pitch - channels.y);
  TapCursor fetch;
  int fetch_stage = 0;
  const auto stage = [&] {
    if (fetch.ky < p.kernel_h) {
      filters.stage(shared.filters + fetch_stage * Tile::filter_slice, fetch.groups(p) * 4);
      fetch.advance(p);
      fetch_stage = next_stage<Tile>(fetch_stage);
    }
    copy_async_commit();
  };
#pragma unroll 1
  for (int n = 0; n < Tile::stages - 1; ++n) stage();

  Accumulators<Tile> acc = {};
  TapCursor tap;
  int use_stage = 0;
#pragma unroll 1
  while (tap.ky < p.kernel_h) {
    copy_async_wait<Tile::stages - 2>();
    __syncthreads();
    stage();
    const int row_step = tap.ky * p.dilation_h;
    const int col_step = tap.kx * p.dilation_w;
    const std::int64_t step = row_step * p.in.row_stride + col_step * p.in.col_stride;
    const float* from[Tile::mt];
#pragma unroll
    for (int i = 0; i < Tile::mt; ++i) {
      const PixelSource source = shared.source[place.pixel + i * Tile::pixel_threads];
      const bool inside =
          p.in.readable_row(source.row + row_step) && p.in.readable_col(source.col + col_step);
      from[i] = inside ? p.in.data + source.input + step : nullptr;
    }
    const float* w = shared.filters + use_stage * Tile::filter_slice + place.channel;
    const int groups = tap.groups(p);
#pragma unroll 2
    for (int g = 0; g < groups; ++g) {
      float4 x[Tile::mt];
#pragma unroll
      for (int i = 0; i < Tile::mt; ++i) x[i] = read_input(p, from[i], tap.channel + 4 * g);
      accumulate_4<Tile>(acc, x, w + 4 * g * Tile::channels);
    }
    tap.advance(p);
    use_stage = next_stage<Tile>(use_stage);
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
    const float* from = p.in.data + p.in.offset(origin.x, origin.y + row, origin.z) +
                        static_cast<std::int64_t>(group) * p.channels;
    float* to = patch + row * p.row_pitch;
    if (p.merged) {
      for (int e = lane; e < p.patch_cols * p.channels; e += 32) {
        const bool valid = row_inside && e >= first && e < last;
        copy_async_4(to + e, from + e, valid);
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
        copy_async_16(target, source, inside ? 16 : 0);
      } else {
        for (int k = 0; k < 4; ++k) {
          copy_async_4(target + k, source + k, inside && c + k < p.channels);
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

  FilterStager<Tile> filters(block_filters<Tile>(p, channels), p.output_pitch, p.output_pitch - channels.y);
  int fetched = 0;  // values of k
  int fetch_stage = 0;
  const auto stage = [&] {
    if (fetched < p.k_rows) {
      filters.stage(shared.filters + fetch_stage * Tile::filter_slice, slice_rows);
      fetched += slice_rows;
      fetch_stage = next_stage<Tile>(fetch_stage);
    }
    copy_async_commit();
  };
#pragma unroll 1
  for (int n = 0; n < Tile::stages - 1; ++n) stage();
  __syncthreads();  // the list of pixels
  const float* input[Tile::mt];
#pragma unroll
  for (int i = 0; i < Tile::mt; ++i) {
    input[i] = shared.input + shared.source[place.pixel + i * Tile::pixel_threads].row;
  }

  Accumulators<Tile> acc = {};
  int run = 0;  // offset of the run's first value from a pixel's first value
  int kx = 0;
  int row = 0;    // offset of the kernel row
  int group = 0;  // of the run
  int use_stage = 0;
#pragma unroll 1
  for (int k = 0; k < p.k_rows; k += slice_rows) {
    copy_async_wait<Tile::stages - 2>();
    __syncthreads();
    stage();
    const float* w = shared.filters + use_stage * Tile::filter_slice + place.channel;
    use_stage = next_stage<Tile>(use_stage);
    const int groups = min(slice_rows, p.k_rows - k) / 4;
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
          sizeof(float) * Tile::stages * Tile::input_slice};
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
  const int limit = current_device_attribute<cudaDevAttrMaxSharedMemoryPerBlockOptin>();
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
  check_conv2d(layer, in, out);
  Conv2dParameters p = conv2d_parameters(layer, variant, in, out);
  if (p.pixels == 0 || p.outputs == 0) return;
  p.filters = filters;
  p.has_bias = bias.present();
  p.bias = bias.global;
  p.bias_constant = bias.constant;
  const TileShape tile = conv2d_tiles()[static_cast<std::size_t>(variant.tile)];
  const int pixel_tiles = variant.kernel == Conv2dKernel::patch ? p.out.images * p.tiles_down * p.tiles_across
                                                                : divide_up(p.pixels, tile.pixels);
  const std::int64_t channel_tiles = layer.groups * p.group_tiles;
  if (channel_tiles > 65535) throw ShapeError("conv2d: too many groups for one launch (65535 at most)");
  const dim3 grid(static_cast<unsigned>(pixel_tiles), static_cast<unsigned>(channel_tiles));
  kernel_of(variant.kernel,
            variant.tile)<<<grid, static_cast<unsigned>(tile.threads), variant.shared_bytes, stream>>>(p);
  check_launch("launching conv2d");
}

std::vector<KernelEntry> conv2d_kernels() {
  std::vector<KernelEntry> list;
  for (const Conv2dKernel kernel : {Conv2dKernel::patch, Conv2dKernel::slice, Conv2dKernel::filter}) {
    const char* const name = kernel == Conv2dKernel::patch   ? "patch "
                             : kernel == Conv2dKernel::slice ? "slice "
                                                             : "filter ";
    for (std::size_t t = 0; t < conv2d_tile_count; ++t) {
      const TileShape tile = conv2d_tiles()[t];
      list.push_back({"conv", name + std::to_string(tile.pixels) + "x" + std::to_string(tile.channels),
                      address_of(kernel_of(kernel, static_cast<int>(t))), tile.threads,
                      tile.shared_bytes + (kernel == Conv2dKernel::slice ? tile.slice_bytes : 0)});
    }
  }
  return list;
}

}  // namespace halotile::direct
