// How the blocks of pool_strip.cuh divide a layer's outputs. For any compiler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace halotile::cuda {

constexpr int strip_columns = 2;                       // of a row that a thread computes at most
constexpr std::int64_t strip_shared_limit = 48 << 10;  // bytes: four blocks or more on a multiprocessor
constexpr int strip_blocks = 4;                        // of a multiprocessor
constexpr int shortest_strip = 3;                      // rows

/// Blocks are tiles of outputs: strips of rows.
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

/// What limits strips.
struct StripLimits {
  std::int64_t held_rows = 0;  // of the input, of a block in shared memory
  std::int64_t most_cols = 0;  // of a strip
  int longest = 0;             // rows of a strip
  std::int64_t at_once = 0;    // blocks on the device
};

/// A launch's time, but for a factor, with strips of so many rows in `blocks` blocks: all that are on the
/// device at once take as long as the rows that each reads, and some more until it has the first.
[[nodiscard]] constexpr std::int64_t strip_time(const StripAxis& rows, int strip, std::int64_t blocks,
                                                std::int64_t at_once) {
  constexpr std::int64_t rows_to_begin = 3;
  return (blocks + at_once - 1) / at_once * (rows.reads(strip) + rows_to_begin);
}

/// Divides the outputs rows x cols of `images` images, in one launch with `tiles` such; both at least 1. Long
/// strips read few rows of their neighbours, short ones leave less of the device idle at the end: it chooses
/// what takes least by strip_time(). Gives the bytes of shared memory, or 0 when no column fits.
inline std::int64_t plan_strips(StripPlan& plan, int images, const StripAxis& rows, const StripAxis& cols,
                                const StripLimits& limits, int tiles) {
  const auto pieces = [](std::int64_t all, std::int64_t each) {
    return static_cast<int>((all + each - 1) / each);
  };
  const std::int64_t column = limits.held_rows * plan.vectors * 16;  // bytes
  const std::int64_t held = column > 0 ? strip_shared_limit / column : 0;
  if (held < cols.reach || limits.most_cols < 1) return 0;
  const std::int64_t fitting = std::min(limits.most_cols, (held - cols.reach) / cols.stride + 1);
  plan.tiles_across = pieces(cols.outputs, fitting);
  plan.tile_cols = pieces(cols.outputs, plan.tiles_across);
  plan.held_cols = static_cast<int>(cols.reads(plan.tile_cols));
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  int strip = std::min(shortest_strip, rows.outputs);
  while (strip <= std::min(limits.longest, rows.outputs)) {
    const int down = pieces(rows.outputs, strip);
    const std::int64_t blocks = std::int64_t{images} * plan.tiles_across * down * tiles;
    if (const std::int64_t time = strip_time(rows, strip, blocks, limits.at_once); time < least) {
      least = time;
      plan.tile_rows = strip;
    }
    if (down == 1) break;
    strip = pieces(rows.outputs, down - 1);  // the shortest of which fewer are needed
  }
  plan.tiles_down = pieces(rows.outputs, plan.tile_rows);
  return column * plan.held_cols;
}

}  // namespace halotile::cuda
