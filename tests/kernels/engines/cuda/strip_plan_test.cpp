// Plans of strips: every output in one block, what a block holds fits, no other length of strips takes less.
#include "kernels/engines/cuda/strip_plan.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

namespace halotile::cuda {
namespace {

// The least time of any length, tried one by one.
std::int64_t least_time(const StripPlan& plan, int images, const StripAxis& rows, const StripLimits& limits,
                        int tiles) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (int strip = std::min(shortest_strip, rows.outputs); strip <= std::min(limits.longest, rows.outputs);
       ++strip) {
    const std::int64_t down = (rows.outputs + strip - 1) / strip;
    least =
        std::min(least, strip_time(rows, strip, images * plan.tiles_across * down * tiles, limits.at_once));
  }
  return least;
}

TEST(StripPlan, RandomLayers) {
  std::mt19937_64 random(20120227);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  int none = 0;
  for (int n = 0; n < 20000; ++n) {
    StripPlan plan;
    plan.vectors = draw(1, 256);
    const StripAxis rows{draw(1, n % 10 == 0 ? 1200 : 60), draw(1, 7), draw(1, 4)};
    const StripAxis cols{draw(1, n % 10 == 0 ? 1200 : 60), draw(1, 7), draw(1, 4)};
    const StripLimits limits{draw(1, 12), draw(1, 60), draw(shortest_strip, 2000), draw(1, 600)};
    const int images = draw(1, n % 10 == 0 ? 1024 : 4);
    const int tiles = draw(1, 15);
    SCOPED_TRACE("case " + std::to_string(n) + " of seed 20120227");
    const std::int64_t bytes = plan_strips(plan, images, rows, cols, limits, tiles);
    const std::int64_t column = limits.held_rows * plan.vectors * 16;
    if (bytes == 0) {
      ASSERT_GT(column * cols.reach, strip_shared_limit) << "not even a column fits";
      ++none;
      continue;
    }
    ASSERT_LE(bytes, strip_shared_limit);
    ASSERT_EQ(bytes, column * cols.reads(plan.tile_cols));
    ASSERT_LE(plan.tile_cols, limits.most_cols);
    ASSERT_LE(plan.tile_rows, limits.longest);
    for (const auto& [each, count, all] : {std::array{plan.tile_rows, plan.tiles_down, rows.outputs},
                                           std::array{plan.tile_cols, plan.tiles_across, cols.outputs}}) {
      ASSERT_GE(each, 1);
      ASSERT_GE(each * count, all);
      ASSERT_LT(each * (count - 1), all) << "an empty strip";
    }
    ASSERT_EQ(strip_time(rows, plan.tile_rows, plan.blocks(images) * tiles, limits.at_once),
              least_time(plan, images, rows, limits, tiles));
  }
  EXPECT_GT(none, 100);
}

// conv1's pool in a row of the large image's tiles: 528 blocks at once, of 8 rows.
TEST(StripPlan, ARowOfTilesGoesAtOnce) {
  StripPlan plan;
  plan.vectors = 12;
  ASSERT_GT(plan_strips(plan, 1, {128, 3, 2}, {1023, 3, 2}, {4, 42, 128, 528}, 1), 0);
  EXPECT_EQ(plan.tile_rows, 8);
  EXPECT_EQ(plan.blocks(1), 528);
}

}  // namespace
}  // namespace halotile::cuda
