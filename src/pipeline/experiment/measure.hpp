// How measurements are made, as configs say it, and the memory that a process takes.
#pragma once

#include <cstddef>

namespace halotile {

struct MeasureSettings {
  int warmup = 2;
  int min_runs = 10;
  double max_seconds = 15;  ///< no new run starts after this, warm-up not counted; at least one run is made
  double tightness = 0.02;  ///< of the median's interval: its width as a share of the median
  bool cold = false;        ///< caches are flushed before each run
};

/// Largest resident set of this process since the last reset, in bytes.
[[nodiscard]] std::size_t peak_memory();
/// Gives freed memory back to the system and forgets the peak so far. Where the system does not let it, the
/// peak stays the process's.
void reset_peak_memory();

}  // namespace halotile
