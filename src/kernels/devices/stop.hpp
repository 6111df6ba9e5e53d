// The user's wish to stop.
#pragma once

#include <atomic>

#include "patching/error.hpp"

namespace halotile {

/// Set by the signal handler on Ctrl-C. Long work looks at it between its pieces.
inline std::atomic<bool> stop_requested = false;

inline void throw_if_stopped() {
  if (stop_requested.load(std::memory_order_relaxed)) throw Interrupted();
}

}  // namespace halotile
