// In the steady state a run of the executor allocates nothing, however many tiles there are. An executable of
// its own: it counts every allocation of the process.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

namespace {

std::atomic<std::uint64_t> allocations = 0;

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* const p = alignment <= alignof(std::max_align_t)
                      ? std::malloc(bytes == 0 ? 1 : bytes)
                      : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes, 1); }
void* operator new[](std::size_t bytes) { return counted(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t a) {
  return counted(bytes, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t bytes, std::align_val_t a) {
  return counted(bytes, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace halotile {
namespace {

const char* const model_text =
    "input: {channels: 3, height: 32, width: 32}\nlayers:\n"
    "  - {type: conv, out_channels: 8, kernel: 5, stride: 2, padding: 2}\n"
    "  - {type: relu}\n"
    "  - {type: lrn}\n"
    "  - {type: max_pool, kernel: 3, stride: 1}\n"
    "  - {type: conv, out_channels: 8, kernel: 3, padding: 1, groups: 2}\n"
    "  - {type: relu}\n"
    "  - {type: avg_pool, kernel: 2}\n"
    "  - {type: adaptive_avg_pool, output: 3}\n"
    "  - {type: fully_connected, out_features: 600}\n"
    "  - {type: relu}\n"
    "  - {type: fully_connected, out_features: 10}\n"
    "  - {type: softmax}\n";

// The fewest allocations of one run among several, once all buffers have grown.
std::uint64_t steady_allocations(const support::Way& way) {
  const support::Model model(model_text);
  const auto engine = make_reference_engine();
  const auto executor = make_executor(model, *engine, way);
  support::fill_input(*executor, 1);
  // Queues grow while the submitter is ahead of the workers; how far ahead is a matter of luck.
  for (int i = 0; i < 20; ++i) executor->run();
  std::uint64_t fewest = ~std::uint64_t{0};
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t before = allocations;
    executor->run();
    fewest = std::min<std::uint64_t>(fewest, allocations - before);
  }
  return fewest;
}

TEST(Allocation, IsCounted) {
  const std::uint64_t before = allocations;
  delete new int(3);
  EXPECT_EQ(allocations - before, 1U);
}

TEST(Allocation, NoneInTheSteadyState) {
  const support::Model model(model_text);
  for (const int streams : {1, 3}) {
    for (const std::int64_t grid : {1, 8}) {
      for (const Storage storage : {Storage::view, Storage::packed}) {
        for (const bool fused : {false, true}) {
          support::Way way = support::whole_way(model.network(), 3, {});
          if (fused) way.stages = fused_groups(model.network());
          way.patch = {PatchSpec::Kind::grid, {grid, grid}};
          way.settings.streams = streams;
          way.settings.sub_batch = 2;
          way.settings.storage = storage;
          EXPECT_EQ(steady_allocations(way), 0U) << to_string(way);
        }
      }
    }
  }
}

}  // namespace
}  // namespace halotile
