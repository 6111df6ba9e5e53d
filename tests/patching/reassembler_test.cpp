// The reassembler's account: any order, any thread, and each refusal.
#include "patching/reassembler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "chain.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::uint64_t reassembly_seed = 20131;
constexpr std::int64_t stage_number = 3;
constexpr std::int64_t images = 4;

// One 3x3 convolution on a 10 x 7 map.
StagePlan plan_of(Extent2 grid) {
  LayerGeometry layer;
  layer.name = "conv";
  layer.window = {{3, 3}, {1, 1}, {1, 1}};
  layer.input = layer.output = {10, 7};
  return make_plan(std::vector{layer}, std::vector<StageRange>{{0, 1}}, {PatchSpec::Kind::grid, grid})
      .front();
}

std::vector<TileKey> keys_of(const StagePlan& plan) {
  std::vector<TileKey> keys;
  for (std::int64_t n = 0; n < images; ++n) {
    for (std::int64_t r = 0; r < plan.grid().height; ++r) {
      for (std::int64_t c = 0; c < plan.grid().width; ++c) keys.push_back({n, stage_number, r, c});
    }
  }
  return keys;
}

void accept(Reassembler& reassembler, const StagePlan& plan, const TileKey& key) {
  reassembler.accept(key, plan.core(key.row, key.column));
}

template <typename Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const TileError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Reassembler, TakesTilesInAnyOrder) {
  SCOPED_TRACE("seed " + std::to_string(reassembly_seed));
  const StagePlan plan = plan_of({3, 2});
  std::vector<TileKey> keys = keys_of(plan);
  std::mt19937_64 random(reassembly_seed);
  Reassembler reassembler(plan, stage_number, images);
  EXPECT_EQ(reassembler.size(), 24);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::shuffle(keys.begin(), keys.end(), random);
    reassembler.reset();
    for (const TileKey& key : keys) {
      EXPECT_THROW(reassembler.finish(), TileError);
      accept(reassembler, plan, key);
    }
    reassembler.finish();
  }
}

TEST(Reassembler, TakesTilesFromSeveralThreads) {
  const StagePlan plan = plan_of({10, 7});
  const std::vector<TileKey> keys = keys_of(plan);
  Reassembler reassembler(plan, stage_number, images);
  constexpr std::size_t threads = 4;
  std::vector<std::thread> workers;
  for (std::size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (std::size_t i = t; i < keys.size(); i += threads) accept(reassembler, plan, keys[i]);
    });
  }
  for (std::thread& w : workers) w.join();
  reassembler.finish();
}

TEST(Reassembler, OfTwoThreadsWithTheSameTileOneIsRefused) {
  const StagePlan plan = plan_of({10, 7});
  const std::vector<TileKey> keys = keys_of(plan);
  Reassembler reassembler(plan, stage_number, images);
  std::atomic<int> refused = 0;
  std::vector<std::thread> workers;
  for (int t = 0; t < 4; ++t) {
    workers.emplace_back([&] {
      for (const TileKey& key : keys) {
        try {
          accept(reassembler, plan, key);
        } catch (const TileError&) {
          ++refused;
        }
      }
    });
  }
  for (std::thread& w : workers) w.join();
  reassembler.finish();
  EXPECT_EQ(refused, 3 * static_cast<int>(keys.size()));
}

TEST(Reassembler, NamesTheFirstMissingTileAndHowMany) {
  const StagePlan plan = plan_of({3, 2});
  Reassembler reassembler(plan, stage_number, images);
  EXPECT_EQ(refusal([&] { reassembler.finish(); }),
            "missing tile (image 0, stage 3, row 0, column 0): 24 of 24 tiles of the stage never came");
  for (const TileKey& key : keys_of(plan)) {
    const bool left_out = key == TileKey{2, stage_number, 1, 1} || key == TileKey{3, stage_number, 0, 0};
    if (!left_out) accept(reassembler, plan, key);
  }
  EXPECT_EQ(refusal([&] { reassembler.finish(); }),
            "missing tile (image 2, stage 3, row 1, column 1): 2 of 24 tiles of the stage never came");
  accept(reassembler, plan, {2, stage_number, 1, 1});
  accept(reassembler, plan, {3, stage_number, 0, 0});
  reassembler.finish();
}

TEST(Reassembler, RefusesDoubledTiles) {
  const StagePlan plan = plan_of({3, 2});
  Reassembler reassembler(plan, stage_number, images);
  accept(reassembler, plan, {1, stage_number, 2, 1});
  EXPECT_EQ(refusal([&] {
              accept(reassembler, plan, {1, stage_number, 2, 1});
            }),
            "doubled tile (image 1, stage 3, row 2, column 1): it was placed before");
  reassembler.reset();
  accept(reassembler, plan, {1, stage_number, 2, 1});
}

TEST(Reassembler, RefusesForeignTiles) {
  const StagePlan plan = plan_of({3, 2});
  Reassembler reassembler(plan, stage_number, images);
  const TileKey foreign[] = {{-1, stage_number, 0, 0},    {images, stage_number, 0, 0},
                             {0, stage_number - 1, 0, 0}, {0, stage_number + 1, 0, 0},
                             {0, stage_number, -1, 0},    {0, stage_number, 3, 0},
                             {0, stage_number, 0, -1},    {0, stage_number, 0, 2}};
  for (const TileKey& key : foreign) {
    EXPECT_EQ(refusal([&] { reassembler.accept(key, plan.core(0, 0)); }),
              "foreign tile (" + to_string(key) + "): stage 3 has 3x2 tiles for each of 4 images");
  }
}

TEST(Reassembler, RefusesWrongSizes) {
  const StagePlan plan = plan_of({3, 2});
  Reassembler reassembler(plan, stage_number, images);
  const Rect core = plan.core(1, 1);
  Rect taller = core;
  ++taller.rows.end;
  Rect moved = core;
  --moved.cols.begin;
  --moved.cols.end;
  for (const Rect& wrong : {taller, moved, Rect{}, plan.core(1, 0)}) {
    EXPECT_EQ(refusal([&] {
                reassembler.accept({0, stage_number, 1, 1}, wrong);
              }),
              "wrong-sized tile (image 0, stage 3, row 1, column 1): it brings " + to_string(wrong) +
                  ", its core is [4, 7) x [4, 7)");
  }
  // A refused tile does not count as come.
  accept(reassembler, plan, {0, stage_number, 1, 1});
}

TEST(Reassembler, RefusesKeysThatDoNotFit) {
  const StagePlan plan = plan_of({3, 2});
  EXPECT_THROW(Reassembler(plan, 256, 1), TileError);
  EXPECT_THROW(Reassembler(plan, 0, (std::int64_t{1} << 20) + 1), TileError);
}

}  // namespace
}  // namespace halotile
