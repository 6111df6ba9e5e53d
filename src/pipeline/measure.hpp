// Measuring: warm-up, then runs until there are enough, and what is said of them.
#pragma once

#include <functional>
#include <vector>

namespace halotile {

struct MeasureSettings {
  int warmup = 2;
  int min_runs = 10;
  double max_seconds = 15;  ///< no new run starts after this, warm-up not counted; at least one run is made
};

/// Wall times of the counted runs, in order, in milliseconds.
struct Samples {
  std::vector<double> milliseconds;

  [[nodiscard]] double median() const { return quantile(0.5); }
  [[nodiscard]] double min() const { return quantile(0); }
  /// Linear interpolation between order statistics, q in [0, 1].
  [[nodiscard]] double quantile(double q) const;
};

/// Runs `work` settings.warmup times, calls `start_counting`, then runs and times it.
[[nodiscard]] Samples measure(const MeasureSettings& settings, const std::function<void()>& work,
                              const std::function<void()>& start_counting);

/// Largest resident set of this process so far, in bytes.
[[nodiscard]] std::size_t peak_memory();

}  // namespace halotile
