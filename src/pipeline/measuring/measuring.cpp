#include "pipeline/measuring/measuring.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "pipeline/measuring/statistics.hpp"

namespace halotile {
namespace {

bool is_tight(const std::vector<double>& samples, double tightness) {
  const Estimate median = median_interval(samples);
  return median.high - median.low <= tightness * median.value;
}

}  // namespace

Timing measure(const MeasureSettings& settings, const std::function<void()>& work,
               const MeasureHooks& hooks) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  for (int i = 0; i < settings.warmup; ++i) {
    hooks.before_run();
    work();
  }
  hooks.start_counting();
  std::vector<double> samples;
  const auto least = static_cast<std::size_t>(settings.min_runs);
  const bool asks_for_interval = settings.min_runs >= runs_for_an_interval;
  std::size_t next_look = least;
  const Clock::time_point begin = Clock::now();
  do {
    hooks.before_run();
    const Clock::time_point start = Clock::now();
    work();
    samples.push_back(1e3 * seconds(Clock::now() - start));
    if (samples.size() < next_look) continue;
    if (!asks_for_interval) return timing_of(std::move(samples), StopReason::runs);
    if (is_tight(samples, settings.tightness)) return timing_of(std::move(samples), StopReason::tight);
    // Looking costs more the more samples there are, and every look is a chance to be wrong.
    next_look = samples.size() + std::max<std::size_t>(1, samples.size() / 8);
  } while (seconds(Clock::now() - begin) < settings.max_seconds);
  return timing_of(std::move(samples), StopReason::time);
}

Timing timing_of(std::vector<double> milliseconds, StopReason stop) {
  const Estimate quarters = quartiles(milliseconds);
  const Estimate median = median_interval(milliseconds);
  Timing timing;
  timing.median = median.value;
  timing.q1 = quarters.low;
  timing.q3 = quarters.high;
  // Too few samples for an interval: their range is all that is known.
  const auto [low, high] = std::minmax_element(milliseconds.begin(), milliseconds.end());
  timing.low = std::max(median.low, milliseconds.size() < runs_for_an_interval ? *low : 0);
  timing.high = milliseconds.size() < runs_for_an_interval ? *high : median.high;
  timing.stop = stop;
  timing.samples = std::move(milliseconds);
  return timing;
}

const char* reason_text(StopReason reason) {
  switch (reason) {
    case StopReason::tight:
      return "the median's interval is as narrow as asked";
    case StopReason::time:
      return "measure.max_seconds were up";
    case StopReason::runs:
      return "measure.min_runs were made";
  }
  return "";
}

}  // namespace halotile
