#include "pipeline/measure.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace halotile {

double Samples::quantile(double q) const {
  if (milliseconds.empty()) return 0;
  std::vector<double> sorted = milliseconds;
  std::sort(sorted.begin(), sorted.end());
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(at));
  const auto above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - std::floor(at));
}

Samples measure(const MeasureSettings& settings, const std::function<void()>& work,
                const std::function<void()>& start_counting) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  for (int i = 0; i < settings.warmup; ++i) work();
  start_counting();
  Samples samples;
  const Clock::time_point begin = Clock::now();
  do {
    const Clock::time_point start = Clock::now();
    work();
    samples.milliseconds.push_back(1e3 * seconds(Clock::now() - start));
  } while (static_cast<int>(samples.milliseconds.size()) < settings.min_runs &&
           seconds(Clock::now() - begin) < settings.max_seconds);
  return samples;
}

std::size_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace halotile
