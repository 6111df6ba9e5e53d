// Strips of maxima over windows of 3x3 with stride 2, for the kernel that pools and the one that normalizes
// first. For nvcc only.
//
// A block computes a strip of output rows, as many columns as fit, all channels; a thread keeps the channels
// of 16 bytes and its columns. For every output row the block puts the two input rows that are new into
// shared memory; each thread then takes the maxima along them and keeps that of the row which the next
// windows share. Two such pairs of rows take turns, so that one barrier a row is enough. Blocks read again
// what windows of neighbours share: one column and one row of a strip.
#pragma once

#include <cstdint>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/strip_plan.hpp"

namespace halotile::cuda {

/// Whether an axis has windows of 3 with stride 2.
template <typename Axis>
[[nodiscard]] bool suits_strips(const Axis& axis) {
  return axis.kernel == 3 && axis.stride == 2 && axis.dilation == 1;
}

/// Blocks of strips on the current device at once.
inline std::int64_t strips_at_once() {
  return std::int64_t{strip_blocks} * current_device_attribute<cudaDevAttrMultiProcessorCount>();
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

}  // namespace halotile::cuda
