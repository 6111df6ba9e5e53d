// The shipped networks on the GPU: whole against the reference engine on the host, and patched in every way
// against whole, on the device.
#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using support::differences;
using support::make_executor;
using support::Model;
using support::Way;

// The sources, which may lie elsewhere than where the test was built.
std::filesystem::path source_dir() {
  const char* const moved = std::getenv("HALOTILE_SOURCE_DIR");
  return moved != nullptr ? moved : HALOTILE_SOURCE_DIR;
}

Network shipped(const std::string& name) {
  return read_network(source_dir() / "configs" / "models" / (name + ".yaml"), std::nullopt, "");
}

// Ends of the stages per_conv, and the logits.
std::set<std::size_t> stage_ends(const Network& network) {
  std::set<std::size_t> ends{network.logits()};
  for (const NodeGroup& group : per_conv_groups(network)) ends.insert(group.back());
  return ends;
}

// The engines there are, tensor_core once for each element type.
enum class Kind : std::uint8_t { direct, bf16, f16, tf32, split };

std::string to_string(Kind kind) {
  static constexpr const char* names[] = {"Direct", "Bf16", "F16", "Tf32", "Split"};
  return names[static_cast<std::size_t>(kind)];
}

std::unique_ptr<Engine> make_engine(Kind kind) {
  if (kind == Kind::direct) return make_direct_engine(0, DirectStage::automatic);
  return make_tensor_core_engine(0, kind == Kind::bf16   ? Precision::bf16
                                    : kind == Kind::f16  ? Precision::fp16
                                    : kind == Kind::tf32 ? Precision::tf32
                                                         : Precision::fp32);
}

using ModelCase = std::pair<std::string, Kind>;

class CudaModel : public ::testing::TestWithParam<ModelCase> {};

TEST_P(CudaModel, EveryWayHasTheBitsOfTheWhole) {
  HALOTILE_NEEDS_GPU();
  const Model model(shipped(GetParam().first));
  const Network& network = model.network();
  const auto engine = make_engine(GetParam().second);
  constexpr std::int64_t batch = 3;
  const std::set<std::size_t> keep{network.spatial_nodes() - 1, network.logits()};
  const auto whole = make_executor(model, *engine, support::whole_way(network, batch, keep));
  support::fill_input(*whole, 2);
  whole->run();
  int ways = 0;
  const auto expect_equal = [&](const Way& way, const std::string& how) {
    SCOPED_TRACE(to_string(way) + how);
    const auto patched = make_executor(model, *engine, way);
    support::fill_input(*patched, 2);
    const int runs = way.settings.graph ? 3 : 1;
    for (int run = 0; run < runs; ++run) patched->run();
    for (const std::size_t layer : keep) {
      const ConstMapView got = patched->device_output(layer);
      if (got.data != nullptr) {
        ASSERT_EQ(engine->differing(whole->device_output(layer), got), 0) << network.nodes[layer].name;
      }
    }
    ++ways;
  };
  for (std::int64_t n = 1; n <= 8; ++n) {
    for (const Storage storage : {Storage::view, Storage::packed}) {
      for (const MemoryMode memory : {MemoryMode::arena, MemoryMode::pool}) {
        Way way = support::whole_way(network, batch, keep);
        way.patch = {PatchSpec::Kind::grid, {n, n}};
        if (n % 3 == 0) way.stages = fused_groups(network);
        way.settings.poison = true;
        way.settings.download = false;
        way.settings.streams = static_cast<int>(2 * n - (storage == Storage::view ? 1 : 0));
        way.settings.sub_batch = memory == MemoryMode::pool ? n % 3 : (n + 1) % 4;
        way.settings.storage = storage;
        way.settings.memory = memory;
        way.settings.graph = memory == MemoryMode::arena && n % 2 == 0;
        expect_equal(way, memory == MemoryMode::pool ? ", pool" : way.settings.graph ? ", graph" : ", arena");
        if (memory == MemoryMode::arena) {
          way.settings.batched = way.settings.graph = true;
          way.settings.streams = 1;
          expect_equal(way, ", batched");
          way.stages = fused_groups(network);
          way.settings.ring_bytes = std::size_t{1} << (13 + n);  // for a tile at a time, and up to all
          expect_equal(way, ", batched, fused");
        }
      }
    }
  }
  RecordProperty("ways", ways);
}

std::vector<ModelCase> model_cases() {
  std::vector<ModelCase> cases;
  for (const char* const name :
       {"alexnet", "alexnet_single_tower", "alexnet_torchvision", "vgg16", "vit_patch_embed", "digits"}) {
    for (const Kind kind : {Kind::direct, Kind::bf16, Kind::f16, Kind::tf32, Kind::split})
      cases.emplace_back(name, kind);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, CudaModel, ::testing::ValuesIn(model_cases()),
                         [](const auto& c) { return c.param.first + to_string(c.param.second); });

class DirectAgainstReference : public ::testing::TestWithParam<std::string> {};

TEST_P(DirectAgainstReference, EveryStageAndTheLogitsHaveTheSameBits) {
  HALOTILE_NEEDS_GPU();
  const Model model(shipped(GetParam()));
  const Network& network = model.network();
  constexpr std::int64_t batch = 4;
  const std::set<std::size_t> keep = stage_ends(network);
  const auto reference = make_reference_engine();
  Way on_host = support::whole_way(network, batch, keep);
  on_host.settings.streams = 8;  // of the host: an image each
  on_host.settings.sub_batch = 1;
  const auto expected = make_executor(model, *reference, on_host);
  support::fill_input(*expected, 2);
  expected->run();
  for (const DirectStage stage : {DirectStage::automatic, DirectStage::input, DirectStage::filter}) {
    const auto direct = make_direct_engine(0, stage);
    const auto got = make_executor(model, *direct, support::whole_way(network, batch, keep));
    support::fill_input(*got, 2);
    got->run();
    for (const std::size_t layer : keep) {
      const Comparison compared = compare(expected->output(layer), got->output(layer), {}, 0);
      EXPECT_TRUE(compared.equal_bits()) << network.nodes[layer].name << ": " << compared.different << " of "
                                         << compared.elements << " differ";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DirectAgainstReference, ::testing::Values("alexnet", "alexnet_torchvision"),
                         [](const auto& c) { return c.param; });

}  // namespace
}  // namespace halotile
