#include "kernels/devices/stream.hpp"

#include <utility>

namespace halotile {
namespace {

// Blocks until `counter` has reached `target`. Spins first: hand-overs between tiles usually take
// microseconds, less than going to sleep and being woken.
void await(const std::atomic<std::uint64_t>& counter, std::uint64_t target) {
  for (int spin = 0; spin < 4000; ++spin) {
    if (counter.load(std::memory_order_acquire) >= target) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  for (std::uint64_t seen = counter.load(std::memory_order_acquire); seen < target;
       seen = counter.load(std::memory_order_acquire)) {
    counter.wait(seen, std::memory_order_acquire);
  }
}

}  // namespace

CpuStream::CpuStream(std::function<void()> on_start)
    : worker_([this, start = std::move(on_start)] { serve(start); }) {}

CpuStream::~CpuStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  not_empty_.notify_one();
  worker_.join();
}

void CpuStream::push(const Item& item) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    was_empty = queue_.empty();
    queue_.push_back(item);
  }
  ++submitted_;
  if (was_empty) not_empty_.notify_one();
}

void CpuStream::submit(Callback work) { push({work, {}}); }

Event CpuStream::record() { return {this, submitted_}; }

void CpuStream::wait(Event event) {
  if (event.stream == nullptr || event.stream == this) return;  // in-order: what is before is before
  push({{}, event});
}

void CpuStream::synchronize() {
  await(completed_, submitted_);
  std::exception_ptr failure;
  {
    const std::lock_guard lock(mutex_);
    failure = std::exchange(failure_, nullptr);
  }
  if (failure) std::rethrow_exception(failure);
}

void CpuStream::serve(const std::function<void()>& on_start) {
  if (on_start) on_start();
  std::vector<Item> batch;
  for (;;) {
    batch.clear();
    {
      std::unique_lock lock(mutex_);
      not_empty_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      std::swap(batch, queue_);
    }
    for (const Item& item : batch) {
      if (item.work.run == nullptr) {
        await(static_cast<const CpuStream*>(item.event.stream)->completed_, item.event.ticket);
      } else {
        bool failed = false;
        {
          const std::lock_guard lock(mutex_);
          failed = failure_ != nullptr;
        }
        if (!failed) {
          try {
            item.work.run(item.work.context, item.work.index);
          } catch (...) {
            const std::lock_guard lock(mutex_);
            failure_ = std::current_exception();
          }
        }
      }
      completed_.fetch_add(1, std::memory_order_release);
      completed_.notify_all();
    }
  }
}

}  // namespace halotile
