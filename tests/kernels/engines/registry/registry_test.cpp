// The table of engines, and that engines do what it says of them.
#include "kernels/engines/registry/registry.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "kernels/devices/stream.hpp"
#include "kernels/engines/oracle.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;

// One of each type, as it is by default.
std::vector<Op> every_op() {
  std::vector<Op> ops;
  [&]<std::size_t... index>(std::index_sequence<index...>) {
    (ops.emplace_back(std::in_place_index<index>), ...);
  }
  (std::make_index_sequence<std::variant_size_v<Op>>());
  return ops;
}

std::vector<const EngineEntry*> cpu_engines() {
  std::vector<const EngineEntry*> found;
  for (const EngineEntry& entry : all_engines()) {
    if (entry.device == DeviceKind::cpu) found.push_back(&entry);
  }
  return found;
}

TEST(Registry, HasEveryEngineOnceByItsName) {
  ASSERT_EQ(all_engines().size(), words_of<EngineKind>.size());
  for (const EngineEntry& entry : all_engines()) {
    EXPECT_EQ(&entry_of(entry.kind), &entry);
    EXPECT_EQ(find_engine(entry.name()), &entry);
    EXPECT_FALSE(entry.precisions.empty()) << entry.name();
    EXPECT_TRUE(entry.has(Precision::fp32)) << entry.name();
    EXPECT_FALSE(entry.bits.empty()) << entry.name();
  }
  EXPECT_EQ(find_engine("auto"), nullptr);
}

TEST(Registry, DefaultsFollowDeviceAndPrecision) {
  const auto kind = [](DeviceKind device, Precision precision) {
    return default_engine(device, precision).kind;
  };
  EXPECT_EQ(kind(DeviceKind::cpu, Precision::fp32), EngineKind::onednn);
  EXPECT_EQ(kind(DeviceKind::cpu, Precision::bf16), EngineKind::onednn);
  EXPECT_EQ(kind(DeviceKind::cpu, Precision::fp16), EngineKind::onednn);  // which will say that it has it not
  EXPECT_EQ(kind(DeviceKind::cuda, Precision::fp32), EngineKind::direct);
  for (const Precision precision : {Precision::tf32, Precision::bf16, Precision::fp16})
    EXPECT_EQ(kind(DeviceKind::cuda, precision), EngineKind::tensor_core) << word(precision);
}

TEST(Registry, SaysWhichBitsArePromised) {
  std::set<EngineKind> promised;
  for (const EngineEntry& entry : all_engines()) {
    if (entry.promises_bits) promised.insert(entry.kind);
  }
  EXPECT_EQ(promised, (std::set{EngineKind::reference, EngineKind::direct, EngineKind::tensor_core}));
  EXPECT_TRUE(
      bits_statement(entry_of(EngineKind::direct)).starts_with("Equal bits are promised by engine direct: "));
  EXPECT_TRUE(bits_statement(entry_of(EngineKind::onednn))
                  .starts_with("Equal bits are measured, not promised, by engine onednn: "));
}

TEST(Registry, EveryOperationHasANameAndAnEngine) {
  EXPECT_EQ(std::set<std::string_view>(op_names.begin(), op_names.end()).size(), op_names.size());
  for (const Op& op : every_op()) {
    EXPECT_TRUE(std::ranges::any_of(all_engines(), [&](const EngineEntry& e) { return e.supports(op); }))
        << name_of(op);
  }
  EXPECT_EQ(name_of(Conv2d{}), "conv2d");
  EXPECT_EQ(name_of(Normalize{}), "normalize");
}

TEST(Registry, KnowsWhatEachEngineHas) {
  const auto engines_with = [](const Op& op) {
    std::set<EngineKind> kinds;
    for (const EngineEntry& entry : all_engines()) {
      if (entry.supports(op)) kinds.insert(entry.kind);
    }
    return kinds;
  };
  const std::set all{EngineKind::onednn, EngineKind::reference, EngineKind::direct, EngineKind::tensor_core,
                     EngineKind::cudnn};
  for (const Op& op : every_op()) {
    if (is_one_of<LrnMaxPool, Normalize>(op)) continue;
    EXPECT_EQ(engines_with(op), all) << name_of(op);
  }
  EXPECT_EQ(engines_with(LrnMaxPool{}), std::set{EngineKind::tensor_core});
  LrnMaxPool average;
  average.pool.kind = PoolKind::average;
  EXPECT_EQ(engines_with(average), std::set<EngineKind>{});
  EXPECT_EQ(engines_with(Normalize{}),
            (std::set{EngineKind::direct, EngineKind::tensor_core, EngineKind::cudnn}));
  FullyConnected block{4, 8, false, {}, {}, {0, 4}};
  EXPECT_EQ(engines_with(block), (std::set{EngineKind::onednn, EngineKind::reference, EngineKind::direct}));
  block.features = {0, 8};
  EXPECT_EQ(engines_with(block), all);
}

TEST(Registry, EnginesSupportWhatTheTableSays) {
  for (const EngineEntry* const entry : cpu_engines()) {
    const auto engine = entry->make({});
    EXPECT_EQ(engine->name(), entry->name());
    EXPECT_TRUE(engine->device().host_memory());
    EXPECT_EQ(entry->missing(), "");
    const MapGeometry map = dense_geometry(DType::f32, 1, 4, Rect::whole({1, 1}), {1, 1});
    for (const Op& op : every_op()) {
      EXPECT_EQ(engine->obstacle(op), entry->obstacle(op)) << entry->name() << ", " << name_of(op);
      if (entry->supports(op)) continue;
      try {
        (void)engine->prepare(op, map, map);
        ADD_FAILURE() << entry->name() << " prepared " << name_of(op);
      } catch (const UnsupportedError& error) {
        EXPECT_EQ(error.what(), "engine " + std::string(entry->name()) + ": " + std::string(name_of(op)) +
                                    ": " + entry->obstacle(op));
      }
    }
  }
}

// Operations with parameters that they can be prepared with.
std::vector<Op> prepared_ops() {
  const Parameter weight(oracle::random_values(1, 16));
  return {Conv2d{4, 4, 1, {}, false, weight, {}},
          FullyConnected{4, 4, false, weight, {}, {0, 4}},
          Pool2d{},
          Lrn{},
          Relu{},
          LeakyRelu{},
          Binary{},
          Softmax{},
          Copy{}};
}

TEST(Registry, EnginesPrepareAndRunWhatTheySupport) {
  for (const EngineEntry* const entry : cpu_engines()) {
    const auto engine = entry->make({});
    CpuStream stream;
    GuardedMap in(DType::f32, 1, 4, {1, 1});
    in.randomize(2);
    std::size_t supported = 0;
    for (const Op& op : every_op()) supported += entry->supports(op) ? 1 : 0;
    EXPECT_EQ(prepared_ops().size(), supported) << entry->name();
    for (const Op& op : prepared_ops()) {
      const GuardedMap out(DType::f32, 1, 4, {1, 1});
      const std::vector<ConstMapView> inputs(is_one_of<Binary>(op) ? 2 : 1, in.view());
      const std::vector<MapGeometry> shapes(inputs.begin(), inputs.end());
      const auto operation = engine->prepare(op, shapes, out.view());
      const Buffer scratch = engine->device().allocate(operation->scratch_bytes());
      operation->run(inputs, out.view(), {stream, {scratch.data(), scratch.bytes()}});
      EXPECT_TRUE(out.complete()) << entry->name() << ", " << name_of(op);
    }
  }
}

// Layers of the kernels that the CPU engines have: plain, Winograd's, oneDNN's.
std::vector<Conv2d> convolutions() {
  Window window;
  window.kernel = {3, 3};
  window.padding = {1, 1};
  Window strided = window;
  strided.stride = {2, 2};
  return {{3, 8, 1, window, true, {}, {}},
          {64, 64, 1, window, false, {}, {}},
          {16, 32, 2, strided, true, {}, {}}};
}

// What an engine that knew layers by the addresses of their weights would get wrong: new weights where old
// ones were.
TEST(Registry, EnginesTellWeightsApartThatShareAnAddress) {
  const auto run = [](Engine& engine, const Op& op, const GuardedMap& in, const GuardedMap& out) {
    CpuStream stream;
    const auto operation = engine.prepare(op, in.view(), out.view());
    const Buffer scratch = engine.device().allocate(operation->scratch_bytes());
    operation->run(in.view(), out.view(), {stream, {scratch.data(), scratch.bytes()}});
  };
  // Runs op(weight, bias) for weights that follow each other at one address; every time as a fresh engine
  // does.
  const auto check = [&](const EngineEntry& entry, std::int64_t weights, std::int64_t biases,
                         const GuardedMap& in, const MapGeometry& geometry, const auto& op) {
    const auto engine = entry.make({});
    std::vector<float> memory(static_cast<std::size_t>(weights + biases));
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      memory = oracle::random_values(seed, weights + biases);
      const auto owner = std::make_shared<int>();
      const std::span<const float> values(memory);
      const auto first = values.first(static_cast<std::size_t>(weights));
      const Op made = op(Parameter(first, owner), Parameter(values.subspan(first.size()), owner));
      const GuardedMap got(DType::f32, 1, geometry.channels, geometry.whole);
      run(*engine, made, in, got);
      const GuardedMap expected(DType::f32, 1, geometry.channels, geometry.whole);
      run(*entry.make({}), made, in, expected);
      EXPECT_TRUE(oracle::same_bits(got, expected))
          << entry.name() << ", " << name_of(made) << ", weights " << seed;
    }
  };
  for (const EngineEntry* const entry : cpu_engines()) {
    for (const Conv2d& layer : convolutions()) {
      GuardedMap in(DType::f32, 1, layer.in_channels, {9, 9});
      in.randomize(7);
      const Extent2 whole = output_extent(layer.window, {9, 9});
      check(*entry, layer.out_channels * layer.in_channels / layer.groups * 9, layer.out_channels, in,
            dense_geometry(DType::f32, 1, layer.out_channels, Rect::whole(whole), whole),
            [&](const Parameter& weight, const Parameter& bias) -> Op {
              Conv2d made = layer;
              made.weight = weight;
              made.bias = bias;
              return made;
            });
    }
    GuardedMap in(DType::f32, 1, 40, {1, 1});
    in.randomize(8);
    check(*entry, 40 * 200, 200, in, dense_geometry(DType::f32, 1, 200, Rect::whole({1, 1}), {1, 1}),
          [](const Parameter& weight, const Parameter& bias) -> Op {
            return FullyConnected{40, 200, true, weight, bias, {0, 200}};
          });
  }
}

TEST(Registry, OperationsKeepTheirParameters) {
  for (const EngineEntry* const entry : cpu_engines()) {
    const auto engine = entry->make({});
    CpuStream stream;
    GuardedMap in(DType::f32, 1, 40, {1, 1});
    in.randomize(8);
    const GuardedMap expected(DType::f32, 1, 8, {1, 1});
    const GuardedMap got(DType::f32, 1, 8, {1, 1});
    const auto layer = [](std::uint64_t seed) {
      return FullyConnected{40,
                            8,
                            false,
                            Parameter(oracle::random_values(seed, 320)),
                            Parameter(oracle::random_values(seed + 1, 8)),
                            {0, 8}};
    };
    const auto operation = engine->prepare(layer(1), in.view(), got.view());  // the layer itself is gone
    std::vector<std::unique_ptr<Operation>> others;
    for (std::uint64_t seed = 2; seed < 20; ++seed)
      others.push_back(engine->prepare(layer(seed), in.view(), got.view()));
    const Buffer scratch = engine->device().allocate(operation->scratch_bytes());
    const RunContext context{stream, {scratch.data(), scratch.bytes()}};
    operation->run(in.view(), got.view(), context);
    const auto fresh = entry->make({});
    fresh->prepare(layer(1), in.view(), expected.view())->run(in.view(), expected.view(), context);
    EXPECT_TRUE(oracle::same_bits(got, expected)) << entry->name();
  }
}

TEST(InputViews, HoldOneOrTwo) {
  const GuardedMap a(DType::f32, 1, 1, {1, 1});
  const GuardedMap b(DType::f32, 1, 1, {1, 1});
  const InputViews one = a.view();
  EXPECT_EQ(one.size(), 1U);
  EXPECT_EQ(one.front().data, a.view().data);
  const std::vector<ConstMapView> both{a.view(), b.view()};
  const InputViews two{std::span(both)};
  EXPECT_EQ(two.size(), 2U);
  EXPECT_EQ(std::span<const ConstMapView>(two)[1].data, b.view().data);
  const std::vector<ConstMapView> many(3, a.view());
  EXPECT_THROW((void)InputViews(std::span(many)), ShapeError);
}

}  // namespace
}  // namespace halotile
