// Where the time of runs goes: by line (a layer, or other work) and by stream.
//
// On the CPU the worker threads read their own clock around every piece of work, always. A device with memory
// of its own works behind the host's back: there the pieces are timed only in profiled runs, between points
// in time that the streams pass.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/devices/device.hpp"

namespace halotile {

/// One layer's share of a run, over all streams.
struct LayerTime {
  std::string name;
  /// Layer type; or "pack", "place", "borders", "host_to_device", "device_to_host", "allocation".
  std::string kind;
  double seconds = 0;  ///< summed over streams and runs
  double flops = 0;    ///< per run, recomputed ones included
  double bytes = 0;    ///< per run, least traffic: what each piece of work reads and writes, weights once
  std::int64_t launches = 0;  ///< pieces of work that were timed, summed over streams and runs
};

class RunTimes {
 public:
  /// A new line; returns its number.
  std::size_t add_line(const std::string& name, const std::string& kind, double flops, double bytes = 0);
  /// For lines whose traffic is known only later.
  void set_bytes(std::size_t line, double bytes) { lines_[line].bytes = bytes; }
  /// When all lines are there: `pieces` of work a run at most.
  void start(Device& device, int streams, std::size_t pieces);

  /// Around a run of a device with memory of its own, synchronized at its end.
  void begin_profile();
  void end_profile();

  /// Does `work`, a piece of line `line` on stream number `number`.
  template <typename Work>
  void timed(std::size_t line, int number, Stream& stream, const Work& work) {
    if (on_host_) {
      clocked(line, number, work);
    } else if (profiling_) {
      const std::size_t piece = next_++;
      timeline_->mark(stream, 2 * piece);
      work();
      timeline_->mark(stream, 2 * piece + 1);
      pieces_[piece] = {line, number};
    } else {
      work();
    }
  }
  /// The same for work that the host does itself, also on behalf of a device: by the host's clock.
  template <typename Work>
  void clocked(std::size_t line, int number, const Work& work) {
    using Clock = std::chrono::steady_clock;
    if (!on_host_ && !profiling_) {
      work();
      return;
    }
    const Clock::time_point start = Clock::now();
    work();
    by_stream_[static_cast<std::size_t>(number)].add(
        line, std::chrono::duration<double>(Clock::now() - start).count());
  }

  [[nodiscard]] std::vector<LayerTime> lines() const;
  [[nodiscard]] const std::string& name(std::size_t line) const { return lines_[line].name; }
  [[nodiscard]] std::vector<double> busy_seconds() const;
  void reset();

 private:
  struct alignas(64) OfStream {
    void add(std::size_t line, double time) {
      seconds[line] += time;
      ++launches[line];
    }
    std::vector<double> seconds;  // per line
    std::vector<std::int64_t> launches;
  };
  struct Piece {
    std::size_t line = 0;
    int stream = 0;
  };

  std::vector<LayerTime> lines_;
  std::vector<OfStream> by_stream_;
  Device* device_ = nullptr;
  bool on_host_ = true;
  bool profiling_ = false;
  std::unique_ptr<Timeline> timeline_;  // two points a piece; made when first needed
  std::vector<Piece> pieces_;           // of a profiled run
  std::atomic<std::size_t> next_ = 0;
};

}  // namespace halotile
