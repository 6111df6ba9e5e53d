// Empties caches, so that a run starts cold.
#pragma once

#include <functional>

#include "kernels/devices/device.hpp"

namespace halotile {

/// Bytes of the largest cache that a core of this machine has or shares.
[[nodiscard]] std::size_t last_level_cache();

/// What fills all caches between `device` and its memory with something else. On the CPU a thread on every
/// core that the process may use writes more than the last level holds (its own levels too), on other devices
/// more than any L2 cache holds is written.
[[nodiscard]] std::function<void()> cache_flusher(Device& device);

}  // namespace halotile
