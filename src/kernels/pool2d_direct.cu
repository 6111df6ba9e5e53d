// Max and average pooling, channel by channel.
//
//   max      y(i, r, q, c) = max of x(i, Y, X, c) over the taps (Y, X) inside the image, ascending; NaN wins
//   average  y(i, r, q, c) = (sum of x(i, Y, X, c) over the taps inside the image, ascending) / count
//            count = taps inside the image, or with count_include_pad taps before the end of the padded image
//   taps     sliding: Y = r Sh - Ph + ky Dh, likewise X; adaptive: floor(r H / O) up to ceil((r + 1) H / O)
//
// Maps are NHWC views of f32 with any strides. Two kernels:
//   cached  a thread computes 4 channels (1 where they are not aligned) of one output; neighbouring threads
//           take neighbouring channels. Overlapping windows meet in the L1 cache.
//   shared  a block computes a rectangle of at most 32 outputs by 32 channels; the input that they read is
//           staged in static shared memory (24 KiB: 192 positions), 128 threads.
// Preconditions: those of reference.hpp. A position outside in.rect counts as outside the image.
// Source: PyTorch's MaxPool2d, AvgPool2d and AdaptiveAvgPool2d.
#include <algorithm>
#include <array>

#include "kernels/cuda_error.hpp"
#include "kernels/device_map.cuh"
#include "kernels/kernel_list_direct.hpp"
#include "kernels/map_operations_direct.hpp"

namespace halotile::direct {
namespace {

constexpr int threads = 128;
constexpr int shared_positions = 192;
constexpr int shared_channels = 32;

struct Axis {
  int kernel, stride, padding, dilation;
  int input;     // of the whole map
  int adaptive;  // number of outputs, or 0

  // First tap and the end of the taps of an output.
  __device__ __forceinline__ int2 taps(int output) const {
    if (adaptive > 0) {
      return {static_cast<int>(static_cast<std::int64_t>(output) * input / adaptive),
              static_cast<int>((static_cast<std::int64_t>(output + 1) * input + adaptive - 1) / adaptive)};
    }
    const int first = output * stride - padding;
    return {first, first + (kernel - 1) * dilation + 1};
  }
  __device__ __forceinline__ int step() const { return adaptive > 0 ? 1 : dilation; }
  // Where taps stop counting when padding counts.
  __device__ __forceinline__ int padded_end() const { return adaptive > 0 ? 0x7fffffff : input + padding; }
};

struct Parameters {
  DeviceMap in;
  DeviceMap out;
  Axis rows;
  Axis cols;
  bool count_include_pad;
  int vectors;  // of a position
  // shared
  int tile_rows, tile_cols;  // outputs of a block
  int tiles_down, tiles_across;
  int patch_rows, patch_cols;  // input positions of a block
};

template <bool maximum>
__device__ __forceinline__ float start() {
  return maximum ? -__int_as_float(0x7f800000) : 0.0F;
}
template <bool maximum>
__device__ __forceinline__ float fold(float value, float x) {
  if constexpr (maximum) return (x > value) | (x != x) ? x : value;
  return __fadd_rn(value, x);
}
template <bool maximum>
__device__ __forceinline__ float4 fold(const float4& v, const float4& x) {
  return {fold<maximum>(v.x, x.x), fold<maximum>(v.y, x.y), fold<maximum>(v.z, x.z), fold<maximum>(v.w, x.w)};
}
__device__ __forceinline__ float divide(float sum, float count) { return __fdiv_rn(sum, count); }
__device__ __forceinline__ float4 divide(const float4& sum, float count) {
  return {divide(sum.x, count), divide(sum.y, count), divide(sum.z, count), divide(sum.w, count)};
}
template <typename T>
__device__ __forceinline__ T splat(float value) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return value;
  } else {
    return {value, value, value, value};
  }
}

// One output's window; `read(row, col)` gives the values at a position inside the image.
template <bool maximum, typename T, typename Read>
__device__ __forceinline__ T pool_window(const Parameters& p, int row, int col, const Read& read) {
  const int2 rows = p.rows.taps(row);
  const int2 cols = p.cols.taps(col);
  T value = splat<T>(start<maximum>());
  int row_count = 0;
  int col_count = 0;
  for (int y = rows.x; y < rows.y; y += p.rows.step()) {
    const bool row_inside = p.in.readable_row(y);
    row_count += p.count_include_pad ? y < p.rows.padded_end() : row_inside;
    if (!row_inside) continue;
    for (int x = cols.x; x < cols.y; x += p.cols.step()) {
      if (p.in.readable_col(x)) value = fold<maximum>(value, read(y, x));
    }
  }
  if constexpr (!maximum) {
    for (int x = cols.x; x < cols.y; x += p.cols.step()) {
      col_count += p.count_include_pad ? x < p.cols.padded_end() : p.in.readable_col(x);
    }
    const int count = row_count * col_count;
    value = divide(value, static_cast<float>(count == 0 ? 1 : count));
  }
  return value;
}

// Grid: x along a row of outputs, y (in steps of the grid) over the rows of all images.
template <bool maximum, typename T>
__global__ void __launch_bounds__(threads) pool_cached(const Parameters p) {
  constexpr int width = sizeof(T) / sizeof(float);
  const int e = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  if (e >= p.out.cols * p.vectors) return;
  const int col = p.out.col0 + e / p.vectors;
  const int c = e % p.vectors * width;
  for (int line = static_cast<int>(blockIdx.y); line < p.out.images * p.out.rows;
       line += static_cast<int>(gridDim.y)) {
    const int image = line / p.out.rows;
    const int row = p.out.row0 + line % p.out.rows;
    const float* from = p.in.data + image * p.in.image_stride + c;
    const T value = pool_window<maximum, T>(p, row, col, [&](int y, int x) {
      const std::int64_t offset = (y - p.in.row0) * p.in.row_stride + (x - p.in.col0) * p.in.col_stride;
      return __ldg(reinterpret_cast<const T*>(from + offset));
    });
    *reinterpret_cast<T*>(p.out.data + p.out.offset(image, row, col) + c) = value;
  }
}

// Grid: x tiles of all images, y blocks of 32 channels. Eight threads take a position's 32 channels.
template <bool maximum>
__global__ void __launch_bounds__(threads) pool_shared(const Parameters p) {
  __shared__ float4 patch[shared_positions * shared_channels / 4];
  constexpr int vectors = shared_channels / 4;
  const int across = static_cast<int>(blockIdx.x) % p.tiles_across;
  const int down = static_cast<int>(blockIdx.x) / p.tiles_across % p.tiles_down;
  const int image = static_cast<int>(blockIdx.x) / p.tiles_across / p.tiles_down;
  const int row0 = p.out.row0 + down * p.tile_rows;
  const int col0 = p.out.col0 + across * p.tile_cols;
  const int in_row0 = p.rows.taps(row0).x;
  const int in_col0 = p.cols.taps(col0).x;
  const int lane = static_cast<int>(threadIdx.x) % vectors;
  const int c = static_cast<int>(blockIdx.y) * shared_channels + lane * 4;
  const bool has_channels = c < p.in.channels;
  for (int n = static_cast<int>(threadIdx.x) / vectors; n < p.patch_rows * p.patch_cols;
       n += threads / vectors) {
    const int row = in_row0 + n / p.patch_cols;
    const int col = in_col0 + n % p.patch_cols;
    if (has_channels && p.in.readable_row(row) && p.in.readable_col(col)) {
      patch[n * vectors + lane] =
          __ldg(reinterpret_cast<const float4*>(p.in.data + p.in.offset(image, row, col) + c));
    }
  }
  __syncthreads();
  if (!has_channels) return;
  for (int n = static_cast<int>(threadIdx.x) / vectors; n < p.tile_rows * p.tile_cols;
       n += threads / vectors) {
    const int row = row0 + n / p.tile_cols;
    const int col = col0 + n % p.tile_cols;
    if (row >= p.out.row0 + p.out.rows || col >= p.out.col0 + p.out.cols) continue;
    const float4 value = pool_window<maximum, float4>(p, row, col, [&](int y, int x) {
      return patch[((y - in_row0) * p.patch_cols + x - in_col0) * vectors + lane];
    });
    *reinterpret_cast<float4*>(p.out.data + p.out.offset(image, row, col) + c) = value;
  }
}

Axis make_axis(const AxisWindow& window, std::int64_t input) {
  return {device_int(window.kernel, "a kernel"),    device_int(window.stride, "a stride"),
          device_int(window.padding, "a padding"),  device_int(window.dilation, "a dilation"),
          device_int(input, "the extent of a map"), device_int(window.adaptive_output, "an adaptive output")};
}

// The first rectangle of outputs whose input fits in shared memory; false when there is none.
bool fit_tile(Parameters& p) {
  if (p.rows.adaptive > 0) return false;
  const auto reach = [](const Axis& axis, int outputs) {
    return static_cast<std::int64_t>(outputs - 1) * axis.stride +
           static_cast<std::int64_t>(axis.kernel - 1) * axis.dilation + 1;
  };
  constexpr std::array<std::array<int, 2>, 6> tiles{{{4, 8}, {2, 16}, {2, 8}, {1, 16}, {1, 8}, {1, 4}}};
  for (const auto& [rows, cols] : tiles) {
    const std::int64_t patch_rows = reach(p.rows, rows);
    const std::int64_t patch_cols = reach(p.cols, cols);
    if (patch_rows > shared_positions || patch_cols > shared_positions ||
        patch_rows * patch_cols > shared_positions) {
      continue;
    }
    p.tile_rows = rows;
    p.tile_cols = cols;
    p.patch_rows = static_cast<int>(patch_rows);
    p.patch_cols = static_cast<int>(patch_cols);
    p.tiles_down = divide_up(p.out.rows, rows);
    p.tiles_across = divide_up(p.out.cols, cols);
    return true;
  }
  return false;
}

template <bool maximum>
void launch(Parameters& p, bool vector, PoolKernel kernel, cudaStream_t stream) {
  // Measured: the L1 cache holds the overlap of neighbouring windows as well, and needs no barrier.
  if (kernel == PoolKernel::shared && vector && fit_tile(p) &&
      divide_up(p.out.channels, shared_channels) <= 65535) {
    const std::int64_t tiles = static_cast<std::int64_t>(p.out.images) * p.tiles_down * p.tiles_across;
    const dim3 grid(static_cast<unsigned>(device_int(tiles, "the number of tiles")),
                    static_cast<unsigned>(divide_up(p.out.channels, shared_channels)));
    pool_shared<maximum><<<grid, threads, 0, stream>>>(p);
  } else {
    p.vectors = vector ? p.out.channels / 4 : p.out.channels;
    const std::int64_t row = std::int64_t{p.out.cols} * p.vectors;
    const dim3 blocks(
        static_cast<unsigned>(device_int(divide_up<std::int64_t>(row, threads), "the length of a row")),
        static_cast<unsigned>(std::min(p.out.images * p.out.rows, 65535)));
    if (vector) {
      pool_cached<maximum, float4><<<blocks, threads, 0, stream>>>(p);
    } else {
      pool_cached<maximum, float><<<blocks, threads, 0, stream>>>(p);
    }
  }
  check_launch("launching pool2d");
}

}  // namespace

void pool2d(const Pool2d& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream,
            PoolKernel kernel) {
  if (in.images != out.images || in.channels != out.channels) {
    throw ShapeError("pool2d: in and out must have the same images and channels");
  }
  Parameters p{};
  p.in = device_map(in, in.data);
  p.out = device_map(out, out.data);
  if (positions(p.out) == 0 || out.channels == 0) return;
  p.rows = make_axis(layer.window.rows(), in.whole.height);
  p.cols = make_axis(layer.window.cols(), in.whole.width);
  p.count_include_pad = layer.count_include_pad;
  const bool vector = out.channels % 4 == 0 && vector_aligned(p.in) && vector_aligned(p.out);
  if (layer.kind == PoolKind::max) {
    launch<true>(p, vector, kernel, stream);
  } else {
    launch<false>(p, vector, kernel, stream);
  }
}

std::vector<KernelEntry> pool2d_kernels() {
  return {{"pool", "max cached", address_of(pool_cached<true, float4>), threads, 0},
          {"pool", "max cached, unaligned", address_of(pool_cached<true, float>), threads, 0},
          {"pool", "max shared", address_of(pool_shared<true>), threads, 0},
          {"pool", "average cached", address_of(pool_cached<false, float4>), threads, 0},
          {"pool", "average cached, unaligned", address_of(pool_cached<false, float>), threads, 0},
          {"pool", "average shared", address_of(pool_shared<false>), threads, 0}};
}

}  // namespace halotile::direct
