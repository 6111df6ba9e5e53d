// The executor with the direct engine against the reference engine on the host: every way of running a small
// network, all of it poisoned before each run.
#include <gtest/gtest.h>

#include <map>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/engine_choice.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using support::compare_kept;
using support::differences;
using support::Draw;
using support::make_executor;
using support::Model;
using support::Way;

const char* const model_text =
    "input: {channels: 3, height: 29, width: 25}\nlayers:\n"
    "  - {type: conv, name: conv1, out_channels: 8, kernel: 5, stride: 2, padding: 2}\n"
    "  - {type: relu}\n"
    "  - {type: lrn}\n"
    "  - {type: max_pool, name: pool1, kernel: 3, stride: 1, padding: 1}\n"
    "  - {type: conv, name: conv2, out_channels: 12, kernel: 3, padding: 1, groups: 2}\n"
    "  - {type: relu}\n"
    "  - {type: avg_pool, name: pool2, kernel: 2}\n"
    "  - {type: fully_connected, name: fc1, out_features: 33}\n"
    "  - {type: relu}\n"
    "  - {type: fully_connected, name: fc2, out_features: 10}\n";

constexpr std::int64_t batch = 5;

class SmallDirectPipeline : public ::testing::Test {
 protected:
  void SetUp() override {
    HALOTILE_NEEDS_GPU();
    direct_ = make_direct_engine(0, DirectStage::automatic);
    whole_ = make_executor(model_, *reference_, support::whole_way(model_.network(), batch, keep_));
    support::fill_input(*whole_, 3);
    whole_->run();
  }
  [[nodiscard]] Way way(PatchSpec patch, int streams, std::int64_t sub_batch) const {
    Way way = support::whole_way(model_.network(), batch, keep_);
    way.patch = patch;
    way.settings.streams = streams;
    way.settings.sub_batch = sub_batch;
    way.settings.poison = true;
    return way;
  }
  void expect_equal_runs(const Way& way, int runs) {
    const auto on_gpu = make_executor(model_, *direct_, way);
    support::fill_input(*on_gpu, 3);
    on_gpu->load_input();
    for (int run = 0; run < runs; ++run) {
      on_gpu->run();
      const auto compared = compare_kept(model_.network(), *whole_, *on_gpu, keep_);
      ASSERT_TRUE(support::all_equal(compared)) << "run " << run << "\n" << differences(compared);
    }
  }

  static constexpr PatchSpec grid{PatchSpec::Kind::grid, {3, 2}};
  const Model model_{model_text};
  const std::set<std::size_t> keep_{model_.network().index_of("pool1"), model_.network().index_of("fc2")};
  std::unique_ptr<Engine> reference_ = make_reference_engine();
  std::unique_ptr<Engine> direct_;
  std::unique_ptr<Executor> whole_;
};

TEST_F(SmallDirectPipeline, EveryWayHasTheBitsOfTheReference) {
  Draw draw(20140904);
  for (int n = 0; n < 24; ++n) {
    Way way = support::random_way(draw, model_.network(), batch, keep_, 16);
    way.settings.memory = draw.once_in(3) ? MemoryMode::pool : MemoryMode::arena;
    way.settings.graph = way.settings.memory == MemoryMode::arena && draw.once_in(2);
    way.settings.download = draw.once_in(2);
    SCOPED_TRACE(to_string(way) + (way.settings.memory == MemoryMode::pool ? ", pool" : ", arena") +
                 (way.settings.graph ? ", graph" : ""));
    expect_equal_runs(way, way.settings.graph ? 3 : 1);
  }
}

TEST_F(SmallDirectPipeline, ResidentInput) {
  for (const bool graph : {false, true}) {
    Way resident = way(grid, 3, 2);
    resident.settings.resident_input = true;
    resident.settings.graph = graph;
    expect_equal_runs(resident, 3);
  }
}

TEST_F(SmallDirectPipeline, PixelsAreNormalizedToTheBitsOfTheHost) {
  const std::array<float, 3> mean{0.485F, 0.456F, 0.406F};
  const std::array<float, 3> stddev{0.229F, 0.224F, 0.225F};
  for (const std::int64_t sub_batch : {0, 1}) {
    Way pixels = way(grid, 2, sub_batch);
    pixels.settings.pixels = PixelInput{mean, stddev};
    const auto on_gpu = make_executor(model_, *direct_, pixels);
    const MapView input = on_gpu->input();
    const MapView same = whole_->input();
    for (std::int64_t i = 0; i < input.elements(); ++i) {
      const auto x = static_cast<std::uint8_t>(i * 37 % 256);
      const auto c = static_cast<std::size_t>(i % 3);
      static_cast<std::uint8_t*>(input.data)[i] = x;
      static_cast<float*>(same.data)[i] = (static_cast<float>(x) / 255.0F - mean[c]) / stddev[c];
    }
    whole_->run();
    on_gpu->run();
    const auto compared = compare_kept(model_.network(), *whole_, *on_gpu, keep_);
    EXPECT_TRUE(support::all_equal(compared)) << differences(compared);
  }
}

TEST_F(SmallDirectPipeline, ProfilesTellEveryKindOfWork) {
  Way packed = way(grid, 3, 2);
  packed.settings.storage = Storage::packed;
  const auto on_gpu = make_executor(model_, *direct_, packed);
  support::fill_input(*on_gpu, 3);
  on_gpu->run();
  on_gpu->profile();
  std::map<std::string, double> kinds;
  for (const LayerTime& line : on_gpu->times()) kinds[line.kind] += line.seconds;
  for (const char* kind : {"conv", "lrn", "max_pool", "avg_pool", "fully_connected", "pack", "place",
                           "host_to_device", "device_to_host"}) {
    EXPECT_GT(kinds[kind], 0) << kind;
  }
}

TEST_F(SmallDirectPipeline, MapsAreComparedOnTheDevice) {
  const auto a = make_executor(model_, *direct_, way({}, 1, 0));
  const auto b = make_executor(model_, *direct_, way(grid, 4, 2));
  support::fill_input(*a, 3);
  support::fill_input(*b, 3);
  a->run();
  b->run();
  for (const std::size_t layer : keep_) {
    EXPECT_EQ(direct_->differing(a->device_output(layer), b->device_output(layer)), 0);
  }
  support::fill_input(*b, 4);
  b->run();
  for (const std::size_t layer : keep_) {
    EXPECT_GT(direct_->differing(a->device_output(layer), b->device_output(layer)).value_or(0), 0);
  }
}

TEST(DirectPipeline, SteadyStateTakesNoMemory) {
  HALOTILE_NEEDS_GPU();
  const Model model(model_text);
  const auto engine = make_direct_engine(0, DirectStage::automatic);
  Way way = support::whole_way(model.network(), 64, {});
  way.patch = {PatchSpec::Kind::grid, {4, 4}};
  way.settings.streams = 8;
  way.settings.sub_batch = 16;
  way.settings.storage = Storage::packed;
  const auto executor = make_executor(model, *engine, way);
  support::fill_input(*executor, 1);
  for (int run = 0; run < 3; ++run) executor->run();
  const std::size_t before = usable_gpus().front().free_memory;
  for (int run = 0; run < 20; ++run) executor->run();
  EXPECT_EQ(usable_gpus().front().free_memory, before);
}

TEST(DirectPipeline, SaysWhatToDoWhenTheDeviceIsFull) {
  HALOTILE_NEEDS_GPU();
  const Model model(model_text);
  const auto engine = make_direct_engine(0, DirectStage::automatic);
  // 2^20 images of 1 MiB.
  const Model large(
      "input: {channels: 64, height: 64, width: 64}\nlayers:\n"
      "  - {type: max_pool, name: pool, kernel: 1}\n");
  const Way way = support::whole_way(large.network(), 1 << 20, {});
  const std::string message =
      support::message_of<UnsupportedError>({}, [&] { (void)make_executor(large, *engine, way); });
  EXPECT_EQ(message.find("not enough memory on cuda:0: "), 0U) << message;
  EXPECT_NE(message.find("use a smaller batch or sub_batch"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  // The device is usable behind it.
  const auto small = make_executor(model, *engine, support::whole_way(model.network(), 1, {}));
  support::fill_input(*small, 1);
  EXPECT_NO_THROW(small->run());
}

TEST(DirectPipeline, StopsWhenAskedTo) {
  HALOTILE_NEEDS_GPU();
  const Model model(model_text);
  const auto engine = make_direct_engine(0, DirectStage::automatic);
  for (const bool graph : {false, true}) {
    Way way = support::whole_way(model.network(), 2, {});
    way.settings.graph = graph;
    const auto executor = make_executor(model, *engine, way);
    support::fill_input(*executor, 1);
    for (int run = 0; run < 3; ++run) executor->run();
    stop_requested = true;
    EXPECT_THROW(executor->run(), Interrupted);
    stop_requested = false;
    EXPECT_NO_THROW(executor->run());
  }
}

TEST(DirectPipeline, DeviceAutoTakesTheGpu) {
  HALOTILE_NEEDS_GPU();
  Experiment experiment;
  const EngineChoice gpu = choose_engine(experiment, 1);
  EXPECT_EQ(gpu.engine->name(), "direct");
  EXPECT_EQ(gpu.note, "");
  for (const Precision precision : {Precision::bf16, Precision::fp16, Precision::tf32}) {
    experiment.precision = precision;
    const EngineChoice shorter = choose_engine(experiment, 1);
    EXPECT_EQ(shorter.engine->name(), "tensor_core");
    EXPECT_EQ(shorter.note, "");
  }
}

}  // namespace
}  // namespace halotile
