// Prefetching: threads of their own prepare the maps of coming batches while the present one is computed.
// Memory is bounded: besides the batch in work there is room for one more, and a map for each decoder.
//
// Decoders take images in order; each fills one slot of a pool. The consumer takes slots in order of the
// images, so that neither the number of decoders nor their speed decides what a batch holds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kernels/devices/device.hpp"
#include "kernels/maps/map.hpp"
#include "pipeline/experiment/input.hpp"

namespace halotile {

/// An image that was left out, and why.
struct SkippedImage {
  std::string image;
  std::string error;
};

struct PrefetchSettings {
  std::int64_t batch = 1;  ///< maps of a full batch; a multiple of the source's views
  int decoders = 1;        ///< threads
  OnError on_error = OnError::stop;
};

/// Delivers a source's maps batch by batch. Its functions are called from one thread.
class Prefetcher {
 public:
  /// Starts to decode maps of `shape` as `dtype`, in host memory. Keeps a reference to the source.
  Prefetcher(InputSource& source, const MapShape& shape, DType dtype, const PrefetchSettings& settings);
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  ~Prefetcher();

  /// Waits for the next batch: the numbers of its maps in the source. Full, but for the last one; empty
  /// behind it. Throws what reading an image threw when it is that image's turn (with on_error: skip only
  /// what is no fault of the image), and Interrupted when told to stop.
  [[nodiscard]] std::span<const std::int64_t> next();
  /// Copies the maps of the batch from next() to `out` (host memory) and gives their slots back. Call it once
  /// for each batch.
  void take(const MapView& out);

  /// Images left out so far, in order.
  [[nodiscard]] const std::vector<SkippedImage>& skipped() const { return skipped_; }
  /// Seconds that the decoders worked, summed over them.
  [[nodiscard]] double decode_seconds() const { return 1e-9 * static_cast<double>(decode_ns_.load()); }

 private:
  // What a decoder made of one image (all of its views).
  struct Decoded {
    std::size_t slot = 0;
    std::string error;           // not empty: left out
    std::exception_ptr failure;  // ends the run
  };

  void work();
  [[nodiscard]] MapView slot_view(std::size_t slot);
  Decoded decode(std::int64_t unit, std::size_t slot);
  void stop();

  InputSource& source_;
  const PrefetchSettings settings_;
  const std::int64_t views_;  // maps of an image: what a decoder fills at once
  const std::int64_t units_;  // images
  const MapGeometry slot_geometry_;
  Buffer memory_;
  std::atomic<std::int64_t> decode_ns_ = 0;

  // The consumer's own.
  std::vector<std::int64_t> maps_;  // of the batch from next()
  std::vector<std::size_t> slots_;  // of its images
  std::vector<SkippedImage> skipped_;
  std::int64_t next_unit_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable slot_free_;
  std::condition_variable unit_done_;
  std::vector<std::size_t> free_slots_;
  std::map<std::int64_t, Decoded> done_;  // by image
  std::int64_t claimed_ = 0;              // images that decoders took so far
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace halotile
