// Where tiles begin: cuts of one map, of another along with it, and who owns what.
#include "patching/cuts.hpp"

#include <gtest/gtest.h>

#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr int bits = 18;

TEST(Cuts, OfPatchesAndGrids) {
  EXPECT_EQ(cut(10, {}, {1, 1}, bits), (Cuts{0, 10}));
  EXPECT_EQ(cut(10, {PatchSpec::Kind::size, 4}, {1, 1}, bits), (Cuts{0, 4, 8, 10}));
  EXPECT_EQ(cut(10, {PatchSpec::Kind::size, 100}, {1, 1}, bits), (Cuts{0, 10}));
  EXPECT_EQ(cut(10, {PatchSpec::Kind::grid, 4}, {1, 1}, bits), (Cuts{0, 3, 6, 8, 10}));
  EXPECT_EQ(cut(3, {PatchSpec::Kind::grid, 4}, {1, 1}, bits), (Cuts{0, 1, 2, 3}));
}

TEST(Cuts, PatchesAreOfImagePixels) {
  EXPECT_EQ(cut(10, {PatchSpec::Kind::size, 9}, {2, 1}, bits), (Cuts{0, 4, 8, 10}));
  EXPECT_EQ(cut(10, {PatchSpec::Kind::size, 1}, {4, 1}, bits).size(), 11U);
  // Twice as fine as the image.
  EXPECT_EQ(cut(10, {PatchSpec::Kind::size, 3}, {1, 2}, bits), (Cuts{0, 6, 10}));
  EXPECT_EQ(cut(10, {PatchSpec::Kind::size, 5}, {2, 3}, bits), (Cuts{0, 7, 10}));
}

TEST(Cuts, MoreThanAKeyHoldsAreRefused) {
  EXPECT_EQ(cut(16, {PatchSpec::Kind::size, 1}, {1, 1}, 4).size(), 17U);
  EXPECT_THROW((void)cut(17, {PatchSpec::Kind::size, 1}, {1, 1}, 4), ShapeError);
  EXPECT_THROW((void)cut(99, {PatchSpec::Kind::grid, 17}, {1, 1}, 4), ShapeError);
}

TEST(CutsAlong, OwnWhatStandsWhereCoresStand) {
  const Cuts pooled{0, 3, 6, 7};
  EXPECT_EQ(cut_along(pooled, {2, 1}, 14, {1, 1}), (Cuts{0, 6, 12, 14}));
  EXPECT_EQ(cut_along(pooled, {2, 1}, 15, {1, 1}), (Cuts{0, 6, 12, 15}));  // the last owns what is behind
  EXPECT_EQ(cut_along(pooled, {2, 1}, 10, {1, 1}), (Cuts{0, 6, 10, 10}));  // and may own nothing
  EXPECT_EQ(cut_along(pooled, {2, 1}, 4, {4, 1}), (Cuts{0, 2, 3, 4}));
  EXPECT_EQ(cut_along(pooled, {2, 1}, 1, {14, 1}), (Cuts{0, 1, 1, 1}));
}

// By the definition, position by position.
TEST(CutsAlong, EveryPositionHasTheOwnerOfItsPlace) {
  const Cuts tiling{0, 2, 3, 7, 12};
  for (std::int64_t a = 1; a <= 6; ++a) {
    for (std::int64_t b = 1; b <= 6; ++b) {
      const Cuts cuts = cut_along(tiling, {a, 1}, 20, {b, 1});
      for (std::int64_t p = 0; p < 20; ++p) {
        const std::int64_t place = std::min<std::int64_t>(11, p * b / a);
        std::int64_t owner = 0;
        while (!owned(tiling, owner).contains(place)) ++owner;
        EXPECT_TRUE(owned(cuts, owner).contains(p)) << "strides " << a << ", " << b << ", position " << p;
      }
    }
  }
}

TEST(TilesMeeting, AreThoseThatOwnPartOfIt) {
  const Cuts cuts{0, 4, 4, 6, 10};
  EXPECT_EQ(tiles_meeting(cuts, {0, 1}), (Interval{0, 1}));
  EXPECT_EQ(tiles_meeting(cuts, {3, 5}), (Interval{0, 3}));
  EXPECT_EQ(tiles_meeting(cuts, {4, 5}), (Interval{2, 3}));
  EXPECT_EQ(tiles_meeting(cuts, {5, 99}), (Interval{2, 4}));
  EXPECT_EQ(tiles_meeting(cuts, {-5, 99}), (Interval{0, 4}));
  EXPECT_EQ(tiles_meeting(cuts, {-5, 0}), Interval{});
  EXPECT_EQ(tiles_meeting(cuts, {10, 12}), Interval{});
  EXPECT_EQ(tiles_meeting(cuts, {3, 3}), Interval{});
}

}  // namespace
}  // namespace halotile
