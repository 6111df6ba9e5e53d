// Networks on the cudnn engine: whole maps near the direct engine's logits, and patched in several ways near
// its own whole. What differs in bits is printed: nothing is promised.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using support::make_executor;
using support::Model;
using support::Way;

struct Kind {
  const char* name;
  Precision precision;
  double tolerance;  // of the largest logit
};

constexpr Kind kinds[] = {{"Fp32", Precision::fp32, 1e-5},
                          {"Tf32", Precision::tf32, 5e-3},
                          {"Bf16", Precision::bf16, 4e-2},
                          {"Fp16", Precision::fp16, 5e-3}};

double largest(const ConstMapView& logits) {
  const auto* const values = static_cast<const float*>(logits.data);
  double most = 0;
  for (std::int64_t n = 0; n < logits.elements(); ++n) most = std::max(most, std::abs(double{values[n]}));
  return most;
}

std::vector<Way> ways(const Network& network, std::int64_t batch, const std::set<std::size_t>& keep) {
  std::vector<Way> made;
  const auto add = [&](Extent2 grid, bool fused, auto change) {
    Way way = support::whole_way(network, batch, keep);
    way.patch = {PatchSpec::Kind::grid, grid};
    if (fused) way.stages = fused_groups(network);
    way.settings.poison = true;
    change(way.settings);
    made.push_back(way);
  };
  add({2, 2}, false, [](ExecutorSettings& s) { s.streams = 3; });
  add({3, 2}, true, [](ExecutorSettings& s) { s.storage = Storage::packed; });
  add({4, 4}, false, [](ExecutorSettings& s) {
    s.streams = 4;
    s.graph = true;
  });
  add({2, 3}, false, [](ExecutorSettings& s) { s.batched = s.graph = true; });
  add({2, 2}, true, [](ExecutorSettings& s) {
    s.memory = MemoryMode::pool;
    s.streams = 2;
    s.sub_batch = 1;
  });
  return made;
}

class CudnnModel : public ::testing::TestWithParam<std::tuple<std::string, Kind>> {};

TEST_P(CudnnModel, WholeIsNearDirectAndPatchesAreNearWhole) {
  HALOTILE_NEEDS_GPU();
  if (!cudnn_state().obstacle.empty()) GTEST_SKIP() << "no cuDNN: " << cudnn_state().obstacle;
  const auto& [name, kind] = GetParam();
  const char* const moved = std::getenv("HALOTILE_SOURCE_DIR");
  const std::filesystem::path sources = moved != nullptr ? moved : HALOTILE_SOURCE_DIR;
  const Model model(read_network(sources / "configs" / "models" / (name + ".yaml"), std::nullopt, ""));
  const Network& network = model.network();
  constexpr std::int64_t batch = 2;
  const std::size_t logits = network.logits();
  const std::set<std::size_t> keep{logits};

  const auto direct = make_direct_engine(0, DirectStage::automatic);
  const auto expected = make_executor(model, *direct, support::whole_way(network, batch, keep));
  support::fill_input(*expected, 2);
  expected->run();
  const double bound = kind.tolerance * largest(expected->output(logits));

  const auto engine = make_cudnn_engine(0, kind.precision);
  const auto whole = make_executor(model, *engine, support::whole_way(network, batch, keep));
  support::fill_input(*whole, 2);
  whole->run();
  const Comparison against_direct = compare(expected->output(logits), whole->output(logits), {}, 0);
  std::cout << "whole against direct: up to " << against_direct.max_abs << " of " << bound << "; "
            << engine->note() << "\n";
  EXPECT_LE(against_direct.max_abs, bound);

  for (const Way& way : ways(network, batch, keep)) {
    SCOPED_TRACE(to_string(way));
    const auto patched = make_executor(model, *engine, way);
    support::fill_input(*patched, 2);
    for (int run = 0; run < (way.settings.graph ? 3 : 1); ++run) patched->run();
    const Comparison compared = compare(whole->output(logits), patched->output(logits), {}, 0);
    std::cout << to_string(way) << ": " << compared.different << " of " << compared.elements
              << " logits differ, up to " << compared.max_abs << ", " << compared.max_ulp << " ulp\n";
    EXPECT_LE(compared.max_abs, bound);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CudnnModel,
                         ::testing::Combine(::testing::Values("alexnet", "alexnet_torchvision", "digits"),
                                            ::testing::ValuesIn(kinds)),
                         [](const auto& instance) {
                           return std::get<0>(instance.param) + std::get<1>(instance.param).name;
                         });

}  // namespace
}  // namespace halotile
