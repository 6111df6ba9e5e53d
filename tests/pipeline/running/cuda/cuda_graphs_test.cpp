// Random graphs on the GPU: `direct` has the bits of the reference engine on the host, and every engine those
// of its own whole in every way of running.
#include <gtest/gtest.h>

#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using support::Draw;
using support::make_executor;
using support::Model;
using support::Way;

constexpr std::uint64_t graph_seed = 20261201;
constexpr int graphs = 60;
constexpr support::ModelLimits limits{20, 16, 12};

Way random_device_way(Draw& draw, const Network& network, std::int64_t batch,
                      const std::set<std::size_t>& keep) {
  Way way = support::random_way(draw, network, batch, keep, 4);
  switch (draw.integer(0, 3)) {
    case 0:
      way.settings.graph = true;
      break;
    case 1:
      way.settings.batched = way.settings.graph = true;
      way.settings.streams = 1;
      break;
    case 2:
      way.settings.memory = MemoryMode::pool;
      break;
    default:
      if (draw.once_in(2)) way.settings.wave = static_cast<std::size_t>(draw.integer(1, 12));
      break;
  }
  return way;
}

// Every element that is kept, and every output.
::testing::AssertionResult equal_kept(const Network& network, const Executor& a, const Executor& b,
                                      const std::set<std::size_t>& keep) {
  const auto compared = support::compare_kept(network, a, b, keep);
  if (support::all_equal(compared)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << support::differences(compared);
}

void check(Engine& engine, bool against_host) {
  for (int i = 0; i < graphs; ++i) {
    const std::uint64_t seed = graph_seed + static_cast<std::uint64_t>(i);
    Draw draw(seed);
    const std::string text = support::random_graph_model(draw, limits);
    const Model model(text);
    const Network& network = model.network();
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + text);
    std::set<std::size_t> keep;
    for (const std::size_t node : model.all_layers()) {
      if (draw.once_in(3)) keep.insert(node);
    }
    const std::int64_t batch = draw.integer(1, 3);
    const auto whole = make_executor(model, engine, support::whole_way(network, batch, keep));
    support::fill_input(*whole, 2);
    whole->run();
    if (against_host && text.find("softmax") == std::string::npos) {  // whose exponentials differ
      const auto reference = make_reference_engine();
      const auto expected = make_executor(model, *reference, support::whole_way(network, batch, keep));
      support::fill_input(*expected, 2);
      expected->run();
      ASSERT_TRUE(equal_kept(network, *expected, *whole, keep)) << "against the host";
    }
    for (int w = 0; w < 4; ++w) {
      const Way way = random_device_way(draw, network, batch, keep);
      SCOPED_TRACE(to_string(way));
      const auto patched = make_executor(model, engine, way);
      support::fill_input(*patched, 2);
      for (int run = 0; run < (way.settings.graph ? 3 : 1); ++run) patched->run();
      ASSERT_TRUE(equal_kept(network, *whole, *patched, keep));
    }
  }
}

TEST(SmallCudaGraphs, DirectHasTheBitsOfTheHostAndOfItsWhole) {
  HALOTILE_NEEDS_GPU();
  check(*make_direct_engine(0, DirectStage::automatic), true);
}

class CudaGraphs : public ::testing::TestWithParam<Precision> {};

TEST_P(CudaGraphs, TensorCoreHasTheBitsOfItsWhole) {
  HALOTILE_NEEDS_GPU();
  check(*make_tensor_core_engine(0, GetParam()), false);
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaGraphs,
                         ::testing::Values(Precision::bf16, Precision::fp16, Precision::tf32,
                                           Precision::fp32));

}  // namespace
}  // namespace halotile
