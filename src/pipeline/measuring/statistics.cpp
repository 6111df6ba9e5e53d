#include "pipeline/measuring/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

namespace halotile {
namespace {

constexpr std::size_t fewest_to_correlate = 5;  // fewer samples tell nothing of their order

std::vector<double> sorted(std::span<const double> samples) {
  std::vector<double> list(samples.begin(), samples.end());
  std::sort(list.begin(), list.end());
  return list;
}

double quantile_of_sorted(std::span<const double> list, double q) {
  if (list.empty()) return 0;
  const double at = q * static_cast<double>(list.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(at));
  const std::size_t above = std::min(below + 1, list.size() - 1);
  return std::lerp(list[below], list[above], at - std::floor(at));
}

// Where `function`, which falls, passes `wanted`; between 0 and as far as it takes.
template <typename Function>
double solve_falling(const Function& function, double wanted) {
  double high = 1;
  while (function(high) > wanted && high < 1e12) high *= 2;
  double low = 0;
  for (int i = 0; i < 200; ++i) {
    const double middle = std::midpoint(low, high);
    (function(middle) > wanted ? low : high) = middle;
  }
  return std::midpoint(low, high);
}

// Probability outside [-t, t] of Student's distribution: the finite series of Abramowitz and Stegun 26.7.3-4.
double student_outside(double t, std::size_t freedom) {
  const double angle = std::atan2(t, std::sqrt(static_cast<double>(freedom)));
  const double cosine2 = std::cos(angle) * std::cos(angle);
  const bool odd = freedom % 2 == 1;
  double term = odd ? std::cos(angle) : 1;
  double sum = freedom == 1 ? 0 : term;
  for (std::size_t k = odd ? 3 : 2; k + 2 <= freedom; k += 2) {
    term *= cosine2 * static_cast<double>(k - 1) / static_cast<double>(k);
    sum += term;
  }
  const double inside = odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
  return 1 - inside;
}

// Lag-1 autocorrelation of the signs of (sample - median), with the usual correction of its bias towards
// -1/n. 0 when all samples are equal.
double sign_autocorrelation(std::span<const double> samples, double median) {
  const auto sign = [median](double x) { return (x > median ? 1.0 : 0.0) - (x < median ? 1.0 : 0.0); };
  double squares = 0;
  double products = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    squares += std::abs(sign(samples[i]));
    if (i > 0) products += sign(samples[i - 1]) * sign(samples[i]);
  }
  if (squares == 0) return 0;
  const auto n = static_cast<double>(samples.size());
  return (n * products / squares + 1) / (n - 3);
}

// By how much correlation raises the variance of the median of n samples: 1 + 2 sum (1 - k/n) r_k, with the
// sign correlations r_k of the first-order Gaussian process that has the r_1 at hand.
double variance_inflation(double sign_correlation, std::size_t n) {
  const double rho = std::sin(std::numbers::pi / 2 * std::clamp(sign_correlation, 0.0, 1.0));
  double sum = 0;
  double power = 1;
  for (std::size_t k = 1; k < n; ++k) {
    power *= rho;
    if (power < 1e-6) break;
    sum += (1 - static_cast<double>(k) / static_cast<double>(n)) * std::asin(power);
  }
  return 1 + 4 / std::numbers::pi * sum;
}

}  // namespace

double quantile(std::span<const double> samples, double q) { return quantile_of_sorted(sorted(samples), q); }

Estimate quartiles(std::span<const double> samples) {
  const std::vector<double> list = sorted(samples);
  return {quantile_of_sorted(list, 0.25), quantile_of_sorted(list, 0.5), quantile_of_sorted(list, 0.75)};
}

double effective_samples(std::span<const double> samples) {
  const auto n = static_cast<double>(samples.size());
  if (samples.size() < fewest_to_correlate) return n;
  const double r = sign_autocorrelation(samples, quantile(samples, 0.5));
  return n / variance_inflation(r, samples.size());
}

Estimate median_interval(std::span<const double> samples, double level) {
  if (samples.empty()) return {0, 0, std::numeric_limits<double>::infinity()};
  const std::vector<double> list = sorted(samples);
  const double median = quantile_of_sorted(list, 0.5);
  if (list.size() == 1) return {0, median, std::numeric_limits<double>::infinity()};
  const auto n = static_cast<double>(list.size());
  const double centre = (n + 1) / 2;
  // The binomial number of samples below the true median has the standard deviation sqrt(n) / 2.
  const double factor =
      list.size() < fewest_to_correlate ? student_factor(level, list.size() - 1) : normal_factor(level);
  const double reach = factor * n / (2 * std::sqrt(effective_samples(samples)));
  const double rank = centre - reach;
  if (rank >= 1) {
    const auto k = static_cast<std::size_t>(std::floor(rank));
    return {list[k - 1], median, list[list.size() - k]};
  }
  // Beyond the samples: as if the median's distribution went on as it does within their range.
  const double beyond = reach / (centre - 1);
  return {median * std::pow(list.front() / median, beyond), median,
          median * std::pow(list.back() / median, beyond)};
}

Estimate ratio_of_medians(std::span<const double> a, std::span<const double> b, double level) {
  const Estimate ma = median_interval(a, level);
  const Estimate mb = median_interval(b, level);
  const double ratio = mb.value / ma.value;
  const double below = std::hypot(std::log(mb.value / mb.low), std::log(ma.high / ma.value));
  const double above = std::hypot(std::log(mb.high / mb.value), std::log(ma.value / ma.low));
  return {ratio * std::exp(-below), ratio, ratio * std::exp(above)};
}

double standard_deviation(std::span<const double> samples) {
  if (samples.size() < 2) return 0;
  const auto n = static_cast<double>(samples.size());
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / n;
  double squares = 0;
  for (const double x : samples) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / (n - 1));
}

Estimate mean_interval(std::span<const double> samples, double level) {
  const auto n = static_cast<double>(samples.size());
  const double infinity = std::numeric_limits<double>::infinity();
  if (samples.empty()) return {-infinity, 0, infinity};
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / n;
  if (samples.size() == 1) return {-infinity, mean, infinity};
  const double reach = student_factor(level, samples.size() - 1) * standard_deviation(samples) / std::sqrt(n);
  return {mean - reach, mean, mean + reach};
}

double normal_factor(double level) {
  return solve_falling([](double z) { return std::erfc(z / std::numbers::sqrt2); }, 1 - level);
}

double student_factor(double level, std::size_t freedom) {
  return solve_falling([freedom](double t) { return student_outside(t, freedom); }, 1 - level);
}

}  // namespace halotile
