// What a series of run times says of their median, and two series of their ratio.
//
// Run times have long tails, and neighbouring ones resemble each other: the clock drifts, a neighbour works
// for a while. So the median's interval comes from order statistics, which need no distribution, and its
// ranks are spread by the autocorrelation of the signs "above or below the median", which decides the
// variance of a median and which no outlier can distort. docs/compare.md has the derivation and the measured
// coverage.
#pragma once

#include <cstddef>
#include <span>

namespace halotile {

/// An interval around an estimate.
struct Estimate {
  double low = 0;
  double value = 0;
  double high = 0;
};

/// Linear interpolation between order statistics, q in [0, 1]; 0 without samples.
[[nodiscard]] double quantile(std::span<const double> samples, double q);

/// First quartile, median, third quartile.
[[nodiscard]] Estimate quartiles(std::span<const double> samples);

/// The median of positive samples, in the order they were taken, and an interval that covers the true one in
/// `level` of all cases. Where there are too few samples for a level (six independent ones for 95%), the
/// interval is wider than the samples' range; of a single sample it is [0, infinity].
[[nodiscard]] Estimate median_interval(std::span<const double> samples, double level = 0.95);

/// median(b) / median(a) of positive samples with its interval, from the two medians' intervals on the
/// logarithmic scale (Zou and Donner's MOVER).
[[nodiscard]] Estimate ratio_of_medians(std::span<const double> a, std::span<const double> b,
                                        double level = 0.95);

/// The mean of independent samples with Student's interval.
[[nodiscard]] Estimate mean_interval(std::span<const double> samples, double level = 0.95);

/// How many independent samples would tell as much of the median as these; from 1 to their number.
[[nodiscard]] double effective_samples(std::span<const double> samples);

/// Standard deviation with n - 1 in the denominator; 0 of fewer than two samples.
[[nodiscard]] double standard_deviation(std::span<const double> samples);

/// The factor of the two-sided interval of `level`: 1.96 at 95%.
[[nodiscard]] double normal_factor(double level);
/// The same of Student's distribution with `freedom` >= 1 degrees of freedom.
[[nodiscard]] double student_factor(double level, std::size_t freedom);

}  // namespace halotile
