// Which process made a mark in a file, and whether it still lives.
#pragma once

#include <cstdint>
#include <string>

namespace halotile {

/// A process, told apart from any other at any time.
struct ProcessName {
  std::string place;       ///< the running system and its process numbering (containers have their own)
  std::int64_t pid = 0;    ///< numbers are used again,
  std::int64_t start = 0;  ///< start times are not: clock ticks since the system started

  bool operator==(const ProcessName&) const = default;
};

[[nodiscard]] ProcessName this_process();

/// False too for processes of other places, whom nobody here could tell.
[[nodiscard]] bool alive(const ProcessName& process);

}  // namespace halotile
