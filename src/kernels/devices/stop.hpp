// The user's wish to stop.
#pragma once

#include <atomic>

#include "patching/error.hpp"

namespace halotile {

/// Set by the signal handler on Ctrl-C. Long work looks at it between its pieces. A loop of several threads,
/// which exceptions must not leave, skips what is left and calls throw_if_stopped() behind it.
inline std::atomic<bool> stop_requested = false;

inline void throw_if_stopped() {
  if (stop_requested.load(std::memory_order_relaxed)) throw Interrupted();
}

/// How many Unstoppable there are.
inline std::atomic<int> unstoppable = 0;

/// While one lives, the process is not ended however long it takes: for the moments in which files that
/// belong together get their names.
class Unstoppable {
 public:
  Unstoppable() { ++unstoppable; }
  Unstoppable(const Unstoppable&) = delete;
  Unstoppable& operator=(const Unstoppable&) = delete;
  ~Unstoppable() { --unstoppable; }
};

}  // namespace halotile
