// A lane, replayed: no step's maps and scratch overlap, and whatever the copies' speed beside the steps,
// nothing is overwritten that is still to be read.
#include "pipeline/running/lane.hpp"

#include <gtest/gtest.h>

#include <random>

namespace halotile {
namespace {

using Span = Lane::Span;

// Who may still be reading or writing a span. Copies beside a step begin when the step before has ended.
void check(const Lane& lane, const std::vector<bool>& kept) {
  const std::size_t steps = lane.steps();
  for (std::size_t step = 0; step < steps; ++step) {
    const Span& in = lane.map(step);
    const Span& out = lane.map(step + 1);
    const Span& scratch = lane.scratch(step);
    EXPECT_FALSE(in.overlaps(out)) << step;
    EXPECT_FALSE(in.overlaps(scratch)) << step;
    EXPECT_FALSE(out.overlaps(scratch)) << step;
    for (const Span& span : {in, out, scratch}) EXPECT_TRUE(span.bytes == 0 || span.end() <= lane.bytes());
    const std::optional<std::size_t> waited = lane.waits_for(step, kept);
    EXPECT_TRUE(!waited || *waited < step);
    for (std::size_t map = 1; map < step; ++map) {
      const bool overwritten = lane.map(map).overlaps(out) || lane.map(map).overlaps(scratch);
      if (kept[map] && overwritten) {
        EXPECT_TRUE(waited && *waited >= map) << "map " << map << " is still kept beside step " << step;
      }
    }
    if (step > 0 && lane.ahead() > 0 && step >= lane.ahead()) {
      for (const Span& span : {in, out, scratch}) EXPECT_FALSE(span.overlaps(lane.scratch(0))) << step;
    }
  }
  for (std::size_t map = 1; map < steps; ++map) {
    const std::size_t from = lane.fetched_beside(map);
    EXPECT_LT(from, map);
    if (kept[map]) {
      EXPECT_TRUE(lane.waits_for(map, kept).has_value());
      EXPECT_GE(lane.waits_for(map, kept).value_or(0), from);
    }
    for (std::size_t step = from; step < map; ++step) {  // while borders of the map lie there
      EXPECT_FALSE(lane.map(map).overlaps(lane.map(step))) << map << ' ' << step;
      EXPECT_FALSE(lane.map(map).overlaps(lane.scratch(step))) << map << ' ' << step;
      if (step + 1 < map) {
        EXPECT_FALSE(lane.map(map).overlaps(lane.map(step + 1))) << map << ' ' << step;
      }
    }
  }
}

TEST(Lane, AlexNetsRowOfTiles) {
  // Kilobytes: conv1, pool1, conv2, pool2, conv3, conv4, conv5; conv1 packs its input.
  const std::vector<std::size_t> maps{0,        400 << 10, 100 << 10, 256 << 10, 64 << 10,
                                      96 << 10, 96 << 10,  64 << 10,  0};
  const std::vector<std::size_t> scratch{200 << 10, 0, 0, 0, 0, 0, 0, 0};
  const Lane lane(maps, scratch, true);
  EXPECT_EQ(lane.bytes(), 600U << 10) << "what the first step needs";
  EXPECT_EQ(lane.ahead(), 3U) << "behind conv2";
  const std::vector<bool> kept{false, false, true, false, true, true, true, false, false};
  check(lane, kept);
  EXPECT_FALSE(lane.waits_for(3, kept)) << "pool2 lies apart from pool1";
  EXPECT_FALSE(lane.waits_for(7, kept)) << "pool5 writes elsewhere";
}

TEST(Lane, OnlyOneOfSeveralPartsBeginsAhead) {
  EXPECT_EQ(Lane({0, 4096, 512, 256, 0}, {1024, 0, 0, 0}, false).ahead(), 0U);
  EXPECT_EQ(Lane({0, 4096, 512, 256, 0}, {0, 0, 0, 0}, true).ahead(), 0U);
  EXPECT_EQ(Lane({0, 4096, 512, 256, 0}, {1024, 0, 0, 0}, true).ahead(), 3U);
}

TEST(Lane, RandomStages) {
  std::mt19937_64 random(20161103);
  const auto draw = [&](std::uint64_t most) { return static_cast<std::size_t>(random() % (most + 1)); };
  for (int n = 0; n < 20000 && !testing::Test::HasFailure(); ++n) {
    const std::size_t steps = 2 + draw(8);
    std::vector<std::size_t> maps(steps + 1);
    std::vector<std::size_t> scratch(steps);
    std::vector<bool> kept(steps + 1);
    for (std::size_t& bytes : maps) bytes = draw(5) == 0 ? 0 : draw(std::uint64_t{256} << draw(8));
    for (std::size_t& bytes : scratch) bytes = draw(1) == 0 ? 0 : draw(std::uint64_t{256} << draw(8));
    for (std::size_t map = 1; map < steps; ++map) kept[map] = maps[map] > 0 && draw(1) == 0;
    check(Lane(maps, scratch, draw(3) > 0), kept);
    if (testing::Test::HasFailure()) ADD_FAILURE() << "case " << n << " of seed 20161103";
  }
}

}  // namespace
}  // namespace halotile
