// Borders kept for neighbours: every position that is needed is computed once, by a part that holds all it
// reads, and what a part takes over the part before it holds.
#include "patching/borders.hpp"

#include <gtest/gtest.h>

#include "brute_force.hpp"

namespace halotile {
namespace {

using brute_force::Positions;

std::vector<AxisLayer> rows_of(std::span<const LayerGeometry> layers) {
  std::vector<AxisLayer> chain;
  for (const LayerGeometry& l : layers) chain.push_back({l.window.rows(), l.input.height, l.output.height});
  return chain;
}

// Bounds of what a chain reads of its input for the outputs `out`.
Interval read_by(std::span<const AxisLayer> chain, Interval out) {
  Positions set(static_cast<std::size_t>(chain.back().output));
  for (std::int64_t o = out.begin; o < out.end; ++o) set.at(static_cast<std::size_t>(o)) = true;
  for (std::size_t l = chain.size(); l-- > 0;) {
    set = brute_force::reads(chain[l].window, chain[l].input, set);
  }
  return brute_force::bounds(set);
}

void expect_sound(std::span<const std::vector<AxisLayer>> steps, std::span<const Interval> cores,
                  const std::set<std::size_t>& repeated = {}) {
  const auto held = held_by_parts(steps, cores, repeated);
  ASSERT_EQ(held.size(), steps.size() + 1);
  for (std::size_t p = 0; p < cores.size(); ++p) {
    EXPECT_TRUE(held.back()[p].kept.empty());
    EXPECT_EQ(held.back()[p].all(), hull(cores[p], {}));
  }
  for (std::size_t i = 0; i <= steps.size(); ++i) {
    ASSERT_EQ(held[i].size(), cores.size());
    for (std::size_t p = 0; p < cores.size(); ++p) {
      const Held& here = held[i][p];
      if (i < steps.size()) {
        const Interval out = held[i + 1][p].fresh;
        EXPECT_TRUE(out.empty() || here.all().contains(read_by(steps[i], out))) << i << ' ' << p;
      }
      if (i == 0 || repeated.contains(i)) {
        EXPECT_TRUE(here.kept.empty());
        continue;
      }
      EXPECT_EQ(here.kept.size() + here.fresh.size(), here.all().size()) << i << ' ' << p;
      if (!here.kept.empty()) {
        ASSERT_GT(p, 0U);
        EXPECT_TRUE(held[i][p - 1].all().contains(here.kept)) << i << ' ' << p;
      }
      for (std::size_t q = 0; q < p; ++q) {
        if (here.fresh.empty() || held[i][q].fresh.empty()) continue;
        EXPECT_LE(held[i][q].fresh.end, here.fresh.begin) << i << ' ' << p;
      }
    }
  }
}

TEST(Borders, TwoConvolutions) {
  const AxisWindow three{3, 1, 1, 1, false, 0};
  const std::vector<std::vector<AxisLayer>> steps{{{three, 10, 10}}, {{three, 10, 10}}};
  const auto held = held_by_parts(steps, std::vector<Interval>{{0, 5}, {5, 10}});
  EXPECT_EQ(held[2], (std::vector<Held>{{{}, {0, 5}}, {{}, {5, 10}}}));
  EXPECT_EQ(held[1], (std::vector<Held>{{{}, {0, 6}}, {{4, 6}, {6, 10}}}));
  EXPECT_EQ(held[0], (std::vector<Held>{{{}, {0, 7}}, {{}, {5, 10}}}));
}

TEST(Borders, PartsSmallerThanTheirBorders) {
  const AxisWindow seven{7, 1, 3, 1, false, 0};
  const std::vector<std::vector<AxisLayer>> steps{{{seven, 6, 6}}, {{seven, 6, 6}}, {{seven, 6, 6}}};
  expect_sound(steps, std::vector<Interval>{{0, 1}, {1, 2}, {2, 3}, {3, 3}, {3, 4}, {4, 6}, {6, 6}});
}

TEST(Borders, RandomStages) {
  std::mt19937_64 random(20120930);
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  for (int n = 0; n < 20000 && !testing::Test::HasFailure(); ++n) {
    const brute_force::Case c = brute_force::random_case(random, {48, 6});
    SCOPED_TRACE(to_string(c));
    std::vector<std::vector<AxisLayer>> steps;
    for (std::size_t first = 0; first < c.layers.size();) {
      const auto left = static_cast<std::int64_t>(c.layers.size() - first);
      const auto count = static_cast<std::size_t>(draw(1, left));
      steps.push_back(rows_of(std::span(c.layers).subspan(first, count)));
      first += count;
    }
    std::vector<Interval> cores;
    const std::int64_t outputs = c.layers.back().output.height;
    for (std::int64_t begin = 0; begin < outputs || draw(0, 1) == 1;) {
      const std::int64_t end = begin + draw(0, outputs - begin);
      cores.push_back({begin, end});
      begin = end;
    }
    std::set<std::size_t> repeated;
    for (std::size_t i = 1; i < steps.size(); ++i) {
      if (draw(0, 2) == 0) repeated.insert(i);
    }
    expect_sound(steps, cores, repeated);
  }
}

}  // namespace
}  // namespace halotile
