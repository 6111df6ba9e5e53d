// What must not pass unnoticed: broken halos, unwritten elements, exceptions in work, and the wish to stop.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using support::compare_kept;
using support::HookedEngine;
using support::make_executor;
using support::message_of;
using support::Model;
using support::Way;

const std::string input_12 = "input: {channels: 3, height: 12, width: 12}\nlayers:\n";
const std::string two_convs = input_12 +
                              "  - {type: conv, name: a, out_channels: 4, kernel: 3, padding: 1}\n"
                              "  - {type: relu}\n"
                              "  - {type: conv, name: b, out_channels: 4, kernel: 3, padding: 1}\n";

std::unique_ptr<Executor> run_whole(const Model& model, Engine& engine) {
  auto whole = make_executor(model, engine, support::whole_way(model.network(), 1, {}));
  support::fill_input(*whole, 5);
  whole->run();
  return whole;
}

// An executor whose plan believes other windows than the network has.
std::unique_ptr<Executor> run_with_geometry(const Model& model, Engine& engine, const GraphGeometry& geometry,
                                            Storage storage) {
  ExecutorSettings settings;
  settings.storage = storage;
  settings.poison = true;
  // make_plan would notice that the sizes do not fit.
  const StageValues stage = stages_of(model.network(), fused_groups(model.network()), {}).front();
  std::vector<StagePlan> plan;
  plan.emplace_back(0, geometry, plane_strides(geometry), stage, PatchSpec{PatchSpec::Kind::grid, {3, 3}});
  auto executor = std::make_unique<Executor>(model.network(), std::move(plan), engine, settings);
  support::fill_input(*executor, 5);
  executor->run();
  return executor;
}

TEST(Faults, AHaloOneRowShortIsFoundInTheTileThatMissesIt) {
  const Model model(two_convs);
  const auto engine = make_reference_engine();
  const auto whole = run_whole(model, *engine);
  for (const Storage storage : {Storage::view, Storage::packed}) {
    // Right geometry first: the test itself must be able to pass.
    const auto right = run_with_geometry(model, *engine, model.network().geometry(), storage);
    EXPECT_TRUE(support::all_equal(compare_kept(model.network(), *whole, *right, {})));
    for (const std::size_t layer : {std::size_t{0}, std::size_t{2}}) {
      GraphGeometry geometry = model.network().geometry();
      --std::get<AxisWindow>(geometry.edges[layer].map.rows)
            .kernel;  // the last row of every window is forgotten
      const auto broken = run_with_geometry(model, *engine, geometry, storage);
      const auto compared = compare_kept(model.network(), *whole, *broken, {});
      ASSERT_FALSE(compared[0].equal_bits()) << "layer " << layer;
      // The last tile row reads no further than the image: the fault shows at the foot of the first one.
      const FirstDifference& first = *compared[0].first;
      EXPECT_EQ(first.tile, (TileKey{0, 0, 0, 0}));
      EXPECT_EQ(first.row, 3);
      EXPECT_EQ(first.column, 0);
      EXPECT_EQ(first.channel, 0);
    }
  }
}

// The trap of fused tiles: padding given to the input once, for both layers, instead of to each layer's own
// map.
TEST(Faults, PaddingOnlyTheInputOfAFusedStageIsFoundAtTheBorder) {
  const Model right(two_convs);
  const Model wrong(input_12 +
                    "  - {type: conv, name: a, out_channels: 4, kernel: 3, padding: 2}\n"
                    "  - {type: relu}\n"
                    "  - {type: conv, name: b, out_channels: 4, kernel: 3}\n");
  const auto right_engine = make_reference_engine();
  const auto wrong_engine = make_reference_engine();
  const auto whole = run_whole(right, *right_engine);
  Way way = support::whole_way(wrong.network(), 1, {});
  way.stages = fused_groups(wrong.network());
  way.patch = {PatchSpec::Kind::grid, {3, 3}};
  const auto broken = make_executor(wrong, *wrong_engine, way);
  support::fill_input(*broken, 5);
  broken->run();
  const std::size_t last = 2;
  const Comparison all = compare(whole->output(last), broken->output(last), {&broken->plan().front(), 3}, 0);
  EXPECT_FALSE(all.equal_bits());
  EXPECT_EQ(all.first->tile, (TileKey{0, 0, 0, 0}));
  EXPECT_EQ(all.first->row, 0);
  const Rect inner{{1, 11}, {1, 11}};
  EXPECT_TRUE(compare(subview(whole->output(last), {0, 1}, inner),
                      subview(broken->output(last), {0, 1}, inner), {}, 0)
                  .equal_bits())
      << "only the border may differ";
}

TEST(Faults, AnUnwrittenElementIsPoisonAndIsFound) {
  const Model model(two_convs);
  const auto engine = make_reference_engine();
  const auto whole = run_whole(model, *engine);
  // The last operation of one tile does nothing.
  std::size_t convs = 0;
  HookedEngine lazy(make_reference_engine(), [&](std::string_view kind, std::size_t, const MapView&) {
    return kind != "conv2d" || ++convs != 10;  // the second convolution of the fifth tile
  });
  Way way = support::whole_way(model.network(), 1, {});
  way.stages = fused_groups(model.network());
  way.patch = {PatchSpec::Kind::grid, {3, 3}};
  way.settings.poison = true;
  const auto executor = make_executor(model, lazy, way);
  support::fill_input(*executor, 5);
  executor->run();
  auto compared = compare_kept(model.network(), *whole, *executor, {});
  EXPECT_EQ(compared[0].different, 4 * 4 * 4) << "one tile of 4x4 positions and 4 channels";
  EXPECT_TRUE(std::isnan(compared[0].first->got));
  EXPECT_EQ(compared[0].first->tile, (TileKey{0, 0, 1, 1}));
  EXPECT_EQ(compared[0].max_abs, std::numeric_limits<double>::infinity());
  // A second run with the same memory is poisoned again: what the first run left does not help.
  convs = 0;
  executor->run();
  compared = compare_kept(model.network(), *whole, *executor, {});
  EXPECT_EQ(compared[0].different, 4 * 4 * 4);
  EXPECT_TRUE(std::isnan(compared[0].first->got));
}

struct WorkFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

TEST(Faults, AnExceptionInWorkReachesTheCallerAndTheNextRunIsWhole) {
  const Model model(two_convs);
  const auto engine = make_reference_engine();
  const auto whole = run_whole(model, *engine);
  for (const int streams : {1, 2, 5}) {
    for (const std::size_t at : {0U, 1U, 7U, 17U}) {
      SCOPED_TRACE(std::to_string(streams) + " streams, call " + std::to_string(at));
      std::atomic<bool> faulty = true;
      HookedEngine thrower(make_reference_engine(), [&](std::string_view, std::size_t call, const MapView&) {
        if (faulty && call == at) throw WorkFailed("tile trouble");
        return true;
      });
      Way way = support::whole_way(model.network(), 1, {});
      way.patch = {PatchSpec::Kind::grid, {3, 3}};
      way.settings.streams = streams;
      way.settings.poison = true;
      const auto executor = make_executor(model, thrower, way);
      support::fill_input(*executor, 5);
      EXPECT_EQ(message_of<WorkFailed>("", [&] { executor->run(); }), "tile trouble");
      faulty = false;
      executor->run();
      EXPECT_TRUE(support::all_equal(compare_kept(model.network(), *whole, *executor, {})));
    }
  }
}

TEST(Faults, AllTilesMayThrow) {
  const Model model(two_convs);
  HookedEngine thrower(make_reference_engine(), [](std::string_view, std::size_t, const MapView&) -> bool {
    throw WorkFailed("every tile");
  });
  Way way = support::whole_way(model.network(), 1, {});
  way.patch = {PatchSpec::Kind::grid, {6, 6}};
  way.settings.streams = 4;
  const auto executor = make_executor(model, thrower, way);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(message_of<WorkFailed>("", [&] { executor->run(); }), "every tile");
}

class Stop : public testing::Test {
 protected:
  void TearDown() override { stop_requested = false; }
};

TEST_F(Stop, EndsARunAndTheNextOneIsWhole) {
  const Model model(two_convs);
  const auto engine = make_reference_engine();
  const auto whole = run_whole(model, *engine);
  for (const int streams : {1, 4}) {
    bool armed = true;
    HookedEngine stopper(make_reference_engine(), [&](std::string_view, std::size_t call, const MapView&) {
      if (call == 5 && armed) stop_requested = true;
      return true;
    });
    Way way = support::whole_way(model.network(), 1, {});
    way.patch = {PatchSpec::Kind::grid, {3, 3}};
    way.settings.streams = streams;
    const auto executor = make_executor(model, stopper, way);
    support::fill_input(*executor, 5);
    EXPECT_THROW(executor->run(), Interrupted);
    EXPECT_THROW(executor->run(), Interrupted) << "the wish stays until it is taken back";
    stop_requested = false;
    executor->run();
    EXPECT_TRUE(support::all_equal(compare_kept(model.network(), *whole, *executor, {})));
  }
}

TEST_F(Stop, FromAnotherThreadEndsLongWorkSoon) {
  const Model model(
      "input: {channels: 8, height: 96, width: 96}\nlayers:\n"
      "  - {type: conv, out_channels: 8, kernel: 3, padding: 1}\n");
  const auto engine = make_reference_engine();
  Way way = support::whole_way(model.network(), 1, {});
  way.patch = {PatchSpec::Kind::grid, {48, 48}};
  way.settings.streams = 2;
  const auto executor = make_executor(model, *engine, way);
  support::fill_input(*executor, 5);
  std::thread wish([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop_requested = true;
  });
  EXPECT_THROW(
      {
        for (int i = 0; i < 100000; ++i) executor->run();
      },
      Interrupted);
  wish.join();
}

}  // namespace
}  // namespace halotile
