// CPU streams: order within one, events between several, exceptions, and their end. Meant for TSan as well.
#include "kernels/devices/stream.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <stdexcept>

namespace halotile {
namespace {

// Work from lambdas, kept until the test ends.
class Jobs {
 public:
  Callback of(std::function<void()> job) {
    jobs_.push_back(std::move(job));
    return {[](void* context, std::size_t) { (*static_cast<std::function<void()>*>(context))(); },
            &jobs_.back(), 0};
  }

 private:
  std::deque<std::function<void()>> jobs_;  // addresses stay
};

std::string message_of(Stream& stream) {
  try {
    stream.synchronize();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST(CpuStream, RunsWorkInOrder) {
  Jobs jobs;
  std::vector<int> order;
  CpuStream stream;
  for (int repeat = 0; repeat < 3; ++repeat) {
    order.clear();
    for (int i = 0; i < 1000; ++i) stream.submit(jobs.of([&order, i] { order.push_back(i); }));
    stream.synchronize();
    ASSERT_EQ(order.size(), 1000U);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  }
}

TEST(CpuStream, GivesWorkItsIndex) {
  std::vector<std::size_t> seen;
  CpuStream stream;
  const auto note = [](void* context, std::size_t index) {
    static_cast<std::vector<std::size_t>*>(context)->push_back(index);
  };
  for (std::size_t i = 5; i < 8; ++i) stream.submit({note, &seen, i});
  stream.synchronize();
  EXPECT_EQ(seen, (std::vector<std::size_t>{5, 6, 7}));
}

TEST(CpuStream, SynchronizingNothingReturns) {
  CpuStream stream;
  stream.synchronize();
  stream.synchronize();
  const CpuStream unused;
}

TEST(CpuStream, StartsItsWorkerWithTheGivenFunction) {
  std::atomic<int> starts = 0;
  {
    CpuStream stream([&] { ++starts; });
    stream.synchronize();
  }
  EXPECT_EQ(starts, 1);
}

TEST(CpuStream, WaitsForEventsOfOthers) {
  Jobs jobs;
  CpuStream first;
  CpuStream second;
  for (int repeat = 0; repeat < 200; ++repeat) {
    int value = 0;  // not atomic: the events order its uses
    first.submit(jobs.of([&] { value = 1; }));
    second.wait(first.record());
    second.submit(jobs.of([&] { value = value == 1 ? 2 : -1; }));
    first.wait(second.record());
    first.submit(jobs.of([&] { value = value == 2 ? 3 : -1; }));
    first.synchronize();
    EXPECT_EQ(value, 3);
    second.synchronize();
  }
}

TEST(CpuStream, WaitsEvenForSlowWork) {
  Jobs jobs;
  CpuStream slow;
  CpuStream waiting;
  bool done = false;
  bool seen = false;
  slow.submit(jobs.of([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    done = true;
  }));
  waiting.wait(slow.record());
  waiting.submit(jobs.of([&] { seen = done; }));
  waiting.synchronize();
  EXPECT_TRUE(seen);
  slow.synchronize();
}

TEST(CpuStream, EventsCoverWhatWasQueuedBefore) {
  Jobs jobs;
  CpuStream stream;
  CpuStream other;
  const Event nothing = stream.record();
  other.wait(nothing);
  other.wait(Event{});
  other.wait(other.record());
  other.synchronize();
  int count = 0;
  for (int i = 0; i < 10; ++i) stream.submit(jobs.of([&] { ++count; }));
  other.wait(stream.record());
  int seen = 0;
  other.submit(jobs.of([&] { seen = count; }));
  other.synchronize();
  EXPECT_EQ(seen, 10);
  stream.synchronize();
}

// Tokens handed around a ring of streams: every hand-over is an event.
TEST(CpuStream, ManyStreamsHandOverInARing) {
  constexpr std::size_t streams = 16;
  constexpr int rounds = 50;
  Jobs jobs;
  std::vector<std::unique_ptr<CpuStream>> ring;
  for (std::size_t s = 0; s < streams; ++s) ring.push_back(std::make_unique<CpuStream>());
  std::vector<std::size_t> order;
  Event before;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t s = 0; s < streams; ++s) {
      ring[s]->wait(before);
      ring[s]->submit(jobs.of([&order, s] { order.push_back(s); }));
      before = ring[s]->record();
    }
  }
  for (const auto& stream : ring) stream->synchronize();
  ASSERT_EQ(order.size(), streams * rounds);
  for (std::size_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], i % streams) << i;
}

TEST(CpuStream, IndependentStreamsRunSideBySide) {
  Jobs jobs;
  CpuStream first;
  CpuStream second;
  std::atomic<int> arrived = 0;
  // Each waits for the other: with one worker this would never end.
  const auto meet = [&] {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  };
  first.submit(jobs.of(meet));
  second.submit(jobs.of(meet));
  first.synchronize();
  second.synchronize();
  EXPECT_EQ(arrived, 2);
}

TEST(CpuStream, RethrowsTheFirstExceptionAndSkipsTheRest) {
  Jobs jobs;
  CpuStream stream;
  int after = 0;
  stream.submit(jobs.of([] { throw std::runtime_error("first"); }));
  stream.submit(jobs.of([&] { ++after; }));
  stream.submit(jobs.of([] { throw std::runtime_error("second"); }));
  EXPECT_EQ(message_of(stream), "first");
  EXPECT_EQ(after, 0);
  EXPECT_EQ(message_of(stream), "") << "thrown once";
  stream.submit(jobs.of([&] { ++after; }));
  EXPECT_EQ(message_of(stream), "");
  EXPECT_EQ(after, 1) << "works again";
}

TEST(CpuStream, AFailureDoesNotHoldUpWaiters) {
  Jobs jobs;
  CpuStream failing;
  CpuStream waiting;
  bool ran = false;
  failing.submit(jobs.of([] { throw std::runtime_error("trouble"); }));
  failing.submit(jobs.of([] {}));
  waiting.wait(failing.record());
  waiting.submit(jobs.of([&] { ran = true; }));
  EXPECT_EQ(message_of(waiting), "");
  EXPECT_TRUE(ran);
  EXPECT_EQ(message_of(failing), "trouble");
}

TEST(CpuStream, DestructorFinishesWhatIsQueued) {
  Jobs jobs;
  std::atomic<int> count = 0;
  {
    CpuStream stream;
    for (int i = 0; i < 100; ++i) {
      stream.submit(jobs.of([&] {
        if (++count == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }));
    }
  }
  EXPECT_EQ(count, 100);
}

TEST(CpuStream, DestructorDropsExceptions) {
  Jobs jobs;
  CpuStream stream;
  stream.submit(jobs.of([] { throw std::runtime_error("nobody listens"); }));
}

}  // namespace
}  // namespace halotile
