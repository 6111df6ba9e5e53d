// Measuring: warm-up, then runs until the median is known well enough or time is up.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace halotile {

/// `measure` of experiments.
struct MeasureSettings {
  int warmup = 2;
  int min_runs = 10;
  double max_seconds = 15;  ///< no new run starts after this, warm-up not counted; at least one run is made
  double tightness = 0.02;  ///< of the median's interval: its width as a share of the median
  bool cold = false;        ///< caches are flushed before each run
};

/// Why measuring stopped.
enum class StopReason : std::uint8_t {
  tight,  ///< the median's interval is as narrow as asked
  time,   ///< measure.max_seconds were up
  runs    ///< measure.min_runs were made, too few for an interval
};

/// The words that stores and results use, in the order of StopReason.
inline constexpr std::array stop_words{"tight", "time", "runs"};
[[nodiscard]] constexpr const char* to_string(StopReason reason) {
  return stop_words.at(static_cast<std::size_t>(reason));
}
/// In words: "measure.max_seconds were up".
[[nodiscard]] const char* reason_text(StopReason reason);

/// Wall times of the counted runs and what is said of them. All in milliseconds.
struct Timing {
  std::vector<double> samples;  ///< in the order they were taken
  double median = 0;
  double q1 = 0;  ///< quartiles
  double q3 = 0;
  double low = 0;  ///< 95% interval of the median, from order statistics
  double high = 0;
  StopReason stop = StopReason::time;

  bool operator==(const Timing&) const = default;
};

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

}  // namespace halotile
