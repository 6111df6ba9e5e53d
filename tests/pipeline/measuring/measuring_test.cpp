#include "pipeline/measuring/measuring.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "pipeline/measuring/cache_flush.hpp"
#include "pipeline/measuring/disturbance.hpp"
#include "pipeline/measuring/peak_memory.hpp"

namespace halotile {
namespace {

void wait_ms(double ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(ms);
  while (std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

TEST(Measuring, FewRunsAreMadeAsAsked) {
  MeasureSettings settings;
  settings.min_runs = 3;
  settings.tightness = 1e-4;
  int runs = 0;
  int warm = 0;
  int before = 0;
  MeasureHooks hooks;
  hooks.start_counting = [&] { warm = runs; };
  hooks.before_run = [&] { ++before; };
  const Timing timing = measure(
      settings, [&] { ++runs; }, hooks);
  EXPECT_EQ(warm, 2);
  EXPECT_EQ(runs, 5);
  EXPECT_EQ(before, 5);
  EXPECT_EQ(timing.samples.size(), 3U);
  EXPECT_EQ(timing.stop, StopReason::runs);
}

TEST(Measuring, StopsWhenTheIntervalIsTight) {
  MeasureSettings settings;
  settings.min_runs = 10;
  settings.max_seconds = 20;
  settings.tightness = 0.2;
  const Timing timing = measure(settings, [] { wait_ms(2); });
  EXPECT_EQ(timing.stop, StopReason::tight);
  EXPECT_GE(timing.samples.size(), 10U);
  EXPECT_LE(timing.high - timing.low, 0.2 * timing.median);
}

TEST(Measuring, StopsWhenTimeIsUp) {
  MeasureSettings settings;
  settings.max_seconds = 0.3;
  settings.tightness = 1e-4;
  int run = 0;
  const Timing timing = measure(settings, [&] { wait_ms(1 + 10 * (++run % 2)); });
  EXPECT_EQ(timing.stop, StopReason::time);
  EXPECT_GT(timing.high - timing.low, 1e-4 * timing.median);
  settings.max_seconds = 0;
  EXPECT_EQ(measure(settings, [] {}).samples.size(), 1U) << "one run at least";
}

#ifndef HALOTILE_SANITIZED  // address sanitizer keeps freed memory for a while
TEST(Measuring, MemoryPeaksAreForgotten) {
  reset_peak_memory();
  const std::size_t before = peak_memory();
  constexpr std::size_t large = std::size_t{64} << 20;
  {
    std::vector<char> memory(large, 1);
    EXPECT_EQ(memory[large / 2], 1);
  }
  EXPECT_GE(peak_memory(), before + large / 2);
  reset_peak_memory();
  EXPECT_LT(peak_memory(), before + large / 2);
}

TEST(Measuring, CachesAreFlushed) {  // sanitizers' instructions take longer than caches save
  EXPECT_GE(last_level_cache(), std::size_t{256} << 10);
  CpuDevice device;
  const std::function<void()> flush = cache_flusher(device);
  // A buffer that fits the cache takes longer to walk when it was flushed; the least of several tries, for
  // others may disturb.
  std::vector<int> data((std::size_t{128} << 10) / sizeof(int), 1);
  const auto walk = [&] {
    const auto start = std::chrono::steady_clock::now();
    long sum = 0;
    for (std::size_t i = 0; i < data.size(); i += 16) sum += *const_cast<volatile int*>(&data[i]);
    EXPECT_EQ(sum, static_cast<long>(data.size() / 16));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  double hot = 1;
  double cold = 0;
  for (int round = 0; round < 10 && cold <= 1.5 * hot; ++round) {
    cold = 1;
    for (int i = 0; i < 5; ++i) {
      walk();
      hot = std::min(hot, walk());
      flush();
      cold = std::min(cold, walk());
    }
  }
  EXPECT_GT(cold, 1.5 * hot);
}
#endif

LoadCounters quiet(double seconds) {
  LoadCounters c;
  c.seconds = seconds;
  c.own_cpu_seconds = 2 * seconds;
  c.all_cpu_seconds = 2 * seconds + 0.01;
  c.clocks = {{0, 3000}};
  return c;
}

TEST(Disturbance, NothingIsSaidOfAQuietMachine) {
  EXPECT_TRUE(disturbances(quiet(0), quiet(2)).empty());
  const LoadCounters now = read_load();
  EXPECT_GT(now.all_cpu_seconds, 0);
  EXPECT_GT(now.own_cpu_seconds, 0);
}

TEST(Disturbance, EachKindIsTold) {
  const LoadCounters before = quiet(0);
  const auto told = [&](const auto& change) {
    LoadCounters after = quiet(2);
    change(after);
    const std::vector<std::string> seen = disturbances(before, after);
    return seen.size() == 1 ? seen[0] : std::to_string(seen.size()) + " disturbances";
  };
  EXPECT_EQ(told([](LoadCounters& c) { c.all_cpu_seconds += 1; }), "other processes took 50% of a core");
  EXPECT_EQ(told([](LoadCounters& c) { c.stolen_seconds = 0.5; }), "the hypervisor took 25% of a core");
  EXPECT_EQ(told([](LoadCounters& c) { c.throttled = 1; }), "the processor was throttled for heat");
  EXPECT_EQ(told([](LoadCounters& c) { c.clocks[0] = 2400; }), "the clock fell by 20%");
}

TEST(Disturbance, SamplesThatDriftOrHaveTwoModesAreTold) {
  std::mt19937_64 random(5);
  const auto noise = [&] { return 0.1 * static_cast<double>(random() % 1000) / 1000; };
  std::vector<double> steady;
  std::vector<double> drifting;
  std::vector<double> two_modes;
  for (int i = 0; i < 60; ++i) {
    steady.push_back(10 + noise());
    drifting.push_back(10 + 0.02 * i + noise());
    two_modes.push_back((random() % 3 == 0 ? 11 : 10) + noise());
  }
  EXPECT_TRUE(disturbances(steady).empty());
  ASSERT_EQ(disturbances(drifting).size(), 1U);
  EXPECT_EQ(disturbances(drifting)[0], "the last third of the runs took +8% against the first");
  ASSERT_EQ(disturbances(two_modes).size(), 1U);
  EXPECT_TRUE(disturbances(two_modes)[0].starts_with("the runs have two modes, 10"));
  EXPECT_TRUE(disturbances(std::span(two_modes).first(10)).empty()) << "too few to tell";
}

}  // namespace
}  // namespace halotile
