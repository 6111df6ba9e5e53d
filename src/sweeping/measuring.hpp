// Measuring: warm-up, then runs until the median is known well enough or time is up.
#pragma once

#include <functional>

#include "pipeline/experiment/measure.hpp"
#include "sweeping/record.hpp"

namespace halotile {

/// An interval of the median needs this many runs; whoever asks for fewer gets them and no more.
inline constexpr int runs_for_an_interval = 6;

/// What happens around the runs that are timed.
struct MeasureHooks {
  std::function<void()> start_counting = [] {};  ///< behind the warm-up
  std::function<void()> before_run = [] {};      ///< before each run, warm-up too; not timed
};

/// Runs `work` settings.warmup times, then times it until the interval of the median is as narrow as asked
/// (and there are min_runs), or max_seconds are up. With min_runs below runs_for_an_interval just those.
[[nodiscard]] Timing measure(const MeasureSettings& settings, const std::function<void()>& work,
                             const MeasureHooks& hooks = {});

/// Median, quartiles and interval of these samples.
[[nodiscard]] Timing timing_of(std::vector<double> milliseconds, StopReason stop);

/// In words: "measure.max_seconds were up".
[[nodiscard]] const char* reason_text(StopReason reason);

}  // namespace halotile
