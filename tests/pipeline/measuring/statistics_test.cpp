// Intervals of medians and ratios: known values, and coverage by simulation of noise like that of run times.
#include "pipeline/measuring/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

namespace halotile {
namespace {

#ifdef HALOTILE_SANITIZED
constexpr int trials = 200;
constexpr double slack = 0.03;
#else
constexpr int trials = 2000;
constexpr double slack = 0;
#endif

// Run times around a true median of 100, whose logarithms follow a first-order Gaussian process.
enum class Tail : std::uint8_t { normal, lognormal, student2 };

struct Noise {
  const char* name;
  Tail tail;
  double correlation;  // of neighbouring samples
};

std::vector<double> draw(const Noise& noise, std::size_t n, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<double> samples(n);
  double z = normal(random);
  for (double& x : samples) {
    switch (noise.tail) {
      case Tail::normal:
        x = 100 + z;
        break;
      case Tail::lognormal:
        x = 100 * std::exp(0.3 * z);
        break;
      case Tail::student2: {  // the exact quantile function of two degrees of freedom: no finite variance
        const double a = std::clamp(std::erf(z / std::numbers::sqrt2), -1 + 1e-12, 1 - 1e-12);
        x = 100 * std::exp(0.01 * a * std::sqrt(2 / (1 - a * a)));
        break;
      }
    }
    z = noise.correlation * z + std::sqrt(1 - noise.correlation * noise.correlation) * normal(random);
  }
  return samples;
}

double coverage(const Noise& noise, std::size_t n, double level) {
  std::mt19937_64 random(20 + n);
  int covered = 0;
  for (int t = 0; t < trials; ++t) {
    const Estimate e = median_interval(draw(noise, n, random), level);
    covered += e.low <= 100 && 100 <= e.high ? 1 : 0;
  }
  return static_cast<double>(covered) / trials;
}

TEST(Statistics, QuantilesInterpolate) {
  const std::vector<double> samples{4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(samples, 0.5), 2.5);
  const Estimate q = quartiles(samples);
  EXPECT_DOUBLE_EQ(q.low, 1.75);
  EXPECT_DOUBLE_EQ(q.high, 3.25);
  EXPECT_EQ(quantile({}, 0.5), 0);
}

TEST(Statistics, FactorsAreThoseOfTheTables) {
  EXPECT_NEAR(normal_factor(0.95), 1.959964, 1e-6);
  EXPECT_NEAR(normal_factor(0.999), 3.290527, 1e-6);
  EXPECT_NEAR(student_factor(0.95, 1), 12.7062, 1e-4);
  EXPECT_NEAR(student_factor(0.95, 2), 4.30265, 1e-4);
  EXPECT_NEAR(student_factor(0.95, 3), 3.18245, 1e-4);
  EXPECT_NEAR(student_factor(0.99, 7), 3.49948, 1e-4);
  EXPECT_NEAR(student_factor(0.95, 100), 1.98397, 1e-4);
}

TEST(Statistics, IntervalOfIndependentSamplesIsTheBinomialOne) {
  // Ten samples without order: ranks 2 and 9 cover 97.9%, 3 and 8 only 89.1%.
  const std::vector<double> samples{6, 1, 10, 3, 8, 2, 9, 5, 7, 4};
  const Estimate e = median_interval(samples);
  EXPECT_DOUBLE_EQ(e.low, 2);
  EXPECT_DOUBLE_EQ(e.value, 5.5);
  EXPECT_DOUBLE_EQ(e.high, 9);
}

TEST(Statistics, FewSamplesHaveWideIntervals) {
  const Estimate one = median_interval(std::vector<double>{5});
  EXPECT_EQ(one.low, 0);
  EXPECT_EQ(one.value, 5);
  EXPECT_TRUE(std::isinf(one.high));
  const Estimate two = median_interval(std::vector<double>{5, 5.5});
  EXPECT_LT(two.low, 3);
  EXPECT_GT(two.high, 8);
  const Estimate three = median_interval(std::vector<double>{5, 5.1, 5.2});
  EXPECT_LT(three.low, 5);
  EXPECT_GT(three.high, 5.2);
  const Estimate equal = median_interval(std::vector<double>(7, 3.0));
  EXPECT_EQ(equal.low, 3);
  EXPECT_EQ(equal.high, 3);
}

TEST(Statistics, AStepInTheMiddleLeavesNothingToTrust) {
  // Half of the runs on a slower clock: forty samples that know as much as a few.
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  std::vector<double> samples;
  for (int i = 0; i < 40; ++i) samples.push_back((i < 20 ? 100 : 120) + normal(random));
  EXPECT_LT(effective_samples(samples), 4);
  const Estimate e = median_interval(samples);
  EXPECT_LT(e.low, 100);
  EXPECT_GT(e.high, 120);
}

TEST(Statistics, CoverageOfIndependentNoise) {
  for (const Noise& noise : {Noise{"normal", Tail::normal, 0}, Noise{"lognormal", Tail::lognormal, 0},
                             Noise{"student", Tail::student2, 0}}) {
    for (const std::size_t n : {3U, 5U, 6U, 10U, 20U, 50U}) {
      EXPECT_GE(coverage(noise, n, 0.95), 0.93 - slack) << noise.name << ", " << n << " samples";
    }
    EXPECT_GE(coverage(noise, 20, 0.999), 0.998 - slack) << noise.name;
    EXPECT_LE(coverage(noise, 50, 0.5), 0.65 + slack) << noise.name << ": an interval too wide to mean it";
  }
}

TEST(Statistics, CoverageOfCorrelatedNoise) {
  struct Case {
    double correlation;
    std::size_t n;
    double at_least;
  };
  for (const Tail tail : {Tail::normal, Tail::lognormal, Tail::student2}) {
    for (const Case& c : {Case{0.3, 10, 0.945}, Case{0.3, 50, 0.94}, Case{0.6, 10, 0.89}, Case{0.6, 50, 0.92},
                          Case{0.6, 200, 0.93}, Case{0.8, 50, 0.88}, Case{0.8, 200, 0.92}}) {
      EXPECT_GE(coverage({"", tail, c.correlation}, c.n, 0.95), c.at_least - slack)
          << "tail " << static_cast<int>(tail) << ", correlation " << c.correlation << ", " << c.n
          << " samples";
    }
  }
}

TEST(Statistics, RatioHasItsInterval) {
  std::mt19937_64 random(9);
  const Noise noise{"", Tail::lognormal, 0.3};
  int covered = 0;
  int misses_below = 0;
  for (int t = 0; t < trials; ++t) {
    const std::vector<double> a = draw(noise, 15, random);
    std::vector<double> b = draw(noise, 25, random);
    for (double& x : b) x *= 1.1;
    const Estimate e = ratio_of_medians(a, b);
    EXPECT_LE(e.low, e.value);
    EXPECT_LE(e.value, e.high);
    covered += e.low <= 1.1 && 1.1 <= e.high ? 1 : 0;
    misses_below += e.high < 1.1 ? 1 : 0;
  }
  EXPECT_GE(covered, (0.94 - slack) * trials);
  EXPECT_LE(misses_below, (0.03 + slack) * trials) << "half of the misses on either side";
}

TEST(Statistics, MeanHasStudentsInterval) {
  const Estimate e = mean_interval(std::vector<double>{1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(e.value, 3);
  EXPECT_NEAR(e.high - e.value, 2.776445 * std::sqrt(2.5 / 5), 1e-4);
  EXPECT_TRUE(std::isinf(mean_interval(std::vector<double>{1}).high));
  EXPECT_EQ(standard_deviation(std::vector<double>{1}), 0);
}

}  // namespace
}  // namespace halotile
