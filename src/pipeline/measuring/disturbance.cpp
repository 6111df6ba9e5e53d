#include "pipeline/measuring/disturbance.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "pipeline/measuring/statistics.hpp"

namespace halotile {
namespace {

// Below these, effects are smaller than the spread of ordinary samples.
constexpr double shortest_watch = 0.05;  // seconds; counters of the system tick every 0.01 s
constexpr double other_share = 0.10;     // of one core
constexpr double stolen_share = 0.02;    // of one core
constexpr double clock_drop = 0.05;
constexpr double sample_drift = 0.03;
constexpr double mode_distance = 0.05;

double seconds_of(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

template <typename Number>
Number read_number(const std::string& path) {
  Number value{};
  std::ifstream(path) >> value;
  return value;
}

// The lines "cpu3 user nice system idle iowait irq softirq steal ..." of the cores in `set`; see proc(5).
void read_cores(const cpu_set_t& set, LoadCounters& counters) {
  const auto tick = 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::ifstream stat("/proc/stat");
  for (std::string line; std::getline(stat, line);) {
    int core = 0;
    int read = 0;
    if (std::sscanf(line.c_str(), "cpu%d%n", &core, &read) != 1) continue;
    if (core >= CPU_SETSIZE || !CPU_ISSET(core, &set)) continue;
    std::istringstream fields(line.substr(static_cast<std::size_t>(read)));
    double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, soft_irq = 0, stolen = 0;
    fields >> user >> nice >> system >> idle >> waiting >> irq >> soft_irq >> stolen;
    counters.all_cpu_seconds += tick * (user + nice + system + irq + soft_irq);
    counters.stolen_seconds += tick * stolen;
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu{}/", core);
    counters.throttled += read_number<std::int64_t>(folder + "thermal_throttle/core_throttle_count");
    const double clock = 1e-3 * read_number<double>(folder + "cpufreq/scaling_cur_freq");
    if (clock > 0) counters.clocks[core] = clock;
  }
}

struct Modes {
  double between = 0;  // share of the variance that lies between the two
  double low = 0;      // their means
  double high = 0;
  double smaller = 0;  // share of the samples in the smaller one
};

// The split in two that explains most of the variance (Otsu, IEEE Trans. SMC 9, 1979).
Modes split(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto n = static_cast<double>(samples.size());
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / n;
  double variance = 0;
  for (const double s : samples) variance += (s - mean) * (s - mean) / n;
  Modes best;
  double below = 0;
  for (std::size_t i = 1; i < samples.size() && variance > 0; ++i) {
    below += samples[i - 1];
    const auto k = static_cast<double>(i);
    const double low = below / k;
    const double high = (mean * n - below) / (n - k);
    const double between = k * (n - k) / (n * n) * (high - low) * (high - low) / variance;
    if (between > best.between) best = {between, low, high, std::min(k, n - k) / n};
  }
  return best;
}

}  // namespace

LoadCounters read_load() {
  LoadCounters counters;
  counters.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  counters.own_cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) read_cores(set, counters);
  return counters;
}

std::vector<std::string> disturbances(const LoadCounters& before, const LoadCounters& after) {
  std::vector<std::string> seen;
  const double wall = after.seconds - before.seconds;
  if (wall < shortest_watch) return seen;
  const double others =
      (after.all_cpu_seconds - before.all_cpu_seconds - (after.own_cpu_seconds - before.own_cpu_seconds)) /
      wall;
  if (others > other_share)
    seen.push_back(fmt::format("other processes took {:.0f}% of a core", 100 * others));
  const double stolen = (after.stolen_seconds - before.stolen_seconds) / wall;
  if (stolen > stolen_share)
    seen.push_back(fmt::format("the hypervisor took {:.0f}% of a core", 100 * stolen));
  if (after.throttled > before.throttled) seen.emplace_back("the processor was throttled for heat");
  double drop = 0;
  for (const auto& [core, clock] : before.clocks) {
    const auto now = after.clocks.find(core);
    if (now != after.clocks.end()) drop = std::max(drop, 1 - now->second / clock);
  }
  if (drop > clock_drop) seen.push_back(fmt::format("the clock fell by {:.0f}%", 100 * drop));
  return seen;
}

std::vector<std::string> disturbances(std::span<const double> samples) {
  std::vector<std::string> seen;
  constexpr std::size_t enough = 18;  // six in a third
  if (samples.size() < enough) return seen;
  const std::size_t third = samples.size() / 3;
  const Estimate first = quartiles(samples.first(third));
  const Estimate last = quartiles(samples.last(third));
  const double drift = last.value / first.value - 1;
  // Quartiles, not intervals of the medians, which grow wide just where neighbours resemble each other.
  const bool apart = first.high < last.low || last.high < first.low;
  if (apart && std::abs(drift) > sample_drift)
    seen.push_back(fmt::format("the last third of the runs took {:+.0f}% against the first", 100 * drift));
  const Modes modes = split({samples.begin(), samples.end()});
  constexpr double explained = 0.9;  // an even spread has 0.75, a normal one 0.64
  constexpr double smallest_mode = 0.15;
  if (modes.between > explained && modes.smaller >= smallest_mode &&
      modes.high > (1 + mode_distance) * modes.low)
    seen.push_back(fmt::format("the runs have two modes, {:.3g} and {:.3g} ms", modes.low, modes.high));
  return seen;
}

}  // namespace halotile
