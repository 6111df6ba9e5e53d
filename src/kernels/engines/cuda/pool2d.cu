// Max and average pooling, channel by channel.
//
//   max      y(i, r, q, c) = max of x(i, Y, X, c) over the taps (Y, X) inside the image, ascending; NaN wins
//   average  y(i, r, q, c) = (sum of x(i, Y, X, c) over the taps inside the image, ascending) / count
//            count = taps inside the image, or with count_include_pad taps before the end of the padded image
//   taps     sliding: Y = r Sh - Ph + ky Dh, likewise X; adaptive: floor(r H / O) up to ceil((r + 1) H / O)
//
// Maps are NHWC views of f32, bf16 or f16 with any strides. Sums are fp32, rounded once when they are stored;
// a maximum is one of the elements. Three kernels of 128 threads; a thread has the channels of 16 bytes (4,
// of 2-byte elements 8; 1 where they are not aligned), neighbouring threads neighbouring channels:
//   cached  a thread computes one output. Overlapping windows meet in the L1 cache.
//   strip   maximum, windows 3x3 with stride 2, aligned channels: pool_strip.cuh, 256 threads; rows come into
//           shared memory by asynchronous copies, one pair while another is used. Every element is read
//           once but for the strips' edges.
//   shared  a block computes a rectangle of at most 32 outputs by 8 threads' channels; the input that they
//           read is staged in static shared memory (24 KiB: 192 positions).
// Preconditions: those of reference.hpp. A position outside in.rect counts as outside the image.
// Source: PyTorch's MaxPool2d, AvgPool2d and AdaptiveAvgPool2d.
#include <cuda_pipeline.h>

#include <algorithm>
#include <array>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/kernel_list.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/pool_strip.cuh"
#include "kernels/engines/cuda/tile_launch.cuh"

namespace halotile::cuda {
namespace {

constexpr int threads = 128;
constexpr int shared_positions = 192;
constexpr int shared_vectors = 8;
constexpr int strip_threads = 256;

struct Axis {
  int kernel, stride, padding, padding_end, dilation;
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
  __device__ __forceinline__ int padded_end() const {
    return adaptive > 0 ? 0x7fffffff : input + padding_end;
  }
};

template <typename T>
struct Parameters {
  DeviceMap<T> in;
  DeviceMap<T> out;
  Axis rows;
  Axis cols;
  bool count_include_pad;
  LineGrid grid;
  Divider vectors;  // of a position
  StripPlan plan;
  // shared
  int tile_rows, tile_cols;  // outputs of a block
  int tiles_down, tiles_across;
  int patch_rows, patch_cols;  // input positions of a block
};

// The fold over a window of n channels.
template <bool maximum, typename T, int n>
struct Fold;

template <typename T, int n>
struct Fold<true, T, n> {
  Pack<T, n> value = lowest<T, n>();

  __device__ __forceinline__ void add(const Pack<T, n>& x) { fold_maximum(value, x); }
  __device__ __forceinline__ Pack<T, n> finish(int /*count*/) const { return value; }
};

template <typename T, int n>
struct Fold<false, T, n> {
  float sum[n] = {};

  __device__ __forceinline__ void add(const Pack<T, n>& pack) {
    float x[n];
    widen(pack, x);
#pragma unroll
    for (int e = 0; e < n; ++e) sum[e] = __fadd_rn(sum[e], x[e]);
  }
  // Nothing to average: 0 / 1.
  __device__ __forceinline__ Pack<T, n> finish(int count) const {
    const auto divisor = static_cast<float>(count == 0 ? 1 : count);
    float mean[n];
#pragma unroll
    for (int e = 0; e < n; ++e) mean[e] = __fdiv_rn(sum[e], divisor);
    return narrow<T, n>(mean);
  }
};

// One output's window; `read(row, col)` gives the values at a position inside the image.
template <bool maximum, int n, typename T, typename Read>
__device__ __forceinline__ Pack<T, n> pool_window(const Parameters<T>& p, int row, int col,
                                                  const Read& read) {
  const int2 rows = p.rows.taps(row);
  const int2 cols = p.cols.taps(col);
  Fold<maximum, T, n> fold;
  int row_count = 0;
  int col_count = 0;
  for (int y = rows.x; y < rows.y; y += p.rows.step()) {
    const bool row_inside = p.in.readable_row(y);
    row_count += p.count_include_pad ? y < p.rows.padded_end() : row_inside;
    if (!row_inside) continue;
    for (int x = cols.x; x < cols.y; x += p.cols.step()) {
      if (p.in.readable_col(x)) fold.add(read(y, x));
    }
  }
  if constexpr (!maximum) {
    for (int x = cols.x; x < cols.y; x += p.cols.step()) {
      col_count += p.count_include_pad ? x < p.cols.padded_end() : p.in.readable_col(x);
    }
  }
  return fold.finish(row_count * col_count);
}

// A maximum over a window of 3x3 without dilation, ascending: all is read before it is compared.
template <int n, typename T>
__device__ __forceinline__ Pack<T, n> pool_three(const Parameters<T>& p, const T* from, int row, int col) {
  const int2 rows = p.rows.taps(row);
  const int2 cols = p.cols.taps(col);
  Pack<T, n> x[9];
#pragma unroll
  for (int k = 0; k < 9; ++k) {
    const int y = rows.x + k / 3;
    const int z = cols.x + k % 3;
    x[k] = lowest<T, n>();
    if (p.in.readable_row(y) && p.in.readable_col(z)) {
      x[k] =
          load_constant<T, n>(from + (y - p.in.row0) * p.in.row_stride + (z - p.in.col0) * p.in.col_stride);
    }
  }
#pragma unroll
  for (int k = 1; k < 9; ++k) fold_maximum(x[0], x[k]);
  return x[0];
}

// Grid: LineGrid, rows of outputs, units of channels. `three`: all windows are 3x3 without dilation.
template <bool maximum, bool three, typename T, int n, int most>
__global__ void __launch_bounds__(threads)
    pool_cached(const __grid_constant__ TileParameters<Parameters<T>, most> tiles) {
  let_next_start();
  const Parameters<T>& p = tiles.here();
  p.grid.for_each(p.out.images, [&](int image, int r, int unit) {
    const int2 place = p.vectors.divide(unit);
    const int row = p.out.row0 + r;
    const int col = p.out.col0 + place.x;
    const int c = place.y * n;
    const T* from = p.in.data + image * p.in.image_stride + c;
    wait_for_previous();
    if constexpr (three) {
      store(p.out.data + p.out.offset(image, row, col) + c, pool_three<n>(p, from, row, col));
      return;
    }
    const auto value = pool_window<maximum, n>(p, row, col, [&](int y, int x) {
      const std::int64_t offset = (y - p.in.row0) * p.in.row_stride + (x - p.in.col0) * p.in.col_stride;
      return load_constant<T, n>(from + offset);
    });
    store(p.out.data + p.out.offset(image, row, col) + c, value);
  });
}

// Grid: strips. Shared memory: two pairs of input rows.
template <typename T, int most>
__global__ void __launch_bounds__(strip_threads)
    pool_strip(const __grid_constant__ TileParameters<Parameters<T>, most> tiles) {
  constexpr int n = vector_width<T>;
  using Values = Pack<T, n>;
  follow_previous();
  const Parameters<T>& p = tiles.here();
  extern __shared__ uint4 shared[];
  Values* const rows = reinterpret_cast<Values*>(shared);
  const StripTile tile(p.plan, p.out);
  if (tiles.several && tile.image >= p.out.images) return;
  const int vectors = p.plan.vectors;
  const int in_row0 = tile.row0 * 2 - p.rows.padding;
  const int in_col0 = tile.col0 * 2 - p.cols.padding;
  const int in_cols = tile.cols * 2 + 1;
  const int v = static_cast<int>(threadIdx.x) % vectors;
  const int lane = static_cast<int>(threadIdx.x) / vectors;
  const int lanes = strip_threads / vectors;
  const bool idle = lane >= lanes;
  const int line = p.plan.held_cols * vectors;
  const T* const from = p.in.data + p.in.offset(tile.image, in_row0, in_col0) + v * n;

  // Begins to copy `count` rows from the strip's row `first` on; -infinity outside the image takes no part.
  const auto copy_rows = [&](int first, int count, Values* to) {
    for (int k = 0; k < count && !idle; ++k) {
      const bool row_inside = p.in.readable_row(in_row0 + first + k);
      const T* const row = from + (first + k) * p.in.row_stride;
      for (int x = lane; x < in_cols; x += lanes) {
        Values* const at = to + k * line + x * vectors + v;
        if (row_inside && p.in.readable_col(in_col0 + x)) {
          __pipeline_memcpy_async(at, row + x * p.in.col_stride, 16);
        } else {
          *at = lowest<T, n>();
        }
      }
    }
    __pipeline_commit();
  };

  StripMaxima<T> maxima(idle ? tile.cols : lane, lanes, tile.cols, vectors);
  const Values* const windows = rows + 2 * lane * vectors + v;
  copy_rows(0, 1, rows + 2 * line);
  copy_rows(1, 2, rows);
  __pipeline_wait_prior(1);
  __syncthreads();
  maxima.begin(windows + 2 * line);
  T* to = p.out.data + p.out.offset(tile.image, tile.row0, tile.col0 + lane) + v * n;
  for (int r = 0; r < tile.rows; ++r) {
    const int pair = r % 2 * 2 * line;
    __pipeline_wait_prior(0);
    __syncthreads();  // this pair is there, and the other one has been used
    if (r + 1 < tile.rows) copy_rows(2 * r + 3, 2, rows + (2 * line - pair));
    maxima.next(windows + pair, line,
                [&](int i, const Values& value) { store(to + i * lanes * p.out.col_stride, value); });
    to += p.out.row_stride;
  }
}

// Grid: x tiles of all images, y blocks of channels. Eight threads take a position's channels.
template <bool maximum, typename T>
__global__ void __launch_bounds__(threads) pool_shared(const Parameters<T> p) {
  follow_previous();
  constexpr int n = vector_width<T>;
  constexpr int vectors = shared_vectors;
  __shared__ Pack<T, n> patch[shared_positions * vectors];
  const int across = static_cast<int>(blockIdx.x) % p.tiles_across;
  const int down = static_cast<int>(blockIdx.x) / p.tiles_across % p.tiles_down;
  const int image = static_cast<int>(blockIdx.x) / p.tiles_across / p.tiles_down;
  const int row0 = p.out.row0 + down * p.tile_rows;
  const int col0 = p.out.col0 + across * p.tile_cols;
  const int in_row0 = p.rows.taps(row0).x;
  const int in_col0 = p.cols.taps(col0).x;
  const int lane = static_cast<int>(threadIdx.x) % vectors;
  const int c = (static_cast<int>(blockIdx.y) * vectors + lane) * n;
  const bool has_channels = c < p.in.channels;
  for (int i = static_cast<int>(threadIdx.x) / vectors; i < p.patch_rows * p.patch_cols;
       i += threads / vectors) {
    const int row = in_row0 + i / p.patch_cols;
    const int col = in_col0 + i % p.patch_cols;
    if (has_channels && p.in.readable_row(row) && p.in.readable_col(col)) {
      patch[i * vectors + lane] = load_constant<T, n>(p.in.data + p.in.offset(image, row, col) + c);
    }
  }
  __syncthreads();
  if (!has_channels) return;
  for (int i = static_cast<int>(threadIdx.x) / vectors; i < p.tile_rows * p.tile_cols;
       i += threads / vectors) {
    const int row = row0 + i / p.tile_cols;
    const int col = col0 + i % p.tile_cols;
    if (row >= p.out.row0 + p.out.rows || col >= p.out.col0 + p.out.cols) continue;
    const auto value = pool_window<maximum, n>(p, row, col, [&](int y, int x) {
      return patch[((y - in_row0) * p.patch_cols + x - in_col0) * vectors + lane];
    });
    store(p.out.data + p.out.offset(image, row, col) + c, value);
  }
}

Axis make_axis(const AxisWindow& window, std::int64_t input) {
  return {device_int(window.kernel, "a kernel"),
          device_int(window.stride, "a stride"),
          device_int(window.padding.begin, "a padding"),
          device_int(window.padding.end, "a padding"),
          device_int(window.dilation, "a dilation"),
          device_int(input, "the extent of a map"),
          device_int(window.adaptive_output, "an adaptive output")};
}

// The first rectangle of outputs whose input fits in shared memory; false when there is none.
template <typename T>
bool fit_tile(Parameters<T>& p) {
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

bool is_three(const Axis& axis) { return axis.adaptive == 0 && axis.kernel == 3 && axis.dilation == 1; }

// Plans strips; gives their bytes of shared memory, or 0 where they do not suit the layer.
template <typename T, int most>
std::int64_t fit_strips(TileParameters<Parameters<T>, most>& tiles, int count) {
  std::int64_t bytes = 0;
  for (int i = 0; i < count; ++i) {
    Parameters<T>& p = tiles.tile[i];
    p.plan.vectors = p.vectors.divisor();
    const bool sliding = p.rows.adaptive == 0 && p.cols.adaptive == 0;
    if (!sliding || !suits_strips(p.rows) || !suits_strips(p.cols) || p.plan.vectors > strip_threads)
      return 0;
    constexpr int longest = 8;  // longer ones end at too different times
    const StripLimits limits{4, strip_columns * (strip_threads / p.plan.vectors), longest, strips_at_once()};
    bytes = std::max(
        bytes, plan_strips(p.plan, p.out.images, {p.out.rows, 3, 2}, {p.out.cols, 3, 2}, limits, count));
  }
  return bytes;
}

// Small maps have too few outputs for strips to keep the device busy.
template <typename T>
bool enough_outputs(std::span<const Parameters<T>> tiles) {
  constexpr std::int64_t busy = 1 << 19;  // vectors
  std::int64_t vectors = 0;
  for (const Parameters<T>& p : tiles)
    vectors += std::int64_t{p.out.images} * p.out.rows * p.out.cols * p.vectors.divisor();
  return vectors >= busy;
}

template <bool maximum, int n, typename T, int most>
void launch_lines(TileParameters<Parameters<T>, most>& tiles, int count, PoolKernel kernel,
                  cudaStream_t stream) {
  const std::span<Parameters<T>> all(tiles.tile, static_cast<std::size_t>(count));
  dim3 grid(1, 1, static_cast<unsigned>(count));
  if constexpr (maximum && n > 1) {
    const bool wanted =
        kernel == PoolKernel::strip || (kernel == PoolKernel::automatic && enough_outputs<T>(all));
    const std::int64_t bytes = wanted ? fit_strips(tiles, count) : 0;
    if (bytes > 0) {
      for (const Parameters<T>& p : all) {
        const int blocks = device_int(p.plan.blocks(p.out.images), "the number of tiles");
        grid.x = std::max(grid.x, static_cast<unsigned>(blocks));
      }
      launch_early(pool_strip<T, most>, grid, strip_threads, static_cast<std::size_t>(bytes), stream,
                   "launching a pooling", tiles);
      return;
    }
  }
  for (Parameters<T>& p : all) {
    p.grid = LineGrid(p.out.rows, std::int64_t{p.out.cols} * p.vectors.divisor(), threads);
    const dim3 own = p.grid.grid(p.out.images, threads);
    grid.x = std::max(grid.x, own.x);
    grid.y = std::max(grid.y, own.y);
  }
  auto cached = pool_cached<maximum, false, T, n, most>;
  if constexpr (maximum && n > 1) {
    if (is_three(all.front().rows) && is_three(all.front().cols))
      cached = pool_cached<true, true, T, n, most>;
  }
  launch_early(cached, grid, threads, 0, stream, "launching a pooling", tiles);
}

template <bool maximum, typename T>
void launch_one(Parameters<T>& p, bool vector, PoolKernel kernel, cudaStream_t stream) {
  const int channel_blocks = divide_up(p.vectors.divisor(), shared_vectors);
  TileParameters<Parameters<T>, 1> one{{p}};
  // Measured: the L1 cache holds the overlap of neighbouring windows as well, and needs no barrier.
  if (kernel == PoolKernel::shared && vector && fit_tile(p) && channel_blocks <= 65535) {
    const std::int64_t tiles = static_cast<std::int64_t>(p.out.images) * p.tiles_down * p.tiles_across;
    const dim3 grid(static_cast<unsigned>(device_int(tiles, "the number of tiles")),
                    static_cast<unsigned>(channel_blocks));
    launch_early(pool_shared<maximum, T>, grid, threads, 0, stream, "launching a pooling", p);
  } else if (vector) {
    launch_lines<maximum, vector_width<T>>(one, 1, kernel, stream);
  } else {
    launch_lines<maximum, 1>(one, 1, kernel, stream);
  }
}

template <typename T>
void pool_tiles(const Pool2d& layer, std::span<const TileMaps> tiles, cudaStream_t stream,
                PoolKernel kernel) {
  const auto make = [&](const TileMaps& tile, Parameters<T>& p) {
    p.in = device_map<T>(tile.in, tile.in.data);
    p.out = device_map<T>(tile.out, tile.out.data);
    if (positions(p.out) == 0 || p.out.channels == 0) return false;
    p.rows = make_axis(layer.window.rows(), tile.in.whole.height);
    p.cols = make_axis(layer.window.cols(), tile.in.whole.width);
    p.count_include_pad = layer.count_include_pad;
    return true;
  };
  for_tile_groups<Parameters<T>>(
      tiles, make, [&]<int most>(TileParameters<Parameters<T>, most>& group, int count) {
        const std::span<Parameters<T>> all(group.tile, static_cast<std::size_t>(count));
        const bool vector = std::ranges::all_of(all, [](const Parameters<T>& p) {
          return p.out.channels % vector_width<T> == 0 && vector_aligned(p.in) && vector_aligned(p.out);
        });
        for (Parameters<T>& p : all)
          p.vectors = Divider(vector ? p.out.channels / vector_width<T> : p.out.channels);
        if (count > 1 && vector && layer.kind == PoolKind::max && kernel != PoolKernel::shared) {
          launch_lines<true, vector_width<T>>(group, count, kernel, stream);
          return;
        }
        for (Parameters<T>& p : all) {
          if (layer.kind == PoolKind::max) {
            launch_one<true>(p, vector, kernel, stream);
          } else {
            launch_one<false>(p, vector, kernel, stream);
          }
        }
      });
}

template <typename T>
void list_kernels(std::vector<KernelEntry>& list, const std::string& type) {
  constexpr int n = vector_width<T>;
  list.push_back({"pool", "max cached" + type, address_of(pool_cached<true, false, T, n, 1>), threads, 0});
  list.push_back({"pool", "max cached 3x3" + type, address_of(pool_cached<true, true, T, n, 1>), threads, 0});
  list.push_back(
      {"pool", "max cached, unaligned" + type, address_of(pool_cached<true, false, T, 1, 1>), threads, 0});
  list.push_back(
      {"pool", "max strip" + type, address_of(pool_strip<T, 1>), strip_threads, strip_shared_limit});
  list.push_back({"pool", "max cached 3x3, tiles" + type,
                  address_of(pool_cached<true, true, T, n, tiles_at_once<Parameters<T>>>), threads, 0});
  list.push_back({"pool", "max strip, tiles" + type, address_of(pool_strip<T, tiles_at_once<Parameters<T>>>),
                  strip_threads, strip_shared_limit});
  list.push_back({"pool", "max shared" + type, address_of(pool_shared<true, T>), threads, 0});
  list.push_back(
      {"pool", "average cached" + type, address_of(pool_cached<false, false, T, n, 1>), threads, 0});
  list.push_back({"pool", "average cached, unaligned" + type, address_of(pool_cached<false, false, T, 1, 1>),
                  threads, 0});
  list.push_back({"pool", "average shared" + type, address_of(pool_shared<false, T>), threads, 0});
}

}  // namespace

void pool2d(const Pool2d& layer, std::span<const TileMaps> tiles, cudaStream_t stream, PoolKernel kernel) {
  for (const auto& [in, out] : tiles) {
    if (in.images != out.images || in.channels != out.channels || in.dtype != out.dtype) {
      throw ShapeError("pool2d: in and out must have the same images, channels and element type");
    }
  }
  if (tiles.empty()) return;
  with_device_type(tiles.front().in.dtype,
                   [&]<typename T>(DeviceType<T>) { pool_tiles<T>(layer, tiles, stream, kernel); });
}

void pool2d(const Pool2d& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream,
            PoolKernel kernel) {
  const TileMaps tile{in, out};
  pool2d(layer, {&tile, 1}, stream, kernel);
}

std::vector<KernelEntry> pool2d_kernels() {
  std::vector<KernelEntry> list;
  list_kernels<float>(list, "");
  list_kernels<__nv_bfloat16>(list, ", bf16");
  list_kernels<__half>(list, ", f16");
  return list;
}

}  // namespace halotile::cuda
