// Comparing measured points: verdicts, matching, and how often the verdict is wrong, by simulation.
#include "sweeping/compare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <random>

namespace halotile {
namespace {

// Of 40 pairs three false verdicts by chance are no rarity; of 400 the share is known to a percent or so.
constexpr int pairs_of_sides = 400;

MeasuredPoint point(const std::string& name, std::vector<double> samples) {
  return {name, {name, "", ""}, {{std::move(samples), 0, 0, "", "", {}}}, ""};
}

// A machine as one meets them: neighbouring samples resemble each other, some are far too slow, and every
// measurement of a point stands on a level of its own.
struct Machine {
  double noise = 0.02;         // of a sample
  double correlation = 0.5;    // of neighbouring samples
  double between_runs = 0.01;  // of levels
  double slow_share = 0.05;    // of samples

  MeasuredRound measure(double milliseconds, std::mt19937_64& random) const {
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    const double level = milliseconds * std::exp(between_runs * normal(random));
    MeasuredRound round;
    double z = normal(random);
    for (int i = 0; i < 15; ++i) {
      round.samples.push_back(level * std::exp(noise * z) *
                              (uniform(random) < slow_share ? 1 + 2 * uniform(random) : 1));
      z = correlation * z + std::sqrt(1 - correlation * correlation) * normal(random);
    }
    return round;
  }

  // The reference point, measured again and again, as a sweep does.
  void add_drift(std::vector<MeasuredPoint>& side, std::mt19937_64& random) const {
    std::vector<double> logarithms;
    for (int i = 0; i < 8; ++i) logarithms.push_back(std::log(quantile(measure(10, random).samples, 0.5)));
    for (MeasuredPoint& p : side) {
      for (MeasuredRound& r : p.rounds) {
        r.drift = standard_deviation(logarithms);
        r.drift_medians = logarithms.size();
      }
    }
  }
};

struct Scene {
  const char* name;
  int points = 12;
  int rounds = 1;
  bool drift = false;
  Machine machine = {};
};

std::vector<MeasuredPoint> make_side(const Scene& scene, double factor, std::mt19937_64& random) {
  std::vector<MeasuredPoint> side;
  for (int i = 0; i < scene.points; ++i) {
    const std::string name = "point " + std::to_string(i);
    side.push_back({name, {name, "", ""}, {}, ""});
    for (int r = 0; r < scene.rounds; ++r)
      side.back().rounds.push_back(scene.machine.measure(factor * (5 + i), random));
  }
  if (scene.drift) scene.machine.add_drift(side, random);
  return side;
}

// Shares of comparisons with any FASTER or SLOWER, and of points called SLOWER.
struct Verdicts {
  double any_difference = 0;
  double slower = 0;
};

Verdicts simulate(const Scene& scene, double factor, double threshold = 0.02) {
  std::mt19937_64 random(5);
  Verdicts verdicts;
  for (int t = 0; t < pairs_of_sides; ++t) {
    const std::vector<MeasuredPoint> a = make_side(scene, 1, random);
    const ComparedSides compared = compare_sides(a, make_side(scene, factor, random), threshold);
    const std::size_t slower = compared.count(Verdict::slower);
    verdicts.any_difference += slower + compared.count(Verdict::faster) > 0 ? 1.0 / pairs_of_sides : 0;
    verdicts.slower += static_cast<double>(slower) / (pairs_of_sides * scene.points);
  }
  return verdicts;
}

TEST(Compare, EqualBuildsGetNoFalseVerdict) {
  for (const Scene& s :
       {Scene{"one round, drift not measured"}, Scene{"one round, drift measured", 12, 1, true},
        Scene{"sixty points", 60, 1, true}, Scene{"five rounds", 12, 5}, Scene{"three rounds", 12, 3},
        Scene{"five rounds, wild", 12, 5, false, {0.1, 0.8, 0.05, 0.2}},
        Scene{"one round, drift measured, wild", 12, 1, true, {0.05, 0.8, 0.03, 0.1}}}) {
    const double wrong = simulate(s, 1).any_difference;
    EXPECT_LE(wrong, 0.05) << s.name;
    std::cout << s.name << ": " << 100 * wrong << "% of the comparisons have a false verdict\n";
  }
}

TEST(Compare, IntervalsHoldTogether) {
  // With no threshold every interval that misses 1 is a false verdict.
  for (const Scene& s : {Scene{"one round", 12, 1, true}, Scene{"three rounds", 12, 3},
                         Scene{"eight rounds", 12, 8}, Scene{"eight rounds, one point", 1, 8}}) {
    EXPECT_LE(simulate(s, 1, 0).any_difference, 0.06) << s.name;
  }
}

TEST(Compare, TenPercentAreFound) {
  EXPECT_GE(simulate({"five rounds", 4, 5}, 1.1).slower, 0.95);
  EXPECT_GE(simulate({"eight rounds", 20, 8}, 1.1).slower, 0.95);
  EXPECT_GE(simulate({"quiet, drift measured", 12, 1, true, {0.005, 0.3, 0.003, 0.02}}, 1.1).slower, 0.9);
}

TEST(Compare, FasterIsSlowerTheOtherWayRound) {
  std::mt19937_64 random(1);
  const Scene scene{"", 6, 5, false, {0.005, 0.3, 0.003, 0}};
  const std::vector<MeasuredPoint> a = make_side(scene, 1, random);
  const std::vector<MeasuredPoint> b = make_side(scene, 1.3, random);
  EXPECT_EQ(compare_sides(a, b, 0.02).count(Verdict::slower), 6U);
  EXPECT_TRUE(compare_sides(a, b, 0.02).worse());
  EXPECT_EQ(compare_sides(b, a, 0.02).count(Verdict::faster), 6U);
  EXPECT_FALSE(compare_sides(b, a, 0.02).worse());
  EXPECT_EQ(compare_sides(a, a, 0.02).count(Verdict::same), 6U) << "rounds that agree to the last digit";
  EXPECT_EQ(compare_sides(a, b, 0.5).count(Verdict::same), 6U) << "within a wide threshold";
}

TEST(Compare, ADisturbedRoundDecidesNothing) {
  const std::vector<MeasuredPoint> a{point("p", std::vector<double>(20, 10.0))};
  std::vector<MeasuredPoint> b{point("p", std::vector<double>(20, 20.0))};
  EXPECT_EQ(compare_sides(a, b, 0.02).points[0].verdict, Verdict::slower);
  b[0].rounds[0].disturbances = {"another process used 1.2 cores"};
  const ComparedPoint p = compare_sides(a, b, 0.02).points[0];
  EXPECT_EQ(p.verdict, Verdict::undecided);
  EXPECT_EQ(p.reason, "B was disturbed: another process used 1.2 cores");
  EXPECT_DOUBLE_EQ(p.ratio.value, 2);
}

TEST(Compare, DriftWidensTheInterval) {
  std::vector<MeasuredPoint> a{point("p", std::vector<double>(20, 10.0))};
  std::vector<MeasuredPoint> b{point("p", std::vector<double>(20, 11.0))};
  EXPECT_EQ(compare_sides(a, b, 0.02).points[0].verdict, Verdict::slower);
  for (auto* side : {&a, &b}) {
    side->front().rounds[0].drift = 0.05;
    side->front().rounds[0].drift_medians = 10;
  }
  EXPECT_EQ(compare_sides(a, b, 0.02).points[0].verdict, Verdict::undecided);
}

TEST(Compare, OneSampleDecidesNothing) {
  const ComparedPoint p = compare_sides({point("p", {10})}, {point("p", {30})}, 0.02).points[0];
  EXPECT_EQ(p.verdict, Verdict::undecided);
  EXPECT_EQ(p.ratio.low, 0);
  EXPECT_TRUE(std::isinf(p.ratio.high));
}

TEST(Compare, BitsAreComparedWhereBothAreKnown) {
  std::vector<MeasuredPoint> a{point("p", std::vector<double>(9, 1.0))};
  std::vector<MeasuredPoint> b = a;
  EXPECT_FALSE(compare_sides(a, b, 0.02).points[0].same_bits.has_value());
  a[0].rounds[0].logits_hash = "1";
  EXPECT_FALSE(compare_sides(a, b, 0.02).points[0].same_bits.has_value());
  b[0].rounds[0].logits_hash = "1";
  EXPECT_EQ(compare_sides(a, b, 0.02).points[0].same_bits, true);
  b[0].rounds[0].logits_hash = "2";
  EXPECT_EQ(compare_sides(a, b, 0.02).points[0].same_bits, false);
  EXPECT_TRUE(compare_sides(a, b, 0.02).worse());
  b[0].rounds[0].input_hash = "another";
  EXPECT_FALSE(compare_sides(a, b, 0.02).points[0].same_bits.has_value());
}

TEST(Compare, AFailureDecidesNothingButIsWorse) {
  const std::vector<MeasuredPoint> good{point("p", std::vector<double>(9, 1.0))};
  const std::vector<MeasuredPoint> bad{{"p", {"p", "", ""}, {}, "its bits differ"}};
  const ComparedSides broken = compare_sides(good, bad, 0.02);
  EXPECT_EQ(broken.points[0].reason, "B could not be measured: its bits differ");
  EXPECT_TRUE(broken.worse());
  EXPECT_FALSE(compare_sides(bad, good, 0.02).worse());
}

TEST(Compare, PointsAreMatchedByTheSurestKey) {
  const std::vector<double> samples(9, 1.0);
  std::vector<MeasuredPoint> a{point("x", samples), point("y", samples), point("z", samples)};
  std::vector<MeasuredPoint> b{point("z", samples), point("w", samples), point("y2", samples)};
  a[1].keys[2] = b[2].keys[2] = "streams=2";
  const ComparedSides compared = compare_sides(a, b, 0.02);
  ASSERT_EQ(compared.points.size(), 2U);
  EXPECT_EQ(compared.points[0].name, "y");
  EXPECT_EQ(compared.points[1].name, "z");
  EXPECT_EQ(compared.only_a, std::vector<std::string>{"x"});
  EXPECT_EQ(compared.only_b, std::vector<std::string>{"w"});
  EXPECT_DOUBLE_EQ(compared.level, 0.975) << "two intervals that hold together with 95%";
}

}  // namespace
}  // namespace halotile
