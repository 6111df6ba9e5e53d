// Local response normalization and a maximum pool behind it, in one pass.
//
//   y(i, r, q, c) = max of z(i, Y, X, c) over the taps (Y, X) inside the image, ascending; NaN wins
//   z = lrn(x), rounded to the maps' type; lrn_direct.cuh has its mathematics, pool2d_direct.cu the taps'
//
// Run one after the other, the two kernels read the map, write as much and read that again; here the map is
// read and the pooled one written. Maps are NHWC views of f32, bf16 or f16 with any strides. Three kernels:
//   strips  size 5, aligned channels, windows 3x3 with stride 2, AlexNet's: pool_strip.cuh, of normalized
//           rows. Of two-byte elements issuing instructions takes longest.
//   staged  size 5, aligned channels, other windows. A block of 256 threads computes a strip of output rows,
//   as many
//           columns as fit, all channels; a thread keeps the channels of 16 bytes. Of an output row, first
//           the block normalizes the positions that no earlier row has read into a ring of rows in dynamic
//           shared memory (at most 48 KiB), then every thread takes the maxima of windows there. The ring has
//           room for a window and the next row's news: those overwrite only what was read two barriers ago,
//           and a row needs one barrier. Positions outside the image are -infinity, which takes no part.
//   direct  all else: a thread computes one channel of an output, and normalizes each of its taps.
// Strips of several tiles go in one launch.
// Preconditions: those of reference.hpp for the pool.
#include <algorithm>
#include <ranges>

#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/kernel_list.hpp"
#include "kernels/engines/cuda/lrn.cuh"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/pool_strip.cuh"
#include "kernels/engines/cuda/tile_launch.cuh"

namespace halotile::cuda {
namespace {

constexpr int threads = 256;
constexpr int ahead = 2;  // positions that a thread has under way

struct Axis {
  int kernel, stride, padding, dilation;

  [[nodiscard]] __host__ __device__ int reach() const { return (kernel - 1) * dilation + 1; }
};

template <typename T>
struct Parameters {
  DeviceMap<T> in;
  DeviceMap<T> out;
  LrnParameters lrn;
  Axis rows;
  Axis cols;
  LineGrid grid;     // direct
  Divider channels;  // direct
  StripPlan plan;    // strips and staged
  int ring_rows;     // staged
};

template <Power power, typename T, int most>
__global__ void __launch_bounds__(threads, 4)
    lrn_pool_strips(const __grid_constant__ TileParameters<Parameters<T>, most> tiles) {
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
  const int lanes = threads / vectors;
  const bool idle = lane >= lanes;
  const bool has_before = v > 0;
  const bool has_behind = v + 1 < vectors;
  const std::int64_t step = lanes * p.in.col_stride;
  const int line = p.plan.held_cols * vectors;
  const T* from = p.in.data + p.in.offset(tile.image, in_row0, in_col0 + lane) + v * n;

  // Normalizes `count` rows from `row` on, at `from`, into shared memory.
  const auto normalize_rows = [&]<int count>(std::integral_constant<int, count>, int row, Values* to) {
    bool row_inside[count];
#pragma unroll
    for (int k = 0; k < count; ++k) row_inside[k] = p.in.readable_row(row + k);
    const T* at = from;
    to += lane * vectors + v;
    for (int x = lane; x < in_cols; x += lanes) {
      const bool col_inside = p.in.readable_col(in_col0 + x);
      FiveChannels<T> five[count];
#pragma unroll
      for (int k = 0; k < count; ++k) {
        if (col_inside && row_inside[k])
          five[k] = read_five(at + k * p.in.row_stride, has_before, has_behind);
      }
#pragma unroll
      for (int k = 0; k < count; ++k)
        to[k * line] = col_inside && row_inside[k] ? lrn_five<power>(five[k], p.lrn) : lowest<T, n>();
      at += step;
      to += lanes * vectors;
    }
    from += count * p.in.row_stride;
  };

  StripMaxima<T> maxima(idle ? tile.cols : lane, lanes, tile.cols, vectors);
  const Values* const windows = rows + 2 * lane * vectors + v;
  if (!idle) normalize_rows(std::integral_constant<int, 1>(), in_row0, rows + 2 * line);
  __syncthreads();
  maxima.begin(windows + 2 * line);
  T* to = p.out.data + p.out.offset(tile.image, tile.row0, tile.col0 + lane) + v * n;
  for (int r = 0; r < tile.rows; ++r) {
    const int pair = r % 2 * 2 * line;
    if (!idle) normalize_rows(std::integral_constant<int, 2>(), in_row0 + 2 * r + 1, rows + pair);
    __syncthreads();
    maxima.next(windows + pair, line,
                [&](int i, const Values& value) { store(to + i * lanes * p.out.col_stride, value); });
    to += p.out.row_stride;
  }
}

template <Power power, typename T>
__global__ void __launch_bounds__(threads) lrn_pool_staged(const Parameters<T> p) {
  constexpr int n = vector_width<T>;
  using Values = Pack<T, n>;
  follow_previous();
  extern __shared__ uint4 shared[];
  Values* const ring = reinterpret_cast<Values*>(shared);

  const StripTile tile(p.plan, p.out);
  const int in_row0 = tile.row0 * p.rows.stride - p.rows.padding;
  const int in_col0 = tile.col0 * p.cols.stride - p.cols.padding;
  const int in_cols = (tile.cols - 1) * p.cols.stride + p.cols.reach();

  // A thread keeps its channels; `lanes` positions side by side. What is left over only waits.
  const int v = static_cast<int>(threadIdx.x) % p.plan.vectors;
  const int lane = static_cast<int>(threadIdx.x) / p.plan.vectors;
  const int lanes = threads / p.plan.vectors;
  const bool idle = lane >= lanes;

  // Rows and columns of the input count from in_row0 and in_col0; row y lies in row y % ring_rows of the
  // ring.
  const T* const corner = p.in.data + p.in.offset(tile.image, in_row0, in_col0) + v * n;
  const int lane_row = lane / in_cols;
  const int lane_col = lane - lane_row * in_cols;
  const std::int64_t lane_step = lanes * p.in.col_stride;
  const std::int64_t next_line = p.in.row_stride - in_cols * p.in.col_stride;
  const int ring_next_line = (p.plan.held_cols - in_cols) * p.plan.vectors;
  const auto readable = [&](int y, int x) {
    return p.in.readable_row(in_row0 + y) && p.in.readable_col(in_col0 + x);
  };
  const bool has_before = v > 0;
  const bool has_behind = v + 1 < p.plan.vectors;

  for (int r = 0; r < tile.rows; ++r) {
    const int first = r * p.rows.stride;
    const int end = first + p.rows.reach();
    const int begin = r == 0 ? first : max(first, end - p.rows.stride);
    if (!idle) {
      int y = begin + lane_row;
      int x = lane_col;
      int slot = y % p.ring_rows;
      Values* to = ring + (slot * p.plan.held_cols + x) * p.plan.vectors + v;
      const T* from = corner + y * p.in.row_stride + x * p.in.col_stride;
      while (y < end) {
        FiveChannels<T> five[ahead];
        bool inside[ahead];
        Values* target[ahead];
#pragma unroll
        for (int a = 0; a < ahead; ++a) {
          target[a] = y < end ? to : nullptr;
          inside[a] = y < end && readable(y, x);
          if (inside[a]) five[a] = read_five(from, has_before, has_behind);
          x += lanes;
          from += lane_step;
          to += lanes * p.plan.vectors;
          while (x >= in_cols) {
            x -= in_cols;
            from += next_line;
            to += ring_next_line;
            ++y;
            if (++slot == p.ring_rows) {
              slot = 0;
              to -= p.ring_rows * p.plan.held_cols * p.plan.vectors;
            }
          }
        }
#pragma unroll
        for (int a = 0; a < ahead; ++a) {
          if (target[a] != nullptr) *target[a] = inside[a] ? lrn_five<power>(five[a], p.lrn) : lowest<T, n>();
        }
      }
    }
    __syncthreads();
    if (idle) continue;
    T* to = p.out.data + p.out.offset(tile.image, tile.row0 + r, tile.col0 + lane) + v * n;
    for (int q = lane; q < tile.cols; q += lanes, to += lanes * p.out.col_stride) {
      Values value = lowest<T, n>();
      for (int ky = 0; ky < p.rows.kernel; ++ky) {
        const Values* const row =
            ring + (first + ky * p.rows.dilation) % p.ring_rows * p.plan.held_cols * p.plan.vectors;
        for (int kx = 0; kx < p.cols.kernel; ++kx) {
          fold_maximum(value, row[(q * p.cols.stride + kx * p.cols.dilation) * p.plan.vectors + v]);
        }
      }
      store(to, value);
    }
  }
}

// Grid: LineGrid, rows of outputs, units of one channel.
template <Power power, typename T>
__global__ void __launch_bounds__(threads) lrn_pool_direct(const Parameters<T> p) {
  follow_previous();
  p.grid.for_each(p.out.images, [&](int image, int r, int unit) {
    const int2 place = p.channels.divide(unit);
    const int row = p.out.row0 + r;
    const int col = p.out.col0 + place.x;
    const int c = place.y;
    Pack<T, 1> value = lowest<T, 1>();
    for (int ky = 0; ky < p.rows.kernel; ++ky) {
      const int y = row * p.rows.stride - p.rows.padding + ky * p.rows.dilation;
      if (!p.in.readable_row(y)) continue;
      for (int kx = 0; kx < p.cols.kernel; ++kx) {
        const int x = col * p.cols.stride - p.cols.padding + kx * p.cols.dilation;
        if (!p.in.readable_col(x)) continue;
        fold_maximum(value, lrn_one<power>(p.in.data + p.in.offset(image, y, x), c, p.in.channels, p.lrn));
      }
    }
    store(p.out.data + p.out.offset(image, row, col) + c, value);
  });
}

Axis make_axis(const AxisWindow& window) {
  return {device_int(window.kernel, "a kernel"), device_int(window.stride, "a stride"),
          device_int(window.padding.begin, "a padding"), device_int(window.dilation, "a dilation")};
}

// Plans tiles of aligned channels; gives the bytes of shared memory, or 0 where not even a column fits.
template <typename T, int most>
std::int64_t plan_tiles(TileParameters<Parameters<T>, most>& tiles, int count, bool strips) {
  std::int64_t bytes = 0;
  for (int i = 0; i < count; ++i) {
    Parameters<T>& p = tiles.tile[i];
    if (p.plan.vectors > threads) return 0;
    p.ring_rows = strips ? 4 : p.rows.reach() + p.rows.stride;
    const int most_cols = strips ? strip_columns * (threads / p.plan.vectors) : p.out.cols;
    const StripLimits limits{p.ring_rows, most_cols, p.out.rows, strips_at_once()};
    bytes = std::max(bytes, plan_strips(p.plan, p.out.images, {p.out.rows, p.rows.reach(), p.rows.stride},
                                        {p.out.cols, p.cols.reach(), p.cols.stride}, limits, count));
  }
  return bytes;
}

template <typename T>
void launch_direct(Parameters<T>& p, const auto& kernel, cudaStream_t stream) {
  p.channels = Divider(p.out.channels);
  p.grid = LineGrid(p.out.rows, std::int64_t{p.out.cols} * p.out.channels, threads);
  launch_early(kernel, p.grid.grid(p.out.images, threads), threads, 0, stream, "launching lrn_max_pool", p);
}

template <typename T>
void lrn_pool_tiles(const Lrn& lrn, const Pool2d& pool, std::span<const TileMaps> tiles, LrnPower power_kind,
                    cudaStream_t stream) {
  const LrnParameters parameters = lrn_parameters(lrn);
  const Axis rows = make_axis(pool.window.rows());
  const Axis cols = make_axis(pool.window.cols());
  const bool strips = suits_strips(rows) && suits_strips(cols);
  const auto make = [&](const TileMaps& tile, Parameters<T>& p) {
    p.lrn = parameters;
    p.in = device_map<T>(tile.in, tile.in.data);
    p.out = device_map<T>(tile.out, tile.out.data);
    p.rows = rows;
    p.cols = cols;
    p.plan.vectors = p.out.channels / vector_width<T>;
    return positions(p.out) > 0 && p.out.channels > 0;
  };
  for_tile_groups<Parameters<T>>(
      tiles, make, [&]<int most>(TileParameters<Parameters<T>, most>& group, int count) {
        const std::span<Parameters<T>> all(group.tile, static_cast<std::size_t>(count));
        const bool vector =
            parameters.size == 5 && std::ranges::all_of(all, [](const Parameters<T>& p) {
              return p.out.channels % vector_width<T> == 0 && vector_aligned(p.in) && vector_aligned(p.out);
            });
        const auto bytes = static_cast<std::size_t>(vector ? plan_tiles(group, count, strips) : 0);
        const auto blocks = [](const Parameters<T>& p) {
          return static_cast<unsigned>(device_int(p.plan.blocks(p.out.images), "the number of tiles"));
        };
        with_power<T>(lrn, power_kind, [&]<Power power>(PowerOf<power>) {
          if (bytes > 0 && strips) {
            const dim3 grid(std::ranges::max(all | std::views::transform(blocks)), 1,
                            static_cast<unsigned>(count));
            launch_early(lrn_pool_strips<power, T, most>, grid, threads, bytes, stream,
                         "launching lrn_max_pool", group);
            return;
          }
          for (Parameters<T>& p : all) {
            if (bytes > 0) {
              launch_early(lrn_pool_staged<power, T>, blocks(p), threads, bytes, stream,
                           "launching lrn_max_pool", p);
            } else {
              launch_direct(p, lrn_pool_direct<power, T>, stream);
            }
          }
        });
      });
}

template <Power power, typename T>
void list_kernels(std::vector<KernelEntry>& list, const std::string& type) {
  constexpr std::size_t ring = strip_shared_limit;
  list.push_back({"lrn_pool", "strips" + type, address_of(lrn_pool_strips<power, T, 1>), threads, ring});
  list.push_back({"lrn_pool", "strips of tiles" + type,
                  address_of(lrn_pool_strips<power, T, tiles_at_once<Parameters<T>>>), threads, ring});
  list.push_back({"lrn_pool", "staged" + type, address_of(lrn_pool_staged<power, T>), threads, ring});
  list.push_back({"lrn_pool", "direct" + type, address_of(lrn_pool_direct<power, T>), threads, 0});
}

}  // namespace

void lrn_max_pool(const Lrn& lrn, const Pool2d& pool, std::span<const TileMaps> tiles, cudaStream_t stream,
                  LrnPower power) {
  for (const auto& [in, out] : tiles) {
    if (in.images != out.images || in.channels != out.channels || in.dtype != out.dtype) {
      throw ShapeError("lrn_max_pool: in and out must have the same images, channels and element type");
    }
  }
  if (pool.kind != PoolKind::max || pool.window.adaptive_output) {
    throw UnsupportedError("lrn_max_pool: the pool must be a sliding maximum; run lrn and pool2d instead");
  }
  if (tiles.empty()) return;
  with_device_type(tiles.front().in.dtype,
                   [&]<typename T>(DeviceType<T>) { lrn_pool_tiles<T>(lrn, pool, tiles, power, stream); });
}

void lrn_max_pool(const Lrn& lrn, const Pool2d& pool, const ConstMapView& in, const MapView& out,
                  cudaStream_t stream, LrnPower power) {
  const TileMaps tile{in, out};
  lrn_max_pool(lrn, pool, {&tile, 1}, stream, power);
}

std::vector<KernelEntry> lrn_pool_kernels() {
  std::vector<KernelEntry> list;
  list_kernels<Power::three_quarters, float>(list, "");
  list_kernels<Power::fast_three_quarters, __nv_bfloat16>(list, ", bf16");
  list_kernels<Power::fast_three_quarters, __half>(list, ", f16");
  return list;
}

}  // namespace halotile::cuda
