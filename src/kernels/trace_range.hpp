// Named stretches of host time: NVTX ranges for profilers that listen, and slices of the trace that is being
// recorded. Where nobody listens a range costs one load.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace halotile {

/// A range that has ended. Times are std::chrono::steady_clock's, in nanoseconds.
struct HostRange {
  std::string name;
  std::int64_t thread = 0;  ///< the system's number of the thread
  std::int64_t stream = 0;  ///< the executor's stream that the range works for
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

/// Collects the ranges of all threads that end while it lives. At most one lives at a time.
class RangeRecording {
 public:
  RangeRecording();
  RangeRecording(const RangeRecording&) = delete;
  RangeRecording& operator=(const RangeRecording&) = delete;
  ~RangeRecording();
  /// The ranges so far, in the order in which they ended.
  [[nodiscard]] std::vector<HostRange> take();
};

/// steady_clock now, in nanoseconds.
[[nodiscard]] std::int64_t trace_clock();

/// A range from here to the end of the scope. `name()` makes its name, if anyone listens. Ranges of one
/// thread nest or follow each other.
class TraceRange {
 public:
  template <typename Name>
  TraceRange(std::int64_t stream, const Name& name) {
    if (wanted()) open(stream, name());
  }
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
  ~TraceRange() {
    if (is_open_) close();
  }

 private:
  static bool wanted() { return listeners_.load(std::memory_order_relaxed) != 0; }
  void open(std::int64_t stream, std::string name);
  void close() noexcept;

  friend class RangeRecording;
  static std::atomic<int> listeners_;  // a profiler, the recording

  bool is_open_ = false;
  HostRange range_;
};

}  // namespace halotile
