// Plans of graphs: random ones against brute force, known ones, and stages that are refused.
#include <gtest/gtest.h>

#include <set>

#include "brute_force.hpp"
#include "patching/error.hpp"
#include "random_graph.hpp"
#include "rounds.hpp"

namespace halotile {
namespace {

using random_graph::Plane;

constexpr std::uint64_t plane_seed = 20150905;
constexpr int planes = rounds(4000, 20);

// One axis of a stage: its cores and needs, tile by tile, from the plan.
struct AxisView {
  AxisGraph graph;
  std::vector<std::vector<Interval>> cores;  // per tile, per value; of outputs
  std::vector<std::vector<Interval>> needed;
};

AxisView view_of(const StagePlan& stage, bool rows) {
  AxisView view{rows ? stage.graph().rows() : stage.graph().cols(), {}, {}};
  const Extent2 grid = stage.grid();
  for (std::int64_t t = 0; t < (rows ? grid.height : grid.width); ++t) {
    view.cores.emplace_back(stage.graph().values.size());
    for (const std::size_t v : stage.outputs()) {
      // The other axis must not be empty for this one to show: some tile owns something along it.
      for (std::int64_t u = 0; u < (rows ? grid.width : grid.height); ++u) {
        const Rect core = rows ? stage.core(t, u, v) : stage.core(u, t, v);
        if (!core.empty()) view.cores.back()[v] = rows ? core.rows : core.cols;
      }
    }
    std::vector<AxisCore> cores;
    for (const std::size_t v : stage.outputs()) cores.push_back({v, view.cores.back()[v]});
    view.needed.push_back(brute_force::needed(view.graph, cores));
  }
  return view;
}

void check_partition(const AxisView& view, std::size_t output) {
  std::int64_t next = 0;
  for (const auto& of_tile : view.cores) {
    if (of_tile[output].empty()) continue;
    ASSERT_EQ(of_tile[output].begin, next);
    next = of_tile[output].end;
  }
  ASSERT_EQ(next, view.graph.size(output));
}

// Each position stands on the tiling value's position that its tile owns.
void check_places(const AxisView& view, std::size_t output, std::size_t tiling, Ratio stride,
                  Ratio tiling_stride) {
  for (const auto& of_tile : view.cores) {
    for (std::int64_t p = of_tile[output].begin; p < of_tile[output].end; ++p) {
      const std::int64_t place =
          p * stride.numerator * tiling_stride.denominator / (stride.denominator * tiling_stride.numerator);
      ASSERT_TRUE(of_tile[tiling].contains(std::min(place, view.graph.size(tiling) - 1)));
    }
  }
}

Rect product(Interval rows, Interval cols) {
  const Rect rect{rows, cols};
  return rect.empty() ? Rect{} : rect;
}

void check_tiles(const StagePlan& stage, const AxisView& rows, const AxisView& cols) {
  const std::size_t values = stage.graph().values.size();
  std::vector<std::int64_t> computed(values);
  double all = 0;
  for (std::size_t r = 0; r < rows.needed.size(); ++r) {
    for (std::size_t c = 0; c < cols.needed.size(); ++c) {
      const auto row = static_cast<std::int64_t>(r);
      const auto column = static_cast<std::int64_t>(c);
      double flops = 0;
      for (std::size_t v = 0; v < values; ++v) {
        const Rect box = product(rows.needed[r][v], cols.needed[c][v]);
        ASSERT_EQ(stage.needed(row, column, v), box) << "tile (" << r << ", " << c << "), value " << v;
        computed[v] += box.area();
        const bool is_input = std::count(stage.inputs().begin(), stage.inputs().end(), v) > 0;
        if (!is_input) flops += stage.graph().values[v].flops_per_position * static_cast<double>(box.area());
      }
      for (const std::size_t v : stage.outputs()) {
        const Rect core = stage.core(row, column, v);
        ASSERT_EQ(core, product(rows.cores[r][v], cols.cores[c][v]));
        ASSERT_TRUE(stage.needed(row, column, v).contains(core));
      }
      ASSERT_FALSE(stage.core(row, column).empty());
      ASSERT_EQ(stage.key(row, column, 3), (TileKey{3, stage.number(), row, column}));
      ASSERT_DOUBLE_EQ(stage.flops(row, column), flops);
      all += flops;
    }
  }
  for (std::size_t v = 0; v < values; ++v) ASSERT_EQ(stage.value_work(v).computed, computed[v]);
  ASSERT_DOUBLE_EQ(stage.flops(), all);
}

// Tiles found by looking at all of them.
void check_owners(const StagePlan& stage, std::size_t output, std::mt19937_64& random) {
  const Extent2 extent = stage.graph().values[output].extent;
  const auto draw = [&](std::int64_t size) {
    const auto begin = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size));
    return Interval{begin, begin + 1 + static_cast<std::int64_t>(random() % 5)};
  };
  const Rect rect{draw(extent.height), draw(extent.width)};
  Rect meeting;
  for (std::int64_t row = 0; row < stage.grid().height; ++row) {
    for (std::int64_t column = 0; column < stage.grid().width; ++column) {
      if (intersect(stage.core(row, column, output), rect).empty()) continue;
      meeting = {hull(meeting.rows, {row, row + 1}), hull(meeting.cols, {column, column + 1})};
    }
  }
  ASSERT_EQ(stage.tiles_meeting(rect, output), meeting) << to_string(rect) << " of value " << output;
}

// The stage's values and edges are the graph's.
void check_part(const StagePlan& stage, const GraphGeometry& graph, const StageValues& values) {
  std::size_t edges = 0;
  for (const PlaneEdge& e : graph.edges)
    edges += std::count(values.made.begin(), values.made.end(), e.to) > 0;
  ASSERT_EQ(stage.graph().edges.size(), edges);
  for (const PlaneEdge& e : stage.graph().edges) {
    const auto same = [&](const PlaneEdge& other) {
      return other.from == stage.number_in_graph(e.from) && other.to == stage.number_in_graph(e.to) &&
             other.map == e.map;
    };
    ASSERT_TRUE(std::any_of(graph.edges.begin(), graph.edges.end(), same));
  }
  for (std::size_t v = 0; v < stage.graph().values.size(); ++v)
    ASSERT_EQ(stage.graph().values[v].extent, graph.values[stage.number_in_graph(v)].extent);
  ASSERT_EQ(stage.number_in_graph(stage.tiling()), values.tiling);
  ASSERT_EQ(stage.outputs().size(), values.outputs.size());
}

TEST(GraphPlanProperty, TilesPartitionEveryOutputAndNeedExactlyWhatTheirCoresDependOn) {
  std::mt19937_64 random(plane_seed);
  std::int64_t tiles = 0;
  for (int i = 0; i < planes; ++i) {
    const Plane plane = random_graph::draw_plane(random, {24, 40, 7});
    SCOPED_TRACE("seed " + std::to_string(plane_seed) + ", graph " + std::to_string(i) + ":\n" +
                 random_graph::to_string(plane));
    const std::vector<StagePlan> plan = make_plan(plane.graph, plane.stages, plane.patch);
    ASSERT_EQ(plan.size(), plane.stages.size());
    for (std::size_t s = 0; s < plan.size(); ++s) {
      const StagePlan& stage = plan[s];
      SCOPED_TRACE("stage " + std::to_string(s));
      ASSERT_EQ(stage.number(), static_cast<std::int64_t>(s));
      ASSERT_NO_FATAL_FAILURE(check_part(stage, plane.graph, plane.stages[s]));
      const AxisView rows = view_of(stage, true);
      const AxisView cols = view_of(stage, false);
      const PlaneStride tiling = stage.stride(stage.tiling());
      for (const std::size_t v : stage.outputs()) {
        ASSERT_NO_FATAL_FAILURE(check_partition(rows, v));
        ASSERT_NO_FATAL_FAILURE(check_partition(cols, v));
        ASSERT_NO_FATAL_FAILURE(check_places(rows, v, stage.tiling(), stage.stride(v).rows, tiling.rows));
        ASSERT_NO_FATAL_FAILURE(check_places(cols, v, stage.tiling(), stage.stride(v).cols, tiling.cols));
        ASSERT_NO_FATAL_FAILURE(check_owners(stage, v, random));
      }
      ASSERT_NO_FATAL_FAILURE(check_tiles(stage, rows, cols));
      tiles += stage.grid().area();
    }
  }
  RecordProperty("tiles", static_cast<int>(tiles));
}

PlaneMap same(const AxisMap& map) { return {map, map}; }

// Two levels of a U-Net for an image of 16x16: convolution and pool, convolution, transposed back, joined
// with the skip.
GraphGeometry u_net() {
  GraphGeometry graph;
  for (const std::int64_t size : {16, 16, 8, 8, 16, 16})
    graph.values.push_back({"v" + std::to_string(graph.values.size()), {size, size}, 1, 1});
  graph.edges = {{same(AxisWindow{3, 1, 1}), 0, 1}, {same(AxisWindow{2, 2}), 1, 2},
                 {same(AxisWindow{3, 1, 1}), 2, 3}, {same(AxisTransposed{2, 2}), 3, 4},
                 {same(AxisWindow{}), 1, 5},        {same(AxisWindow{}), 4, 5}};
  return graph;
}

TEST(GraphPlan, AnEncoderOwnsTheSkipWhereItsPooledMapStands) {
  const std::vector<StageValues> stages{{{1, 2}, {1, 2}, 2}, {{3, 4, 5}, {5}, 5}};
  const std::vector<StagePlan> plan = make_plan(u_net(), stages, {PatchSpec::Kind::size, {8, 4}});
  const StagePlan& encoder = plan[0];
  EXPECT_EQ(encoder.grid(), (Extent2{2, 4}));
  EXPECT_EQ(encoder.core(1, 1), (Rect{{4, 8}, {2, 4}}));
  EXPECT_EQ(encoder.core(1, 1, 1), (Rect{{8, 16}, {4, 8}}));
  EXPECT_EQ(encoder.needed(1, 1, 1), (Rect{{8, 16}, {4, 8}}));
  EXPECT_EQ(encoder.needed(1, 1, 0), (Rect{{7, 16}, {3, 9}}));
  EXPECT_EQ(encoder.halo(1, 1), (Halo{1, 1, 0, 1}));
  EXPECT_EQ(encoder.outside(1, 1, 0), (Halo{0, 0, 1, 0}));
  EXPECT_EQ(encoder.seen_input(0, 3), (Rect{{0, 9}, {11, 16}}));
  EXPECT_EQ(encoder.tiles_meeting({{7, 9}, {0, 5}}, 1), (Rect{{0, 2}, {0, 2}}));
  EXPECT_EQ(encoder.recomputed_flops(), 0);
  // The decoder reads the pooled map and the skip.
  const StagePlan& decoder = plan[1];
  EXPECT_EQ(decoder.inputs().size(), 2U);
  EXPECT_EQ(decoder.number_in_graph(decoder.inputs()[0]), 1U);
  EXPECT_EQ(decoder.number_in_graph(decoder.inputs()[1]), 2U);
  EXPECT_EQ(decoder.grid(), (Extent2{2, 4}));
  EXPECT_EQ(decoder.needed(0, 1, decoder.inputs()[0]), (Rect{{0, 8}, {4, 8}}));
  EXPECT_EQ(decoder.needed(0, 1, decoder.inputs()[1]), (Rect{{0, 5}, {1, 5}}));
  EXPECT_EQ(decoder.halo(0, 1, decoder.inputs()[1]), (Halo{0, 1, 1, 1}));
  EXPECT_EQ(decoder.seen_input(1, 3, decoder.inputs()[1]), (Rect{{3, 8}, {5, 8}}));
  EXPECT_THROW((void)decoder.core(0, 0, decoder.inputs()[0]), ShapeError);
  EXPECT_THROW((void)decoder.tiles_meeting({{0, 1}, {0, 1}}, decoder.inputs()[0]), ShapeError);
}

TEST(GraphPlan, AChainIsAGraph) {
  std::vector<LayerGeometry> layers(2);
  layers[0] = {"conv", {{3, 3}, {2, 2}, {1, 1}}, {20, 30}, {10, 15}, 3, 8, 5};
  layers[1] = {"pool", {{3, 3}, {1, 1}}, {10, 15}, {8, 13}, 8, 8, 1};
  const PatchSpec patch{PatchSpec::Kind::grid, {3, 2}};
  const StagePlan chain = make_plan(layers, std::vector<StageRange>{{0, 2}}, patch).front();
  const StagePlan graph =
      make_plan(chain_geometry(layers), std::vector<StageValues>{{{1, 2}, {2}, 2}}, patch).front();
  ASSERT_EQ(chain.grid(), graph.grid());
  for (std::int64_t row = 0; row < 3; ++row) {
    for (std::int64_t column = 0; column < 2; ++column) {
      for (std::size_t v = 0; v < 3; ++v)
        EXPECT_EQ(chain.needed(row, column, v), graph.needed(row, column, v));
      EXPECT_EQ(chain.halo(row, column), graph.halo(row, column));
    }
  }
  EXPECT_EQ(chain.flops(), graph.flops());
}

struct RefusedStages {
  std::string name;
  std::vector<StageValues> stages;
  std::string message;  // part of it
};

TEST(GraphPlan, RefusesStagesThatDoNotFit) {
  const std::vector<RefusedStages> cases{
      {"nothing made", {{{}, {}, 0}}, "have outputs"},
      {"no outputs", {{{1, 2, 3, 4, 5}, {}, 5}}, "have outputs"},
      {"not in order", {{{2, 1}, {1}, 1}}, "ascending order"},
      {"beyond the graph", {{{1, 2, 9}, {1}, 1}}, "values of the graph"},
      {"output not made", {{{1, 2}, {1, 3}, 1}}, "value 3 (v3) is an output of a stage that does not make"},
      {"tiling no output", {{{1, 2}, {1}, 2}}, "value 2 (v2) is what the tiles of a stage are cut on"},
      {"source made", {{{0, 1}, {1}, 1}}, "value 0 (v0) is made by a stage, but is a source"},
      {"made twice", {{{1}, {1}, 1}, {{1, 2}, {2}, 2}}, "value 1 (v1) is made by a stage, but"},
      {"not covered", {{{1, 2}, {1, 2}, 2}}, "value 3 (v3) is made by no stage"},
      {"skip no output", {{{1, 2}, {2}, 2}, {{3, 4, 5}, {5}, 5}}, "value 1 (v1) is read by a stage"},
      {"read before", {{{3, 4, 5}, {5}, 5}, {{1, 2}, {1, 2}, 2}}, "is read by a stage, but no output"}};
  for (const RefusedStages& c : cases) {
    try {
      (void)make_plan(u_net(), c.stages, {});
      ADD_FAILURE() << c.name << " was accepted";
    } catch (const ShapeError& error) {
      EXPECT_NE(std::string(error.what()).find(c.message), std::string::npos)
          << c.name << ": " << error.what();
    }
  }
  GraphGeometry wrong = u_net();
  wrong.values[2].extent.width = 9;
  EXPECT_THROW((void)make_plan(wrong, std::vector<StageValues>{{{1, 2, 3, 4, 5}, {5}, 5}}, {}), ShapeError);
}

}  // namespace
}  // namespace halotile
