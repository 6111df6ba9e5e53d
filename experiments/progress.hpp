// A line on standard error that tells how far a long run is, when a person watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace halotile {

class Progress {
 public:
  /// Shows nothing unless standard error is a terminal and there is more than one batch.
  Progress(std::int64_t images, bool several_batches);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// `done` images so far; draws at most ten times a second.
  void update(std::int64_t done);
  /// Prints a line of its own on standard error.
  void note(const std::string& line);

 private:
  using Clock = std::chrono::steady_clock;

  void clear();

  std::int64_t images_;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace halotile
