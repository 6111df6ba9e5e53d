// Devices, memory, streams and events; and the engine as the executor sees it.
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "kernels/engines/cuda/direct/direct_engine.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/support.hpp"

namespace halotile::testing {
namespace {

// Runs a function as a stream's work.
template <typename Function>
Callback work_of(Function& function) {
  return {[](void* context, std::size_t) { (*static_cast<Function*>(context))(); }, &function, 0};
}

TEST(CudaErrors, NameTheCallThePlaceAndTheRemedy) {
  try {
    check_cuda(cudaErrorMemoryAllocation, "allocating a test");
    FAIL() << "no exception";
  } catch (const CudaError& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.status(), cudaErrorMemoryAllocation);
    EXPECT_NE(message.find("allocating a test"), std::string::npos) << message;
    EXPECT_NE(message.find("cuda_device_test.cpp:"), std::string::npos) << message;
    EXPECT_NE(message.find("out of memory"), std::string::npos) << message;
    EXPECT_NE(message.find("sub_batch"), std::string::npos) << message;
  }
}

TEST(CudaErrors, NoGpuIsOneClearMessage) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "this machine has a GPU";
  try {
    const CudaDevice device(0);
    FAIL() << "no exception";
  } catch (const CudaError& error) {
    EXPECT_NE(std::string(error.what()).find("device: cpu"), std::string::npos) << error.what();
  }
}

TEST(SmallCudaDevice, RefusesAGpuThatIsNotThere) {
  HALOTILE_NEEDS_GPU();
  EXPECT_THROW(CudaDevice(1000), CudaError);
  EXPECT_THROW(CudaDevice(-1), CudaError);
}

TEST(SmallCudaDevice, TellsWhatItIs) {
  HALOTILE_NEEDS_GPU();
  const CudaDeviceInfo info = device().info();
  EXPECT_FALSE(info.name.empty());
  EXPECT_GT(info.multiprocessors, 0);
  EXPECT_GE(info.capability_major, 8);
  EXPECT_GT(info.free_memory, 0U);
  EXPECT_LE(info.free_memory, info.memory);
  EXPECT_EQ(device().name(), "cuda:0");
}

TEST(CudaDeviceMemory, OutOfMemorySaysHowMuchAndLeavesTheDeviceUsable) {
  HALOTILE_NEEDS_GPU();
  try {
    const Buffer buffer = device().allocate(std::size_t{1} << 50);
    FAIL() << "no exception";
  } catch (const CudaError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("1073741824 MiB are needed"), std::string::npos) << message;
    EXPECT_NE(message.find("are free"), std::string::npos) << message;
  }
  EXPECT_NO_THROW(check_launch("a later launch"));
  EXPECT_EQ(device().allocate(0).data(), nullptr);
}

TEST(SmallCudaDevice, CopiesAndPoisons) {
  HALOTILE_NEEDS_GPU();
  const Buffer pinned = device().allocate_pinned(1024);
  const Buffer memory = device().allocate(1024);
  std::memset(pinned.data(), 7, 1024);
  device().upload(stream(), memory.data(), pinned.data(), 1024);
  stream().synchronize();
  device().poison(memory, 1000);
  std::memset(pinned.data(), 0, 1024);
  device().download(stream(), pinned.data(), memory.data(), 1024);
  stream().synchronize();
  EXPECT_EQ(pinned.data()[999], std::byte{7});
  EXPECT_EQ(pinned.data()[1000], std::byte{0xff});
  EXPECT_EQ(pinned.data()[1023], std::byte{0xff});
}

TEST(SmallCudaStream, KeepsTheFirstFailureAndSkipsWhatIsBehind) {
  HALOTILE_NEEDS_GPU();
  const auto made = device().make_stream();
  int ran = 0;
  auto fail = [] { throw std::runtime_error("first"); };
  auto count = [&ran] { ++ran; };
  made->submit(work_of(count));
  made->submit(work_of(fail));
  made->submit(work_of(count));
  EXPECT_EQ(ran, 1);
  EXPECT_THROW(made->synchronize(), std::runtime_error);
  made->submit(work_of(count));
  EXPECT_NO_THROW(made->synchronize());
  EXPECT_EQ(ran, 2);
}

// A chain of copies handed from stream to stream: only right when every wait holds.
TEST(SmallCudaStream, EventsOrderStreams) {
  HALOTILE_NEEDS_GPU();
  constexpr int streams = 3;
  constexpr int hops = 30;
  const Extent2 extent{64, 64};
  std::vector<std::unique_ptr<Stream>> made;
  for (int n = 0; n < streams; ++n) made.push_back(device().make_stream());
  for (int round = 0; round < 3; ++round) {  // later rounds use the pooled events again
    std::vector<TwinMap> maps;
    for (int n = 0; n <= hops; ++n) maps.emplace_back(1, 16, Rect::whole(extent), extent, Layout::dense);
    maps[0].randomize(static_cast<std::uint32_t>(round));
    Event event;
    for (int n = 0; n < hops; ++n) {
      Stream& on = *made[static_cast<std::size_t>(n % streams)];
      on.wait(event);
      auto copy = [&] {
        const auto at = static_cast<std::size_t>(n);
        cuda::copy_map(maps[at].on_device(), maps[at + 1].on_device(), cuda_stream(on).handle());
      };
      on.submit(work_of(copy));
      event = on.record();
    }
    for (const auto& one : made) one->synchronize();
    stream().wait(event);  // of a stream synchronized since: nothing to wait for
    std::memcpy(maps[hops].host().data, maps[0].host().data,
                static_cast<std::size_t>(extent.area() * 16 * 4));
    EXPECT_TRUE(maps[hops].same_everywhere()) << "round " << round;
  }
}

TEST(SmallCudaStream, RefusesAStreamOfTheCpu) {
  CpuStream cpu;
  EXPECT_THROW(static_cast<void>(cuda_stream(cpu)), UnsupportedError);
}

// The layers of a small network through the Engine interface, against the reference engine's bits.
TEST(SmallDirectEngine, EqualsTheReferenceEngine) {
  HALOTILE_NEEDS_GPU();
  const auto direct = make_direct_engine();
  const auto reference = make_reference_engine();
  EXPECT_EQ(direct->name(), "direct");
  Window w;
  w.kernel = {5, 5};
  w.stride = {2, 2};
  w.padding = {2, 2};
  const auto conv_weight = random_values(24 * 3 * 25, 1);
  const auto conv_bias = random_values(24, 2);
  const Conv2d conv{3, 24, 1, w, true, Parameter(conv_weight), Parameter(conv_bias)};
  const Lrn norm{5, 1e-2F, 0.75F, 2.0F};
  Window pool_window;
  pool_window.kernel = {3, 3};
  pool_window.stride = {2, 2};
  const Pool2d pool{PoolKind::max, pool_window, true};
  const auto fc_weight = random_values(10 * 24 * 49, 3);
  const FullyConnected fc{24 * 49, 10, false, Parameter(fc_weight), {}, {0, 10}};

  const auto run = [&](Engine& engine, Stream& on, TwinMap& in, TwinMap& conv_out, TwinMap& norm_out,
                       TwinMap& pool_out, TwinMap& logits, bool host) {
    const auto view = [&](TwinMap& map) { return host ? map.host() : map.on_device(); };
    MapView flat = view(pool_out);
    flat = {dense_geometry(DType::f32, 2, 24 * 49, Rect::whole({1, 1}), {1, 1}), flat.data};
    std::vector<std::unique_ptr<Operation>> operations;
    operations.push_back(engine.prepare(conv, in.geometry(), conv_out.geometry()));
    operations.push_back(engine.prepare(norm, conv_out.geometry(), norm_out.geometry()));
    operations.push_back(engine.prepare(pool, norm_out.geometry(), pool_out.geometry()));
    operations.push_back(engine.prepare(fc, flat, logits.geometry()));
    const Buffer scratch = engine.device().allocate(operations.back()->scratch_bytes());
    const RunContext context{on, {scratch.data(), scratch.bytes()}};
    auto all = [&] {
      operations[0]->run(view(in), view(conv_out), context);
      operations[1]->run(view(conv_out), view(norm_out), context);
      operations[2]->run(view(norm_out), view(pool_out), context);
      operations[3]->run(flat, view(logits), context);
    };
    on.submit(work_of(all));
    on.synchronize();
  };
  TwinMap in(2, 3, Rect::whole({31, 31}), {31, 31}, Layout::dense);
  TwinMap conv_out(2, 24, Rect::whole({16, 16}), {16, 16}, Layout::dense);
  TwinMap norm_out(2, 24, Rect::whole({16, 16}), {16, 16}, Layout::dense);
  TwinMap pool_out(2, 24, Rect::whole({7, 7}), {7, 7}, Layout::dense);
  TwinMap logits(2, 10, Rect::whole({1, 1}), {1, 1}, Layout::dense);
  in.randomize(1);
  CpuStream cpu;
  run(*reference, cpu, in, conv_out, norm_out, pool_out, logits, true);
  const auto on = direct->device().make_stream();
  run(*direct, *on, in, conv_out, norm_out, pool_out, logits, false);
  EXPECT_TRUE(conv_out.same_everywhere());
  EXPECT_TRUE(norm_out.same_everywhere());
  EXPECT_TRUE(pool_out.same_everywhere());
  EXPECT_TRUE(logits.same_everywhere());
  EXPECT_EQ(direct->constant_bias_use().conv2d, 24);
  EXPECT_EQ(direct->constant_bias_use().fallbacks, 0);
}

}  // namespace
}  // namespace halotile::testing
