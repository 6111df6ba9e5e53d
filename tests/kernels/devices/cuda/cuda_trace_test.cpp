// CUPTI's records of copies, memsets, kernels and waits of two streams.
#include "kernels/devices/cuda/cuda_trace.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "kernels/devices/trace_range.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/support.hpp"
#include "patching/error.hpp"

namespace halotile::testing {
namespace {

TEST(CudaTrace, RecordsTwoStreams) {
  HALOTILE_NEEDS_GPU();
  const std::int64_t begin_ns = trace_clock();
  std::unique_ptr<CudaTrace> trace;
  try {
    trace = std::make_unique<CudaTrace>();
  } catch (const UnsupportedError& error) {
    GTEST_SKIP() << error.what();
  }
  constexpr std::int64_t channels = 64;
  constexpr Extent2 extent{32, 32};
  const MapGeometry geometry = dense_geometry(DType::f32, 1, channels, Rect::whole(extent), extent);
  const auto bytes = static_cast<std::size_t>(geometry.elements()) * sizeof(float);
  const Buffer host = device().allocate_pinned(2 * bytes);
  const std::vector<float> values = random_values(2 * geometry.elements(), 5);
  std::copy(values.begin(), values.end(), reinterpret_cast<float*>(host.data()));
  const Buffer memory = device().allocate(4 * bytes);
  device().poison(memory, 0);
  {
    CudaStream streams[2]{CudaStream(0), CudaStream(0)};
    for (std::size_t s = 0; s < 2; ++s) {
      std::byte* const in = memory.data() + 2 * s * bytes;
      device().upload(streams[s], in, host.data() + s * bytes, bytes);
      cuda::relu({geometry, in}, {geometry, in + bytes}, streams[s].handle());
      device().download(streams[s], host.data() + s * bytes, in + bytes, bytes);
    }
    for (CudaStream& s : streams) s.synchronize();
  }
  const std::int64_t end_ns = trace_clock();
  const std::vector<TraceSlice> slices = trace->finish();

  constexpr std::int64_t slack_ns = 2'000'000;  // two clocks
  std::map<std::string, int> categories;
  std::map<std::int64_t, std::vector<const TraceSlice*>> streams;
  std::set<std::int64_t> calls;
  for (const TraceSlice& s : slices) {
    ++categories[s.category];
    EXPECT_LE(s.begin_ns, s.end_ns) << s.name;
    EXPECT_GE(s.begin_ns, begin_ns - slack_ns) << s.name;
    EXPECT_LE(s.end_ns, end_ns + slack_ns) << s.name;
    if (s.track == TraceSlice::Track::stream) streams[s.id].push_back(&s);
    if (s.track == TraceSlice::Track::call) calls.insert(s.correlation);
  }
  EXPECT_EQ(categories["kernel"], 2);
  EXPECT_EQ(categories["copy"], 4);
  EXPECT_GE(categories["memset"], 1);
  EXPECT_GE(categories["synchronization"], 2);
  int both = 0;
  for (auto& [id, work] : streams) {
    std::sort(work.begin(), work.end(),
              [](const TraceSlice* a, const TraceSlice* b) { return a->begin_ns < b->begin_ns; });
    for (std::size_t i = 1; i < work.size(); ++i) EXPECT_LE(work[i - 1]->end_ns, work[i]->begin_ns);
    for (const TraceSlice* s : work) EXPECT_TRUE(calls.contains(s->correlation)) << s->name;
    if (work.size() != 3) continue;
    ++both;
    EXPECT_EQ(work[0]->name, "copy host to device");
    EXPECT_EQ(work[1]->name, "pointwise");
    EXPECT_EQ(work[2]->name, "copy device to host");
    EXPECT_EQ(work[0]->arguments.front(), TraceSlice::Argument("bytes", static_cast<std::int64_t>(bytes)));
    EXPECT_EQ(work[0]->arguments[1], TraceSlice::Argument("from", "pinned"));
  }
  EXPECT_EQ(both, 2) << "each stream copied in, computed, copied out";
}

}  // namespace
}  // namespace halotile::testing
