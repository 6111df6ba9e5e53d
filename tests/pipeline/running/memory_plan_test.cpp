// Offsets by lifetimes: no two values overlap that live at the same time, and a chain needs no more than
// halves.
#include "pipeline/running/memory_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "pipeline/running/placement.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::Draw;

void expect_apart(const std::vector<Lifetime>& values, const MemoryPlan& plan) {
  for (std::size_t a = 0; a < values.size(); ++a) {
    EXPECT_LE(plan.offsets[a] + values[a].bytes, plan.bytes);
    EXPECT_EQ(plan.offsets[a], aligned(plan.offsets[a]));
    for (std::size_t b = 0; b < a; ++b) {
      if (!values[a].meets(values[b])) continue;
      const std::size_t end = std::min(plan.offsets[a] + values[a].bytes, plan.offsets[b] + values[b].bytes);
      EXPECT_LE(end, std::max(plan.offsets[a], plan.offsets[b])) << a << " and " << b;
    }
  }
}

TEST(MemoryPlan, ValuesThatLiveTogetherDoNotOverlap) {
  Draw draw(17);
  for (int n = 0; n < 2000; ++n) {
    std::vector<Lifetime> values(static_cast<std::size_t>(draw.integer(0, 12)));
    for (Lifetime& value : values) {
      value.first = static_cast<std::size_t>(draw.integer(0, 9));
      value.last = value.first + static_cast<std::size_t>(draw.integer(0, 4));
      value.bytes = static_cast<std::size_t>(draw.integer(0, 3000));
    }
    expect_apart(values, plan_memory(values));
  }
}

TEST(MemoryPlan, AChainNeedsNoMoreThanTwoHalves) {
  Draw draw(18);
  for (int n = 0; n < 2000; ++n) {
    std::vector<Lifetime> values;
    std::size_t halves[2] = {0, 0};
    for (std::size_t v = 0; v < static_cast<std::size_t>(draw.integer(1, 12)); ++v) {
      values.push_back({static_cast<std::size_t>(draw.integer(0, 3000)), v, v + 1});
      halves[v % 2] = std::max(halves[v % 2], aligned(values.back().bytes));
    }
    const MemoryPlan plan = plan_memory(values);
    expect_apart(values, plan);
    EXPECT_LE(plan.bytes, halves[0] + halves[1]);
  }
}

TEST(MemoryPlan, ASkipKeepsItsMemoryUntilItIsJoined) {
  const std::vector<Lifetime> values{{512, 0, 4}, {1024, 0, 1}, {1024, 1, 2}, {1024, 2, 3}, {512, 3, 4}};
  const MemoryPlan plan = plan_memory(values);
  expect_apart(values, plan);
  EXPECT_EQ(plan.bytes, 512U + 2048U);
}

TEST(MemoryPlan, NothingIsNothing) { EXPECT_EQ(plan_memory({}).bytes, 0U); }

}  // namespace
}  // namespace halotile
