// Which tiles meet a rectangle of their stage's output, and what a tile shows of its stage's input.
#pragma once

#include "patching/plan.hpp"

namespace halotile {

/// Tiles of some rows and columns of a stage's grid.
struct TileRange {
  Interval rows;
  Interval columns;
};

/// Tiles whose cores meet `rect`.
[[nodiscard]] TileRange tiles_meeting(const StagePlan& stage, Rect rect);

/// What a tile's view of its stage's input shows: what it needs, and at the end of the map also the positions
/// behind its last window, so that its rows stay contiguous. Kernels may read all of it (to pack it, say).
[[nodiscard]] Rect seen_input(const StagePlan& stage, std::int64_t row, std::int64_t column);

}  // namespace halotile
