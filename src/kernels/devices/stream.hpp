// Streams: in-order queues of work. On the CPU a queue is served by one worker thread. Work of different
// streams runs side by side; events order it where the plan demands.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace halotile {

class Stream;

/// A point in a stream: everything submitted before it has finished once the event has.
struct Event {
  const Stream* stream = nullptr;
  std::uint64_t ticket = 0;
};

/// A piece of work: a function and what it is called with. Plain data, so that queueing allocates nothing.
struct Callback {
  void (*run)(void* context, std::size_t index) = nullptr;
  void* context = nullptr;
  std::size_t index = 0;
};

/// An in-order queue. Submission is from one thread at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Queues work behind all that was queued before. Never blocks on the work itself.
  virtual void submit(Callback work) = 0;
  /// An event behind all that was queued so far.
  [[nodiscard]] virtual Event record() = 0;
  /// Work queued from now on starts only after `event` (of any stream of the same device).
  virtual void wait(Event event) = 0;
  /// Blocks until the queue is empty. Rethrows the first exception that work threw since the last call; work
  /// queued behind a failure was skipped.
  virtual void synchronize() = 0;
};

/// A queue served by one worker thread.
class CpuStream final : public Stream {
 public:
  /// `on_start` runs first on the worker thread (for per-thread settings of libraries).
  explicit CpuStream(std::function<void()> on_start = {});
  CpuStream(const CpuStream&) = delete;
  CpuStream& operator=(const CpuStream&) = delete;
  /// Finishes what is queued; exceptions not fetched by synchronize are dropped.
  ~CpuStream() override;

  void submit(Callback work) override;
  [[nodiscard]] Event record() override;
  void wait(Event event) override;
  void synchronize() override;

 private:
  struct Item {
    Callback work;  // run == nullptr: wait for `event`
    Event event;
  };

  void serve(const std::function<void()>& on_start);
  void push(const Item& item);

  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::vector<Item> queue_;  // filled by the submitter, swapped out whole by the worker
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::uint64_t submitted_ = 0;               // items queued; the submitting thread's
  std::atomic<std::uint64_t> completed_ = 0;  // items finished
  std::thread worker_;                        // last: starts when all else exists
};

}  // namespace halotile
