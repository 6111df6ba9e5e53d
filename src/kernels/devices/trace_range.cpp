#include "kernels/devices/trace_range.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <utility>

#ifdef HALOTILE_HAS_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace halotile {
namespace {

std::mutex mutex;
bool recording = false;           // under `mutex`
std::vector<HostRange> recorded;  // under `mutex`

// Profilers that listen to NVTX announce themselves so before the program starts.
int profilers() { return std::getenv("NVTX_INJECTION64_PATH") != nullptr ? 1 : 0; }

}  // namespace

std::atomic<int> TraceRange::listeners_{profilers()};

std::int64_t trace_clock() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

RangeRecording::RangeRecording() {
  const std::lock_guard lock(mutex);
  recording = true;
  recorded.clear();
  TraceRange::listeners_.fetch_add(1, std::memory_order_relaxed);
}

RangeRecording::~RangeRecording() {
  const std::lock_guard lock(mutex);
  recording = false;
  TraceRange::listeners_.fetch_sub(1, std::memory_order_relaxed);
}

std::vector<HostRange> RangeRecording::take() {
  const std::lock_guard lock(mutex);
  return std::exchange(recorded, {});
}

void TraceRange::open(std::int64_t stream, RangeLabel label) {
  is_open_ = true;
#ifdef HALOTILE_HAS_NVTX
  nvtxRangePushA(label.name.c_str());
#endif
  range_ = {std::move(label.name), ::gettid(), stream, trace_clock(), 0, label.role, label.tile,
            label.images};
}

void TraceRange::close() noexcept {
  range_.end_ns = trace_clock();
#ifdef HALOTILE_HAS_NVTX
  nvtxRangePop();
#endif
  try {
    const std::lock_guard lock(mutex);
    if (recording) recorded.push_back(std::move(range_));
  } catch (...) {
    // Without memory for one more range the trace lacks it; the run itself must not end for that.
  }
}

}  // namespace halotile
