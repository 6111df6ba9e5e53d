// Needs of graphs' values along one axis: random graphs against brute force, strides, receptive fields.
#include "patching/axis_graph.hpp"

#include <gtest/gtest.h>

#include "brute_force.hpp"
#include "patching/error.hpp"
#include "random_graph.hpp"
#include "rounds.hpp"

namespace halotile {
namespace {

constexpr std::uint64_t graph_seed = 19980419;
constexpr int graphs = rounds(20000, 20);

TEST(AxisGraphProperty, EveryValueIsNeededExactlyWhereTheCoresDependOnIt) {
  std::mt19937_64 random(graph_seed);
  for (int i = 0; i < graphs; ++i) {
    const AxisGraph graph = random_graph::draw(random, {});
    ASSERT_NO_THROW(check_sizes(graph));
    const std::vector<AxisCore> cores = random_graph::draw_cores(random, graph);
    ASSERT_EQ(needed(graph, cores), brute_force::needed(graph, cores))
        << "seed " << graph_seed << ", graph " << i << ":\n"
        << random_graph::to_string(graph) << "\n"
        << random_graph::to_string(cores);
  }
}

// Unclipped reaches hold what is needed.
TEST(AxisGraphProperty, ReachesHoldWhatIsNeeded) {
  std::mt19937_64 random(graph_seed + 1);
  for (int i = 0; i < graphs / 4; ++i) {
    const AxisGraph graph = random_graph::draw(random, {});
    const AxisCore core = random_graph::draw_cores(random, graph).front();
    const std::vector<Interval> reached = unclipped(graph, core);
    const std::vector<Interval> needs = needed(graph, {&core, 1});
    for (std::size_t v = 0; v < graph.values(); ++v) {
      ASSERT_TRUE(reached[v].contains(needs[v]))
          << "seed " << graph_seed + 1 << ", graph " << i << ", value " << v << ":\n"
          << random_graph::to_string(graph);
    }
  }
}

// More runs than are kept apart: never less than the exact answer.
TEST(AxisGraph, KeepsNoMoreRunsThanItSays) {
  const std::int64_t outputs = 3 * static_cast<std::int64_t>(most_runs);
  const AxisGraph graph({outputs * 3, outputs, outputs}, {{AxisWindow{1, 3}, 0, 1}, {AxisWindow{}, 1, 2}});
  const AxisCore core{2, {5, outputs - 5}};
  EXPECT_EQ(needed(graph, {&core, 1}),
            (std::vector<Interval>{{15, (outputs - 6) * 3 + 1}, {5, outputs - 5}, {5, outputs - 5}}));
}

// A U-Net of two levels: convolutions of 3, pools of 2, a transposed convolution back, a skip.
AxisGraph small_u_net() {
  return {{16, 16, 8, 8, 16, 16, 16},
          {{AxisWindow{3, 1, 1}, 0, 1},
           {AxisWindow{2, 2}, 1, 2},
           {AxisWindow{3, 1, 1}, 2, 3},
           {AxisTransposed{2, 2}, 3, 4},
           {AxisWindow{}, 1, 5},
           {AxisWindow{}, 4, 5},
           {AxisWindow{3, 1, 1}, 5, 6}}};
}

TEST(AxisGraph, SkipsAndJoinsNeedTheHullOfTheirConsumers) {
  const AxisGraph graph = small_u_net();
  check_sizes(graph);
  const AxisCore core{6, {8, 12}};
  EXPECT_EQ(needed(graph, {&core, 1}),
            (std::vector<Interval>{{3, 16}, {4, 16}, {2, 8}, {3, 7}, {7, 13}, {7, 13}, {8, 12}}));
  const std::vector<AxisCore> two{{6, {8, 12}}, {1, {0, 2}}};
  EXPECT_EQ(needed(graph, two)[0], (Interval{0, 16}));
  EXPECT_EQ(needed(graph, two)[1], (Interval{0, 16}));
}

TEST(AxisGraph, ReceptiveFieldOfAUNet) {
  const AxisGraph graph = small_u_net();
  const std::vector<Ratio> stride = strides(graph);
  EXPECT_EQ(stride, (std::vector<Ratio>{{1, 1}, {1, 1}, {2, 1}, {2, 1}, {1, 1}, {1, 1}, {1, 1}}));
  // Output 9 joins 8 to 10 of the skip and 4 to 5 of the lower level, which is made of pools 3 to 6, that
  // is of 6 to 13 of the convolution: 5 to 14 of the input. Output 8 begins at 3 to 5: of 4 and on, 3 to 12.
  EXPECT_EQ(receptive_field(graph, 0, 6, stride[6]), (ReceptiveField{10, 5, 5}));
  EXPECT_EQ(receptive_field(graph, 0, 3, stride[3]), (ReceptiveField{8, 3, 3}));
  EXPECT_EQ(receptive_field(graph, 4, 3, {1, 1}), ReceptiveField{});
}

TEST(AxisGraph, StridesMultiplyAlongEveryWay) {
  const AxisGraph graph({48, 24, 8, 16, 16, 4}, {{AxisWindow{2, 2}, 0, 1},
                                                 {AxisWindow{3, 3}, 1, 2},
                                                 {AxisShuffle{2}, 2, 3},
                                                 {AxisSlice{0, 3, 16}, 0, 4},
                                                 {AxisWindow{}, 3, 4},
                                                 {AxisUnshuffle{4}, 4, 5}});
  EXPECT_EQ(strides(graph), (std::vector<Ratio>{{1, 1}, {2, 1}, {6, 1}, {3, 1}, {3, 1}, {12, 1}}));
  const std::vector<Ratio> sources{{1, 2}};
  EXPECT_EQ(strides(graph, sources).back(), (Ratio{6, 1}));
}

TEST(AxisGraph, WhereBranchesDisagreeTheFinestStrideCounts) {
  const AxisGraph graph({16, 8, 8},
                        {{AxisWindow{2, 2}, 0, 1}, {AxisWindow{}, 1, 2}, {AxisSlice{4, 1, 8}, 0, 2}});
  EXPECT_EQ(strides(graph), (std::vector<Ratio>{{1, 1}, {2, 1}, {1, 1}}));
}

// 13 halved is 7, and 7 resized to 13 stands 14/13 apart: it gives way to the skip.
TEST(AxisGraph, RatiosOfSizesGiveWay) {
  const AxisResize up{13, ResizeMode::linear, ResizeCoordinates::half_pixel};
  const AxisGraph odd({13, 7, 13, 13, 1, 13}, {{AxisWindow{3, 2, 1}, 0, 1},
                                               {up, 1, 2},
                                               {AxisWindow{}, 0, 3},
                                               {AxisWindow{}, 2, 3},
                                               {AxisGlobal{1}, 3, 4},
                                               {AxisGlobal{13}, 4, 5},
                                               {AxisWindow{}, 3, 5}});
  EXPECT_EQ(strides(odd), (std::vector<Ratio>{{1, 1}, {2, 1}, {14, 13}, {1, 1}, {13, 1}, {1, 1}}));
}

struct RefusedEdges {
  std::string name;
  std::vector<AxisEdge> edges;
};

TEST(AxisGraph, RefusesEdgesOutOfOrder) {
  const std::vector<RefusedEdges> cases{{"to itself", {{AxisWindow{}, 1, 1}}},
                                        {"backwards", {{AxisWindow{}, 2, 1}}},
                                        {"to a value that is not", {{AxisWindow{}, 0, 3}}},
                                        {"not in order", {{AxisWindow{}, 0, 2}, {AxisWindow{}, 0, 1}}}};
  for (const RefusedEdges& c : cases) {
    EXPECT_THROW(AxisGraph({4, 4, 4}, c.edges), ShapeError) << c.name;
  }
  EXPECT_THROW(check_sizes(AxisGraph({4, 4}, {{AxisWindow{2, 1}, 0, 1}})), ShapeError);
}

TEST(NeededIntervals, StepsOverWhatNobodyReads) {
  // Outputs 0 and 1 read positions {0, 4} and {3, 7} of the padded map, that is {-2, 2} and {1, 5}.
  const AxisLayer gaps{AxisWindow{2, 3, 2, 4}, 6, 2};
  EXPECT_EQ(needed_intervals(std::vector{gaps}, {0, 1}), (std::vector<Interval>{{2, 3}, {0, 1}}));
  EXPECT_EQ(needed_intervals(std::vector{gaps}, {1, 2}), (std::vector<Interval>{{1, 6}, {1, 2}}));
  EXPECT_EQ(needed_intervals(std::vector{gaps}, {0, 2}), (std::vector<Interval>{{1, 6}, {0, 2}}));
}

TEST(NeededIntervals, EmptyWhereOnlyPaddingIsRead) {
  const AxisLayer padded{AxisWindow{2, 1, 4, 1}, 3, 10};
  EXPECT_EQ(needed_intervals(std::vector{padded}, {0, 3}), (std::vector<Interval>{{}, {0, 3}}));
  EXPECT_EQ(needed_intervals(std::vector{padded}, {0, 4}), (std::vector<Interval>{{0, 1}, {0, 4}}));
  const AxisLayer before{AxisWindow{3, 1, 1, 1}, 3, 3};
  EXPECT_EQ(needed_intervals(std::vector{before, padded}, {7, 10}), (std::vector<Interval>{{}, {}, {7, 10}}));
}

TEST(NeededIntervals, EmptyCoreNeedsNothing) {
  const AxisLayer layer{AxisWindow{3, 1, 1, 1}, 5, 5};
  EXPECT_EQ(needed_intervals(std::vector{layer}, {}), (std::vector<Interval>{{}, {}}));
  EXPECT_EQ(needed_intervals({}, {2, 4}), (std::vector<Interval>{{2, 4}}));
}

}  // namespace
}  // namespace halotile
