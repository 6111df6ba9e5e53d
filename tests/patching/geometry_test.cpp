// Extents, intervals and rectangles, against the sets of positions they stand for.
#include "patching/geometry.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();

std::set<std::int64_t> positions(Interval interval) {
  std::set<std::int64_t> all;
  for (std::int64_t x = interval.begin; x < interval.end; ++x) all.insert(x);
  return all;
}

// Every interval with ends in [-3, 4], the backward ones too.
std::vector<Interval> all_intervals() {
  std::vector<Interval> all;
  for (std::int64_t begin = -3; begin <= 4; ++begin) {
    for (std::int64_t end = -3; end <= 4; ++end) all.push_back({begin, end});
  }
  return all;
}

TEST(Interval, IsTheSetOfItsPositions) {
  for (const Interval i : all_intervals()) {
    SCOPED_TRACE("[" + std::to_string(i.begin) + ", " + std::to_string(i.end) + ")");
    const auto set = positions(i);
    EXPECT_EQ(i.empty(), set.empty());
    EXPECT_EQ(i.size(), static_cast<std::int64_t>(set.size()));
    for (std::int64_t x = -5; x <= 6; ++x) EXPECT_EQ(i.contains(x), set.contains(x)) << x;
  }
}

TEST(Interval, IntersectionHullAndContainment) {
  for (const Interval a : all_intervals()) {
    for (const Interval b : all_intervals()) {
      SCOPED_TRACE(to_string(Rect{a, b}));
      const auto in_a = positions(a);
      const auto in_b = positions(b);
      std::set<std::int64_t> both;
      std::set<std::int64_t> either = in_a;
      for (const std::int64_t x : in_b) {
        if (in_a.contains(x)) both.insert(x);
        either.insert(x);
      }
      EXPECT_EQ(positions(intersect(a, b)), both);
      if (both.empty()) {
        EXPECT_EQ(intersect(a, b), Interval{});
      }
      const Interval around = hull(a, b);
      EXPECT_EQ(around, either.empty() ? Interval{} : (Interval{*either.begin(), *either.rbegin() + 1}));
      EXPECT_EQ(a.contains(b), std::includes(in_a.begin(), in_a.end(), in_b.begin(), in_b.end()));
    }
  }
}

TEST(Rect, EmptyWhenOneSideIs) {
  const Rect flat{{2, 2}, {0, 5}};
  EXPECT_TRUE(flat.empty());
  EXPECT_EQ(flat.area(), 0);
  EXPECT_TRUE((Rect{{0, 5}, {3, 1}}).empty());
  EXPECT_TRUE((Rect{{0, 1}, {0, 1}}).contains(flat));
  EXPECT_EQ(intersect(Rect{{0, 4}, {0, 4}}, Rect{{1, 3}, {4, 9}}), Rect{});
}

TEST(Rect, IntersectsAndContainsPerAxis) {
  const Rect a{{-1, 5}, {2, 8}};
  const Rect b{{3, 9}, {0, 4}};
  EXPECT_EQ(intersect(a, b), (Rect{{3, 5}, {2, 4}}));
  EXPECT_TRUE(a.contains(intersect(a, b)));
  EXPECT_FALSE(a.contains(b));
  EXPECT_EQ(a.extent(), (Extent2{6, 6}));
  EXPECT_EQ(a.area(), 36);
  EXPECT_EQ(Rect::whole({3, 7}), (Rect{{0, 3}, {0, 7}}));
}

TEST(Extent2, OrdersByHeightFirst) {
  EXPECT_LT((Extent2{1, 9}), (Extent2{2, 0}));
  EXPECT_LT((Extent2{1, 1}), (Extent2{1, 2}));
}

TEST(Extent2, AreaOverflowIsAShapeError) {
  EXPECT_EQ((Extent2{std::int64_t{1} << 31, std::int64_t{1} << 31}).area(), std::int64_t{1} << 62);
  for (const Extent2 e : {Extent2{std::int64_t{1} << 32, std::int64_t{1} << 31}, Extent2{huge, 2}}) {
    try {
      (void)e.area();
      FAIL() << to_string(e);
    } catch (const ShapeError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("the number of positions overflows"), std::string::npos) << message;
      EXPECT_NE(message.find(std::to_string(e.height)), std::string::npos) << message;
      EXPECT_NE(message.find("use smaller sizes"), std::string::npos) << message;
    }
  }
}

TEST(CheckedMultiply, MultipliesOrNamesWhatOverflows) {
  EXPECT_EQ(checked_multiply(-3, 7, "x"), -21);
  EXPECT_EQ(checked_multiply(huge, 1, "x"), huge);
  EXPECT_EQ(checked_multiply(0, huge, "x"), 0);
  try {
    (void)checked_multiply(huge, huge, "the bytes of a map");
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_EQ(std::string(error.what()).find("the bytes of a map overflows"), 0U) << error.what();
  }
}

TEST(Halo, NoneWhenAllSidesAreZero) {
  EXPECT_TRUE(Halo{}.none());
  EXPECT_FALSE((Halo{0, 0, 0, 1}).none());
  EXPECT_FALSE((Halo{1, 0, 0, 0}).none());
}

TEST(Geometry, Prints) {
  EXPECT_EQ(to_string(Extent2{13, 27}), "13x27");
  EXPECT_EQ(to_string(Rect{{0, 5}, {-2, 9}}), "[0, 5) x [-2, 9)");
}

}  // namespace
}  // namespace halotile
