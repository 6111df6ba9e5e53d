// Strips of maxima over windows of 3x3 with stride 2, for the kernel that pools and the one that normalizes
// first. For nvcc only.
//
// A block computes a strip of output rows, as many columns as fit, all channels; a thread keeps the channels
// of 16 bytes and its columns. For every output row the block puts the two input rows that are new into
// shared memory; each thread then takes the maxima along them and keeps that of the row which the next
// windows share. Two such pairs of rows take turns, so that one barrier a row is enough. Blocks read again
// what windows of neighbours share: one column and one row of a strip.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cuda_device.hpp"
#include "kernels/device_map.cuh"

namespace halotile::direct {

constexpr int strip_columns = 2;                       // of a row that a thread computes at most
constexpr std::int64_t strip_shared_limit = 48 << 10;  // bytes: four blocks or more on a multiprocessor
constexpr int shortest_strip = 3;                      // rows

/// Whether an axis has windows of 3 with stride 2.
template <typename Axis>
[[nodiscard]] bool suits_strips(const Axis& axis) {
  return axis.kernel == 3 && axis.stride == 2 && axis.dilation == 1;
}

/// How blocks divide the outputs.
struct StripPlan {
  int vectors = 0;  // of 16 bytes, of a position
  int tile_rows = 0;
  int tile_cols = 0;
  int tiles_down = 0;
  int tiles_across = 0;
  int held_cols = 0;  // of an input row in shared memory

  [[nodiscard]] std::int64_t blocks(int images) const {
    return std::int64_t{images} * tiles_down * tiles_across;
  }
};

/// Windows along an axis.
struct StripAxis {
  int outputs = 0;
  int reach = 0;  // of a window
  int stride = 0;

  /// Positions that so many outputs side by side read.
  [[nodiscard]] constexpr std::int64_t reads(std::int64_t count) const {
    return (count - 1) * stride + reach;
  }
};

/// Divides the outputs rows x cols of `images` images, in one launch with `tiles` such. `held_rows` input
/// rows of a block lie in shared memory; strips have `most_cols` columns and `longest` rows at most. Long
/// strips read few rows of their neighbours, short ones leave less of the device idle at the end: what is
/// chosen takes least if all blocks that fit on the device at once take as long as the rows that each reads,
/// and some more until it has the first. Gives the bytes of shared memory, or 0 when no column fits.
inline std::int64_t plan_strips(StripPlan& plan, int images, const StripAxis& rows, const StripAxis& cols,
                                std::int64_t held_rows, std::int64_t most_cols, int longest, int tiles) {
  constexpr std::int64_t rows_to_begin = 3;
  const std::int64_t column = held_rows * plan.vectors * 16;  // bytes
  const std::int64_t held = column > 0 ? strip_shared_limit / column : 0;
  if (held < cols.reach || most_cols < 1) return 0;
  const std::int64_t fitting = std::min(most_cols, (held - cols.reach) / cols.stride + 1);
  plan.tiles_across = static_cast<int>(divide_up<std::int64_t>(cols.outputs, fitting));
  plan.tile_cols = divide_up(cols.outputs, plan.tiles_across);
  plan.held_cols = static_cast<int>(cols.reads(plan.tile_cols));
  const std::int64_t at_once = 4 * current_device_attribute<cudaDevAttrMultiProcessorCount>();
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (int strip = std::min(shortest_strip, rows.outputs); strip <= std::min(longest, rows.outputs);
       ++strip) {
    const std::int64_t blocks =
        std::int64_t{images} * plan.tiles_across * divide_up(rows.outputs, strip) * tiles;
    const std::int64_t time = divide_up(blocks, at_once) * (rows.reads(strip) + rows_to_begin);
    if (time >= least) continue;
    least = time;
    plan.tile_rows = strip;
  }
  plan.tiles_down = divide_up(rows.outputs, plan.tile_rows);
  return column * plan.held_cols;
}

/// Where a block's outputs are.
struct StripTile {
  int image;
  int row0, col0;  // of the output
  int rows, cols;

  template <typename T>
  __device__ __forceinline__ StripTile(const StripPlan& plan, const DeviceMap<T>& out) {
    const int across = static_cast<int>(blockIdx.x) % plan.tiles_across;
    const int line = static_cast<int>(blockIdx.x) / plan.tiles_across;
    const int down = line % plan.tiles_down;
    image = line / plan.tiles_down;
    rows = min(plan.tile_rows, out.rows - down * plan.tile_rows);
    cols = min(plan.tile_cols, out.cols - across * plan.tile_cols);
    row0 = out.row0 + down * plan.tile_rows;
    col0 = out.col0 + across * plan.tile_cols;
  }
};

/// What a thread keeps of its columns from one output row to the next. Rows in shared memory lie `line`
/// vectors apart; a thread's first column begins at `windows`, its next ones `step` outputs further.
template <typename T>
class StripMaxima {
 public:
  using Values = Pack<T, vector_width<T>>;

  /// `lane`: the thread's first column, of `cols`; `lanes` columns side by side.
  __device__ __forceinline__ StripMaxima(int lane, int lanes, int cols, int vectors)
      : vectors_(vectors), step_(2 * lanes * vectors) {
#pragma unroll
    for (int i = 0; i < strip_columns; ++i) inside_[i] = lane + i * lanes < cols;
  }

  /// The row that the first windows begin with.
  __device__ __forceinline__ void begin(const Values* row) {
#pragma unroll
    for (int i = 0; i < strip_columns; ++i) {
      if (inside_[i]) kept_[i] = along(row + i * step_);
    }
  }

  /// The two rows behind it: store(i, value) gets the outputs.
  template <typename Store>
  __device__ __forceinline__ void next(const Values* rows, int line, const Store& store_value) {
#pragma unroll
    for (int i = 0; i < strip_columns; ++i) {
      if (!inside_[i]) continue;
      Values value = kept_[i];
      fold_maximum(value, along(rows + i * step_));
      kept_[i] = along(rows + line + i * step_);
      fold_maximum(value, kept_[i]);
      store_value(i, value);
    }
  }

 private:
  // Three neighbouring positions' maximum, ascending.
  [[nodiscard]] __device__ __forceinline__ Values along(const Values* at) const {
    Values value = at[0];
    fold_maximum(value, at[vectors_]);
    fold_maximum(value, at[2 * vectors_]);
    return value;
  }

  int vectors_;
  int step_;
  bool inside_[strip_columns];
  Values kept_[strip_columns];
};

}  // namespace halotile::direct
