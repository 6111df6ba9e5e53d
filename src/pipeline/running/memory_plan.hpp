// Offsets by lifetimes: values that are never needed at the same time share memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace halotile {

/// Bytes of a value, and when it holds something: from step `first` to step `last`, both included.
struct Lifetime {
  std::size_t bytes = 0;
  std::size_t first = 0;
  std::size_t last = 0;

  [[nodiscard]] bool meets(const Lifetime& other) const { return first <= other.last && other.first <= last; }
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  ///< of each value, aligned
  std::size_t bytes = 0;
};

/// Values whose lifetimes meet never overlap. Of several ways to lay them out, the one of the fewest bytes;
/// of a chain, whose neighbours alone meet, never more than two halves that they take in turns.
[[nodiscard]] MemoryPlan plan_memory(std::span<const Lifetime> values);

}  // namespace halotile
