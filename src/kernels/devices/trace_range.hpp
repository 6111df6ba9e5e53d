// Named stretches of host time: NVTX ranges for profilers that listen, and slices of the trace that is being
// recorded. Where nobody listens a range costs one load.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "patching/tile_key.hpp"

namespace halotile {

/// What a range is for.
struct RangeLabel {
  enum class Role : std::uint8_t {
    other,
    tile,        ///< all work on a tile of one stage
    step,        ///< inside it: a layer, packing, placing
    reassembly,  ///< inside it, at its end: its core is accepted in the map of its stage
    place        ///< all cores of a stage are placed together; of `tile` image and stage alone hold
  };

  std::string name;
  Role role = Role::other;
  TileKey tile = {};        ///< of its first image; of a range for a tile
  std::int64_t images = 0;  ///< that the tile holds
};

/// A range that has ended. Times are std::chrono::steady_clock's, in nanoseconds.
struct HostRange {
  std::string name;
  std::int64_t thread = 0;  ///< the system's number of the thread
  std::int64_t stream = 0;  ///< the executor's stream that the range works for
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  RangeLabel::Role role = RangeLabel::Role::other;
  TileKey tile = {};
  std::int64_t images = 0;
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

/// A range from here to the end of the scope. `label()` makes its label, or its name alone, if anyone
/// listens. Ranges of one thread nest or follow each other.
class TraceRange {
 public:
  template <std::invocable Label>
  TraceRange(std::int64_t stream, const Label& label) {
    if (!wanted()) return;
    if constexpr (std::convertible_to<std::invoke_result_t<Label>, RangeLabel>) {
      open(stream, label());
    } else {
      open(stream, {label(), RangeLabel::Role::other, {}, 0});
    }
  }
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
  ~TraceRange() {
    if (is_open_) close();
  }

 private:
  static bool wanted() { return listeners_.load(std::memory_order_relaxed) != 0; }
  void open(std::int64_t stream, RangeLabel label);
  void close() noexcept;

  friend class RangeRecording;
  static std::atomic<int> listeners_;  // a profiler, the recording

  bool is_open_ = false;
  HostRange range_;
};

}  // namespace halotile
