#include "pipeline/experiment/prefetch.hpp"

#include <algorithm>
#include <chrono>
#include <exception>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/pointwise.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

// The message names the image.
std::string named(const std::string& image, const std::string& message) {
  return message.find(image) == std::string::npos ? image + ": " + message : message;
}

}  // namespace

Prefetcher::Prefetcher(InputSource& source, const MapShape& shape, DType dtype,
                       const PrefetchSettings& settings)
    : source_(source),
      settings_(settings),
      views_(source.views()),
      units_(source.count() / source.views()),
      slot_geometry_(dense_geometry(dtype, views_, shape.channels, Rect::whole(shape.extent), shape.extent)) {
  const std::int64_t slots = std::min(units_, settings.batch / views_ + settings.decoders);
  memory_ = CpuDevice().allocate(static_cast<std::size_t>(checked_multiply(
      checked_multiply(slots, slot_geometry_.elements(), "the elements of the maps read ahead"),
      size_of(dtype), "the bytes of the maps read ahead")));
  for (std::int64_t s = slots; s-- > 0;) free_slots_.push_back(static_cast<std::size_t>(s));
  const int decoders = static_cast<int>(std::min<std::int64_t>(settings.decoders, units_));
  try {
    for (int d = 0; d < decoders; ++d) threads_.emplace_back([this] { work(); });
  } catch (...) {
    stop();
    throw;
  }
}

Prefetcher::~Prefetcher() { stop(); }

void Prefetcher::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  slot_free_.notify_all();
  for (std::thread& t : threads_) t.join();
}

MapView Prefetcher::slot_view(std::size_t slot) {
  const auto bytes = static_cast<std::size_t>(slot_geometry_.elements() * size_of(slot_geometry_.dtype));
  return {slot_geometry_, memory_.data() + slot * bytes};
}

Prefetcher::Decoded Prefetcher::decode(std::int64_t unit, std::size_t slot) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Decoded decoded{slot, {}, nullptr};
  const Interval maps{unit * views_, (unit + 1) * views_};
  try {
    source_.fill(maps, slot_view(slot));
  } catch (const Interrupted&) {
    decoded.failure = std::current_exception();
  } catch (const Error& e) {
    const std::string message = named(source_.name(maps.begin), e.what());
    if (settings_.on_error == OnError::skip) {
      decoded.error = message;
    } else {
      decoded.failure = std::make_exception_ptr(FormatError(message));
    }
  } catch (...) {
    decoded.failure = std::current_exception();
  }
  decode_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
  return decoded;
}

void Prefetcher::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    slot_free_.wait(lock, [this] { return stopping_ || claimed_ == units_ || !free_slots_.empty(); });
    if (stopping_ || claimed_ == units_) break;
    const std::int64_t unit = claimed_++;
    const std::size_t slot = free_slots_.back();
    free_slots_.pop_back();
    lock.unlock();
    Decoded decoded = decode(unit, slot);
    lock.lock();
    if (!decoded.error.empty()) {
      free_slots_.push_back(slot);
      slot_free_.notify_one();
    }
    if (decoded.failure) claimed_ = units_;  // nothing behind it will be asked for
    done_.emplace(unit, std::move(decoded));
    unit_done_.notify_one();
  }
  slot_free_.notify_all();  // the others end too
}

std::span<const std::int64_t> Prefetcher::next() {
  maps_.clear();
  slots_.clear();
  std::unique_lock lock(mutex_);
  while (static_cast<std::int64_t>(maps_.size()) < settings_.batch && next_unit_ < units_) {
    const auto done = done_.find(next_unit_);
    if (done == done_.end()) {
      throw_if_stopped();
      unit_done_.wait_for(lock, std::chrono::milliseconds(100));  // a signal wakes nobody
      continue;
    }
    const Decoded decoded = std::move(done->second);
    done_.erase(done);
    if (decoded.failure) std::rethrow_exception(decoded.failure);
    const std::int64_t first = next_unit_++ * views_;
    if (!decoded.error.empty()) {
      skipped_.push_back({source_.name(first), decoded.error});
      continue;
    }
    slots_.push_back(decoded.slot);
    for (std::int64_t view = 0; view < views_; ++view) maps_.push_back(first + view);
  }
  return maps_;
}

void Prefetcher::take(const MapView& out) {
  std::int64_t at = 0;
  for (const std::size_t slot : slots_) {
    copy_map(slot_view(slot), subview(out, {at, at + views_}, out.rect));
    at += views_;
  }
  {
    const std::lock_guard lock(mutex_);
    free_slots_.insert(free_slots_.end(), slots_.begin(), slots_.end());
  }
  slots_.clear();
  slot_free_.notify_all();
}

}  // namespace halotile
