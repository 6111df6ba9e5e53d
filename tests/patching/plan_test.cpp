// Plans with known numbers, and what make_plan refuses.
#include "patching/plan.hpp"

#include <gtest/gtest.h>

#include "chain.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

LayerGeometry layer_of(const std::string& name, const Window& window, Extent2 input) {
  return {name, window, input, output_extent(window, input), 1, 1, 1.0};
}

// Layers of these windows, one behind the other.
std::vector<LayerGeometry> chain(Extent2 input, const std::vector<Window>& windows) {
  std::vector<LayerGeometry> layers;
  for (const Window& w : windows) {
    layers.push_back(layer_of("layer" + std::to_string(layers.size()), w, input));
    input = layers.back().output;
  }
  return layers;
}

const Window same_3x3{{3, 3}, {1, 1}, {1, 1}};
const Window alexnet_conv1{{11, 11}, {4, 4}};
const Window pool_3x3_2{{3, 3}, {2, 2}};

StagePlan fused(const std::vector<LayerGeometry>& layers, const PatchSpec& patch) {
  return make_plan(layers, std::vector<StageRange>{{0, layers.size()}}, patch).front();
}

TEST(Plan, TwoPaddedConvolutionsInFourTiles) {
  const StagePlan stage = fused(chain({8, 8}, {same_3x3, same_3x3}), {PatchSpec::Kind::grid, {2, 2}});
  ASSERT_EQ(stage.grid(), (Extent2{2, 2}));
  EXPECT_EQ(stage.core(0, 1), (Rect{{0, 4}, {4, 8}}));
  EXPECT_EQ(stage.needed(0, 1, 1), (Rect{{0, 5}, {3, 8}}));
  EXPECT_EQ(stage.needed(0, 1, 0), (Rect{{0, 6}, {2, 8}}));
  EXPECT_EQ(stage.outside(0, 1, 0), (Halo{1, 0, 0, 1}));
  EXPECT_EQ(stage.outside(0, 1, 1), (Halo{1, 0, 0, 1}));
  EXPECT_EQ(stage.halo(0, 1), (Halo{0, 2, 2, 0}));
  EXPECT_EQ(stage.value_work(0 + 1).computed, 4 * 25);
  EXPECT_EQ(stage.value_work(0 + 1).distinct, 64);
  EXPECT_DOUBLE_EQ(stage.value_work(0 + 1).recomputed_share(), 0.36);
  EXPECT_EQ(stage.value_work(1 + 1).computed, 64);
  EXPECT_EQ(stage.value_work(1 + 1).recomputed_share(), 0);
  EXPECT_DOUBLE_EQ(stage.flops(), 164);
  EXPECT_DOUBLE_EQ(stage.flops(1, 1), 41);
  EXPECT_DOUBLE_EQ(stage.recomputed_flops(), 36);
}

TEST(Plan, AlexNetsFirstPoolNeedsOverlappingRows) {
  const StagePlan stage =
      fused(chain({227, 227}, {alexnet_conv1, pool_3x3_2}), {PatchSpec::Kind::grid, {3, 3}});
  ASSERT_EQ(stage.graph().values.back().extent, (Extent2{27, 27}));
  EXPECT_EQ(stage.core(1, 1), (Rect{{9, 18}, {9, 18}}));
  EXPECT_EQ(stage.needed(1, 1, 1), (Rect{{18, 37}, {18, 37}}));
  EXPECT_EQ(stage.needed(1, 1, 0), (Rect{{72, 155}, {72, 155}}));
  EXPECT_EQ(stage.halo(1, 1), (Halo{0, 0, 11, 11}));
}

TEST(Plan, VisionTransformerPatchesHaveNoHalo) {
  const StagePlan stage =
      fused(chain({224, 224}, {Window{{16, 16}, {16, 16}}}), {PatchSpec::Kind::size, {16, 16}});
  ASSERT_EQ(stage.grid(), (Extent2{14, 14}));
  for (std::int64_t r = 0; r < 14; ++r) {
    for (std::int64_t c = 0; c < 14; ++c) {
      EXPECT_TRUE(stage.halo(r, c).none());
      EXPECT_EQ(stage.needed(r, c, 0), (Rect{{16 * r, 16 * r + 16}, {16 * c, 16 * c + 16}}));
    }
  }
  EXPECT_EQ(stage.recomputed_flops(), 0);
}

TEST(Plan, PatchSizeFollowsTheAccumulatedStride) {
  const auto layers = chain({227, 227}, {alexnet_conv1, pool_3x3_2, same_3x3});
  const auto plan =
      make_plan(layers, std::vector<StageRange>{{0, 1}, {1, 2}, {2, 3}}, {PatchSpec::Kind::size, {64, 30}});
  EXPECT_EQ(plan[0].core(0, 0), (Rect{{0, 16}, {0, 7}}));
  EXPECT_EQ(plan[1].core(0, 0), (Rect{{0, 8}, {0, 3}}));
  EXPECT_EQ(plan[2].core(0, 0), (Rect{{0, 8}, {0, 3}}));
  EXPECT_EQ(plan[0].grid(), (Extent2{4, 8}));
  EXPECT_EQ(plan[0].core(3, 7), (Rect{{48, 55}, {49, 55}}));
}

TEST(Plan, PatchesSmallerThanTheStrideAreOnePosition) {
  const StagePlan stage = fused(chain({227, 227}, {alexnet_conv1}), {PatchSpec::Kind::size, {1, 3}});
  EXPECT_EQ(stage.grid(), (Extent2{55, 55}));
  EXPECT_EQ(stage.core(54, 0), (Rect{{54, 55}, {0, 1}}));
}

TEST(Plan, PatchLargerThanTheImageIsOneTile) {
  for (const Extent2 size : {Extent2{9, 9}, Extent2{8, 8}, Extent2{std::int64_t{1} << 31, 100}}) {
    const StagePlan stage = fused(chain({8, 8}, {same_3x3, same_3x3}), {PatchSpec::Kind::size, size});
    EXPECT_EQ(stage.grid(), (Extent2{1, 1}));
    EXPECT_EQ(stage.core(0, 0), Rect::whole({8, 8}));
    EXPECT_EQ(stage.needed(0, 0, 0), Rect::whole({8, 8}));
    EXPECT_EQ(stage.recomputed_flops(), 0);
  }
}

TEST(Plan, GridLargerThanTheMapIsOneTileAPosition) {
  const StagePlan stage = fused(chain({3, 5}, {same_3x3}), {PatchSpec::Kind::grid, {100, 4}});
  EXPECT_EQ(stage.grid(), (Extent2{3, 4}));
  EXPECT_EQ(stage.core(0, 0).cols, (Interval{0, 2}));  // uneven: the first tiles are one larger
  EXPECT_EQ(stage.core(2, 3), (Rect{{2, 3}, {4, 5}}));
}

TEST(Plan, WholeIsTheDefault) {
  const StagePlan stage = fused(chain({5, 4}, {same_3x3}), {});
  EXPECT_EQ(stage.grid(), (Extent2{1, 1}));
  EXPECT_EQ(stage.halo(0, 0), Halo{});
  EXPECT_EQ(stage.outside(0, 0, 0), (Halo{1, 1, 1, 1}));
}

TEST(Plan, TileOfPaddingOnlyNeedsNothing) {
  const Window far{{1, 1}, {1, 1}, {3, 0}};
  const StagePlan stage = fused(chain({2, 2}, {same_3x3, far}), {PatchSpec::Kind::grid, {4, 1}});
  ASSERT_EQ(stage.graph().values.back().extent, (Extent2{8, 2}));
  EXPECT_EQ(stage.core(0, 0), (Rect{{0, 2}, {0, 2}}));
  EXPECT_EQ(stage.needed(0, 0, 1), Rect{});
  EXPECT_EQ(stage.needed(0, 0, 0), Rect{});
  EXPECT_EQ(stage.outside(0, 0, 0), Halo{});
  EXPECT_EQ(stage.outside(0, 0, 1), (Halo{3, 0, 0, 0}));
  EXPECT_EQ(stage.halo(0, 0), Halo{});
  EXPECT_EQ(stage.needed(1, 0, 1), (Rect{{0, 1}, {0, 2}}));
}

TEST(Plan, NothingToPlanIsFine) {
  EXPECT_TRUE(make_plan(std::span<const LayerGeometry>{}, {}, {PatchSpec::Kind::grid, {2, 2}}).empty());
}

struct Refused {
  std::string name;
  std::vector<StageRange> stages;
  PatchSpec patch;
  std::string message;  // part of it
};

std::ostream& operator<<(std::ostream& out, const Refused& c) { return out << c.name; }

class RefusedPlan : public testing::TestWithParam<Refused> {};

TEST_P(RefusedPlan, IsAShapeError) {
  const auto layers = chain({300000, 4}, {same_3x3, same_3x3, same_3x3});
  try {
    (void)make_plan(layers, GetParam().stages, GetParam().patch);
    FAIL() << "accepted";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}

const std::vector<StageRange> one_stage{{0, 3}};

INSTANTIATE_TEST_SUITE_P(
    Plans, RefusedPlan,
    testing::Values(
        Refused{"patch_0",
                one_stage,
                {PatchSpec::Kind::size, {0, 0}},
                "a patch of 0x0 holds nothing; it must be at least 1x1"},
        Refused{"patch_width_0", one_stage, {PatchSpec::Kind::size, {4, 0}}, "a patch of 4x0"},
        Refused{"grid_0", one_stage, {PatchSpec::Kind::grid, {0, 1}}, "a patch of 0x1"},
        Refused{"negative_patch", one_stage, {PatchSpec::Kind::size, {-3, 1}}, "a patch of -3x1"},
        Refused{
            "gap", {{0, 1}, {2, 3}}, {}, "value 2 (layer1) is read by a stage, but no output of one before"},
        Refused{"overlap",
                {{0, 2}, {1, 3}},
                {},
                "value 2 (layer1) is made by a stage, but is a source, or made before"},
        Refused{"empty_stage",
                {{0, 1}, {1, 1}, {1, 3}},
                {},
                "a stage must make values of the graph and have outputs"},
        Refused{"beyond_the_layers", {{0, 4}}, {}, "a stage must make values of the graph"},
        Refused{"not_to_the_end",
                {{0, 2}},
                {},
                "value 3 (layer2) is made by no stage; stages must cover the graph"},
        Refused{"no_stage", {}, {}, "value 1 (layer0) is made by no stage; stages must cover the graph"},
        Refused{"too_many_tile_rows", one_stage, {PatchSpec::Kind::size, {1, 4}}, "use larger"},
        Refused{"too_many_grid_rows", one_stage, {PatchSpec::Kind::grid, {300000, 1}}, "use larger"}),
    [](const testing::TestParamInfo<Refused>& c) { return c.param.name; });

TEST(Plan, TooManyTilesAreRefusedBeforeTheyAreMade) {
  // 2^40 rows of one position each would not fit into any memory.
  const Extent2 input{std::int64_t{1} << 40, 1};
  EXPECT_THROW((void)fused(chain(input, {Window{}}), {PatchSpec::Kind::size, {1, 1}}), ShapeError);
}

TEST(Plan, TooManyStagesAreAShapeError) {
  const std::vector<LayerGeometry> layers = chain({4, 4}, std::vector<Window>(257, Window{}));
  std::vector<StageRange> stages;
  for (std::size_t l = 0; l < layers.size(); ++l) stages.push_back({l, l + 1});
  EXPECT_THROW((void)make_plan(layers, stages, {}), ShapeError);
}

TEST(Plan, AccumulatedStrideOverflowIsAShapeError) {
  const Window wide{{1, 1}, {std::int64_t{1} << 33, 1}};
  const auto layers = chain({5, 5}, {wide, wide});
  EXPECT_THROW((void)make_plan(layers, one_stage, {}), ShapeError);
  EXPECT_THROW((void)make_plan(layers, std::vector<StageRange>{{0, 1}, {1, 2}}, {}), ShapeError);
}

}  // namespace
}  // namespace halotile
