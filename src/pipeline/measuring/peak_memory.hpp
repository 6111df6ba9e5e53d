// The memory that this process takes.
#pragma once

#include <cstddef>

namespace halotile {

/// Largest resident set of this process since the last reset, in bytes.
[[nodiscard]] std::size_t peak_memory();
/// Gives freed memory back to the system and forgets the peak so far. Where the system does not let it, the
/// peak stays the process's.
void reset_peak_memory();

}  // namespace halotile
