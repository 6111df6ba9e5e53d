#include "pipeline/running/tile_rects.hpp"

namespace halotile {
namespace {

// Indices of the ascending, touching cores that meet `interval`.
template <typename Core>
Interval meeting(Interval interval, std::int64_t count, const Core& core) {
  if (interval.empty()) return {};
  const auto first_beyond = [&](std::int64_t position) {  // first core that begins behind `position`
    std::int64_t low = 0;
    std::int64_t high = count;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (core(middle).begin > position) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  };
  return {first_beyond(interval.begin) - 1, first_beyond(interval.end - 1)};
}

}  // namespace

TileRange tiles_meeting(const StagePlan& stage, Rect rect) {
  const Extent2 grid = stage.grid();
  return {meeting(rect.rows, grid.height, [&](std::int64_t row) { return stage.core(row, 0).rows; }),
          meeting(rect.cols, grid.width, [&](std::int64_t column) { return stage.core(0, column).cols; })};
}

Rect seen_input(const StagePlan& stage, std::int64_t row, std::int64_t column) {
  Rect seen = stage.needed(row, column, 0);
  if (seen.empty()) return seen;
  const Rect core = stage.core(row, column);
  if (core.rows.end == stage.output_extent().height) seen.rows.end = stage.input_extent().height;
  if (core.cols.end == stage.output_extent().width) seen.cols.end = stage.input_extent().width;
  return seen;
}

}  // namespace halotile
