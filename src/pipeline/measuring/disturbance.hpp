// What disturbed a measurement: other work on the cores, a slower clock, samples that tell of two machines.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace halotile {

/// Counters of the system at one time. What cannot be read here stays 0 or empty.
struct LoadCounters {
  double seconds = 0;            ///< of a steady clock
  double own_cpu_seconds = 0;    ///< of this process, all threads
  double all_cpu_seconds = 0;    ///< of everybody on the cores that this process may use
  double stolen_seconds = 0;     ///< that the hypervisor took from those cores
  std::int64_t throttled = 0;    ///< times those cores were throttled for heat
  std::map<int, double> clocks;  ///< MHz by core
};

[[nodiscard]] LoadCounters read_load();

/// What happened between two readings, in words; empty when nothing is worth telling.
[[nodiscard]] std::vector<std::string> disturbances(const LoadCounters& before, const LoadCounters& after);

/// What the samples themselves tell, in the order they were taken: that they drift or have two modes.
[[nodiscard]] std::vector<std::string> disturbances(std::span<const double> samples);

}  // namespace halotile
