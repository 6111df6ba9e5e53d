// A line on standard error that tells how far a long run is, when a person watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace halotile {

class Progress {
 public:
  /// Shows nothing unless it is `wanted` and standard error is a terminal.
  Progress(std::int64_t total, bool wanted, std::string unit = "images");
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// `done` so far; draws at most ten times a second.
  void update(std::int64_t done);
  /// Takes the line away, for others to print.
  void clear();
  /// Prints a note (see text.hpp) on a line of its own.
  void note(const std::string& line);

 private:
  using Clock = std::chrono::steady_clock;

  std::int64_t total_;
  std::string unit_;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace halotile
