// The executor on a device with memory of its own: copies in and out, memory from a pool, tiles packed at
// once, layer by layer; all with the bits of the reference engine on the host.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "kernels/engines/cpu/pointwise.hpp"
#include "patching/error.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"
#include "pipeline/running/far_engine.hpp"
#include "rounds.hpp"

namespace halotile {
namespace {

using support::compare_kept;
using support::differences;
using support::Draw;
using support::FarEngine;
using support::make_executor;
using support::Model;
using support::Way;

const char* const model_text =
    "input: {channels: 3, height: 23, width: 19}\nlayers:\n"
    "  - {type: conv, name: conv1, out_channels: 8, kernel: 5, stride: 2, padding: 2}\n"
    "  - {type: relu}\n"
    "  - {type: lrn}\n"
    "  - {type: max_pool, name: pool1, kernel: 3, stride: 1}\n"
    "  - {type: conv, name: conv2, out_channels: 8, kernel: 3, padding: 1, groups: 2}\n"
    "  - {type: relu}\n"
    "  - {type: fully_connected, name: fc1, out_features: 20}\n"
    "  - {type: relu}\n"
    "  - {type: fully_connected, name: fc2, out_features: 10}\n"
    "  - {type: softmax, name: prob}\n";

class FarMemory : public testing::Test {
 protected:
  void SetUp() override {
    whole_ = make_executor(model_, *reference_, support::whole_way(model_.network(), batch, keep_));
    support::fill_input(*whole_, 3);
    whole_->run();
  }

  [[nodiscard]] Way way(PatchSpec patch = {}, int streams = 1, std::int64_t sub_batch = 0) const {
    Way way = support::whole_way(model_.network(), batch, keep_);
    way.patch = patch;
    way.settings.streams = streams;
    way.settings.sub_batch = sub_batch;
    way.settings.poison = true;
    return way;
  }

  void expect_equal(Executor& far) {
    const auto compared = compare_kept(model_.network(), *whole_, far, keep_);
    EXPECT_TRUE(support::all_equal(compared)) << differences(compared);
  }

  static constexpr std::int64_t batch = 5;
  static constexpr PatchSpec grid{PatchSpec::Kind::grid, {3, 2}};
  const Model model_{model_text};
  const std::set<std::size_t> keep_{model_.network().index_of("pool1"), model_.network().index_of("fc2")};
  std::unique_ptr<Engine> reference_ = make_reference_engine();
  std::unique_ptr<Executor> whole_;
  FarEngine engine_;
};

TEST_F(FarMemory, EveryWayHasTheBitsOfTheHost) {
  Draw draw(7);
  for (int n = 0; n < rounds(60, 5); ++n) {
    Way way = support::random_way(draw, model_.network(), batch, keep_, 6);
    way.settings.memory = draw.once_in(2) ? MemoryMode::arena : MemoryMode::pool;
    way.settings.download = draw.once_in(2);
    SCOPED_TRACE(to_string(way) + (way.settings.memory == MemoryMode::pool ? ", pool" : ", arena"));
    const auto far = make_executor(model_, engine_, way);
    support::fill_input(*far, 3);
    for (int run = 0; run < 2; ++run) {
      far->run();
      expect_equal(*far);
    }
    EXPECT_EQ(engine_.device().in_order, 0);
  }
}

TEST_F(FarMemory, NothingIsAllocatedInTheSteadyStateOfAnArena) {
  Way packed = way(grid, 3, 2);
  packed.settings.storage = Storage::packed;
  const auto far = make_executor(model_, engine_, packed);
  support::fill_input(*far, 3);
  far->run();
  const int before = engine_.device().allocations;
  far->run();
  EXPECT_EQ(engine_.device().allocations, before);
}

TEST_F(FarMemory, TilesThatGoTogetherHaveTheBitsOfTheHost) {
  for (const bool fused : {false, true}) {
    for (const Storage storage : {Storage::view, Storage::packed}) {
      Way together = way(grid, 1, 2);
      if (fused) together.stages = fused_groups(model_.network());
      together.settings.keep = {model_.network().index_of("fc2")};
      together.settings.batched = true;
      together.settings.storage = storage;
      const auto far = make_executor(model_, engine_, together);
      support::fill_input(*far, 3);
      for (int run = 0; run < 2; ++run) {
        far->run();
        const auto compared = compare_kept(model_.network(), *whole_, *far, together.settings.keep);
        EXPECT_TRUE(support::all_equal(compared)) << to_string(together) << differences(compared);
      }
    }
  }
}

// Windows that overlap, touch and leave gaps; maps read beyond their end.
const char* const deep_text =
    "input: {channels: 2, height: 41, width: 37}\nlayers:\n"
    "  - {type: conv, name: conv1, out_channels: 3, kernel: [5, 3], stride: 2, padding: [2, 0]}\n"
    "  - {type: relu}\n"
    "  - {type: max_pool, kernel: 3, stride: 1, padding: 1}\n"
    "  - {type: conv, out_channels: 4, kernel: 3, padding: 2, dilation: 2}\n"
    "  - {type: lrn}\n"
    "  - {type: avg_pool, kernel: 2, stride: [1, 3], ceil_mode: true}\n"
    "  - {type: conv, out_channels: 4, kernel: [1, 5], stride: [2, 1], padding: [0, 2]}\n"
    "  - {type: conv, out_channels: 3, kernel: 3, padding: 1}\n"
    "  - {type: adaptive_avg_pool, name: last, output: [13, 4]}\n"
    "  - {type: fully_connected, name: fc1, out_features: 7}\n";

TEST_F(FarMemory, PartsOfSeveralTilesHaveTheBitsOfTheHost) {
  const Model deep(deep_text);
  const std::set<std::size_t> keep{deep.network().index_of("last"), deep.network().index_of("fc1")};
  const auto whole = make_executor(deep, *reference_, support::whole_way(deep.network(), batch, keep));
  support::fill_input(*whole, 3);
  whole->run();
  Draw draw(11);
  constexpr int ways = rounds(300, 10);
  for (int n = 0; n < ways; ++n) {
    Way way = support::random_way(draw, deep.network(), batch, keep, 1);
    if (draw.once_in(2)) way.stages = fused_groups(deep.network());
    way.settings.batched = true;
    way.settings.ring_bytes = static_cast<std::size_t>(draw.integer(1, 60000));
    SCOPED_TRACE(to_string(way) + ", " + std::to_string(way.settings.ring_bytes) + " bytes");
    const auto far = make_executor(deep, engine_, way);
    support::fill_input(*far, 3);
    for (int run = 0; run < 2; ++run) {
      far->run();
      const auto compared = compare_kept(deep.network(), *whole, *far, keep);
      ASSERT_TRUE(support::all_equal(compared)) << differences(compared);
    }
  }
  EXPECT_GT(engine_.begun, ways / 3) << "parts that begin beside others";
}

TEST_F(FarMemory, CopiesOnlyWhatIsNeeded) {
  Way asked = way(grid, 2, 2);
  const auto far = make_executor(model_, engine_, asked);
  support::fill_input(*far, 3);
  const auto input_bytes = static_cast<std::size_t>(4 * far->input().elements());
  far->run();
  EXPECT_EQ(engine_.device().uploaded, input_bytes);
  const std::size_t kept = engine_.device().downloaded;
  EXPECT_EQ(kept, std::size_t{4 * batch * (8 * 10 * 8 + 10)});
  (void)far->output(model_.network().index_of("fc2"));
  EXPECT_EQ(engine_.device().downloaded, kept);
  (void)far->output(model_.network().index_of("prob"));  // not kept, but last
  EXPECT_GT(engine_.device().downloaded, kept);
}

TEST_F(FarMemory, OutputsAskedForAreThoseOfTheLastRun) {
  Way lazy = way(grid, 2);
  lazy.settings.download = false;
  const auto far = make_executor(model_, engine_, lazy);
  support::fill_input(*far, 4);
  far->run();
  EXPECT_EQ(engine_.device().downloaded, 0U);
  (void)far->output(model_.network().index_of("fc2"));
  support::fill_input(*far, 3);
  far->run();
  expect_equal(*far);
}

TEST_F(FarMemory, ResidentInputIsUploadedWhenToldTo) {
  Way resident = way(grid, 2, 2);
  resident.settings.resident_input = true;
  const auto far = make_executor(model_, engine_, resident);
  support::fill_input(*far, 3);
  far->load_input();
  const std::size_t uploaded = engine_.device().uploaded;
  support::fill_input(*far, 4);
  far->run();
  far->run();
  expect_equal(*far);
  EXPECT_EQ(engine_.device().uploaded, uploaded);
}

TEST_F(FarMemory, PixelsAreNormalizedOnTheDevice) {
  const std::array<float, 3> mean{0.485F, 0.456F, 0.406F};
  const std::array<float, 3> stddev{0.229F, 0.224F, 0.225F};
  for (const bool resident : {false, true}) {
    Way pixels = way(grid, 2, 2);
    pixels.settings.pixels = PixelInput{mean, stddev};
    pixels.settings.resident_input = resident;
    const auto far = make_executor(model_, engine_, pixels);
    const MapView input = far->input();
    ASSERT_EQ(input.dtype, DType::u8);
    const MapView same = whole_->input();
    for (std::int64_t i = 0; i < input.elements(); ++i) {
      const auto x = static_cast<std::uint8_t>(i * 37 % 256);
      const auto c = static_cast<std::size_t>(i % 3);
      static_cast<std::uint8_t*>(input.data)[i] = x;
      static_cast<float*>(same.data)[i] = (static_cast<float>(x) / 255.0F - mean[c]) / stddev[c];
    }
    far->load_input();
    whole_->run();
    far->run();
    expect_equal(*far);
  }
}

TEST_F(FarMemory, ALostTileIsNoticed) {
  Way packed = way(grid, 3, 2);
  packed.settings.storage = Storage::packed;
  const auto far = make_executor(model_, engine_, packed);
  support::fill_input(*far, 3);
  engine_.lost_arrivals = 1;
  EXPECT_THROW(far->run(), TileError);
  EXPECT_NO_THROW(far->run());
}

TEST_F(FarMemory, AFullPoolIsToldAndNothingIsLost) {
  Way pooled = way(grid, 3, 2);
  pooled.settings.memory = MemoryMode::pool;
  const auto far = make_executor(model_, engine_, pooled);
  support::fill_input(*far, 3);
  for (const int allocations : {0, 1, 5, 20}) {
    engine_.device().until_full = allocations;
    const std::string message = support::message_of<UnsupportedError>({}, [&] { far->run(); });
    EXPECT_EQ(message, "not enough memory") << allocations;
    EXPECT_EQ(engine_.device().in_order, 0) << allocations;
  }
  engine_.device().until_full = -1;
  far->run();
  expect_equal(*far);
}

TEST_F(FarMemory, TimesAreTakenInProfiledRunsAlone) {
  Way packed = way(grid, 3, 2);
  packed.settings.storage = Storage::packed;
  const auto far = make_executor(model_, engine_, packed);
  support::fill_input(*far, 3);
  far->run();
  for (const LayerTime& line : far->times()) EXPECT_EQ(line.seconds, 0) << line.name;
  EXPECT_GT(far->idle_seconds(), 0);
  far->profile();
  std::map<std::string, double> kinds;
  for (const LayerTime& line : far->times()) kinds[line.kind] += line.seconds;
  for (const char* kind : {"conv", "lrn", "max_pool", "fully_connected", "softmax", "pack", "place",
                           "host_to_device", "device_to_host"}) {
    EXPECT_GT(kinds[kind], 0) << kind;
  }
  EXPECT_EQ(kinds["allocation"], 0);
  far->reset_times();
  for (const LayerTime& line : far->times()) EXPECT_EQ(line.seconds, 0) << line.name;
}

}  // namespace
}  // namespace halotile
