// Every kind of dependence along an axis: output sizes, refusals, reaches, exact positions, scales.
#include "patching/axis_map.hpp"

#include <gtest/gtest.h>

#include <ostream>

#include "brute_force.hpp"
#include "patching/error.hpp"
#include "random_graph.hpp"

namespace halotile {
namespace {

constexpr std::int64_t huge_map = std::int64_t{1} << 61;

struct MapSizeCase {
  std::string name;
  AxisMap map;
  std::int64_t input = 0;
  std::int64_t output = 0;
};

std::ostream& operator<<(std::ostream& out, const MapSizeCase& c) { return out << c.name; }

class MapSize : public testing::TestWithParam<MapSizeCase> {};

TEST_P(MapSize, IsPyTorchs) { EXPECT_EQ(output_size(GetParam().map, GetParam().input), GetParam().output); }

// Transposed convolutions: {kernel, stride, padding, output padding, dilation}; outputs are those of
// torch.nn.ConvTranspose2d, torch.nn.PixelShuffle, torch.nn.functional.pad.
INSTANTIATE_TEST_SUITE_P(Known, MapSize,
                         testing::Values(MapSizeCase{"doubling_2", AxisTransposed{2, 2}, 7, 14},
                                         MapSizeCase{"doubling_4", AxisTransposed{4, 2, 1}, 7, 14},
                                         MapSizeCase{"doubling_3", AxisTransposed{3, 2, 1, 1}, 7, 14},
                                         MapSizeCase{"stride_over_kernel", AxisTransposed{2, 4}, 3, 10},
                                         MapSizeCase{"dilated", AxisTransposed{3, 2, 2, 0, 3}, 5, 11},
                                         MapSizeCase{"uneven_padding", AxisTransposed{3, 2, {0, 1}}, 4, 8},
                                         MapSizeCase{"shuffle", AxisShuffle{3}, 5, 15},
                                         MapSizeCase{"unshuffle", AxisUnshuffle{3}, 15, 5},
                                         MapSizeCase{"reflect", AxisPad{4, 2, PadKind::reflect}, 5, 11},
                                         MapSizeCase{"crop", AxisPad{-1, -2}, 5, 2},
                                         MapSizeCase{"edge_of_one", AxisPad{7, 9, PadKind::edge}, 1, 17},
                                         MapSizeCase{"slice", AxisSlice{1, 3, 3}, 8, 3},
                                         MapSizeCase{"global", AxisGlobal{1}, 99, 1},
                                         MapSizeCase{"window", AxisWindow{3, 2, {0, 1}}, 224, 112}),
                         [](const testing::TestParamInfo<MapSizeCase>& c) { return c.param.name; });

struct RefusedMapCase {
  std::string name;
  AxisMap map;
  std::int64_t input = 0;
  std::string message;  // part of it
};

std::ostream& operator<<(std::ostream& out, const RefusedMapCase& c) { return out << c.name; }

class RefusedMap : public testing::TestWithParam<RefusedMapCase> {};

TEST_P(RefusedMap, IsAShapeError) {
  try {
    const std::int64_t size = output_size(GetParam().map, GetParam().input);
    FAIL() << "accepted, with " << size << " outputs";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, RefusedMap,
    testing::Values(
        RefusedMapCase{"no_input", AxisShuffle{2}, 0, "a map of 0 positions has no outputs"},
        RefusedMapCase{"transposed_stride_0", AxisTransposed{2, 0}, 5, "at least 1 (they are 2, 0, 1)"},
        RefusedMapCase{"transposed_negative_padding", AxisTransposed{2, 2, -1}, 5, "must not be negative"},
        RefusedMapCase{"transposed_all_padding", AxisTransposed{2, 2, 3}, 3, "leaves no outputs"},
        RefusedMapCase{"transposed_overflow", AxisTransposed{2, 4}, huge_map, "overflows"},
        RefusedMapCase{"resize_to_nothing", AxisResize{0}, 5, "both must be at least 1"},
        RefusedMapCase{"resize_overflow", AxisResize{huge_map - 1}, 7, "overflows"},
        RefusedMapCase{"shuffle_0", AxisShuffle{0}, 5, "factor must be at least 1"},
        RefusedMapCase{"unshuffle_not_dividing", AxisUnshuffle{2}, 5, "does not divide its input of 5"},
        RefusedMapCase{"unshuffle_0", AxisUnshuffle{0}, 5, "factor must be at least 1"},
        RefusedMapCase{"crop_everything", AxisPad{-2, -3}, 5, "leaves nothing of 5 positions"},
        RefusedMapCase{"reflect_too_far", AxisPad{5, 0, PadKind::reflect}, 5, "needs a map of one more"},
        RefusedMapCase{"reflect_of_a_crop", AxisPad{-5, 4, PadKind::reflect}, 5, "nothing of 5"},
        RefusedMapCase{"slice_leaves_the_map", AxisSlice{2, 2, 3}, 6, "from 2 to 6 leaves its map of 6"},
        RefusedMapCase{"slice_before_the_map", AxisSlice{-1, 1, 3}, 6, "leaves its map"},
        RefusedMapCase{"slice_step_0", AxisSlice{1, 0, 3}, 6, "at least 1 (they are 0 and 3)"},
        RefusedMapCase{"global_without_outputs", AxisGlobal{0}, 6, "must have outputs"}),
    [](const testing::TestParamInfo<RefusedMapCase>& c) { return c.param.name; });

TEST(MapReach, GoesOnOutsideTheMap) {
  // Outputs 0 and 1 of a transposed convolution of stride 2: taps 0 to 3 of inputs -1 (taps 3, 2) to 1.
  EXPECT_EQ(reach(AxisTransposed{4, 2, 1}, 7, {0, 1}), (Interval{-1, 1}));
  EXPECT_EQ(reach(AxisTransposed{4, 2, 1}, 7, {1, 2}), (Interval{0, 2}));
  EXPECT_EQ(reach(AxisTransposed{4, 2, 1}, 7, {13, 14}), (Interval{6, 8}));
  EXPECT_EQ(reach(AxisTransposed{2, 4}, 7, {2, 4}), Interval{});  // between taps
  EXPECT_EQ(reach(AxisPad{2, 3}, 5, {0, 10}), (Interval{-2, 8}));
  EXPECT_EQ(reach(AxisPad{2, 3, PadKind::edge}, 5, {0, 2}), (Interval{0, 1}));
  EXPECT_EQ(reach(AxisPad{2, 3, PadKind::reflect}, 5, {0, 2}), (Interval{1, 3}));
  EXPECT_EQ(reach(AxisPad{2, 3, PadKind::reflect}, 5, {7, 10}), (Interval{1, 4}));
  EXPECT_EQ(reach(AxisShuffle{2}, 5, {3, 6}), (Interval{1, 3}));
  EXPECT_EQ(reach(AxisUnshuffle{2}, 6, {1, 3}), (Interval{2, 6}));
  EXPECT_EQ(reach(AxisSlice{1, 3, 3}, 8, {1, 3}), (Interval{4, 8}));
  EXPECT_EQ(reach(AxisGlobal{4}, 8, {1, 2}), (Interval{0, 8}));
  EXPECT_EQ(reach(AxisGlobal{4}, 8, {2, 2}), Interval{});
}

// Positions one by one, of single outputs and of runs.
TEST(ReadPositions, AreThoseOfTheDefinition) {
  constexpr std::uint64_t seed = 20150518;
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20000; ++i) {
    const auto input = static_cast<std::int64_t>(1 + random() % 30);
    const AxisMap map = random_graph::draw_map(random, input, 60);
    const std::int64_t outputs = output_size(map, input);
    brute_force::Positions out(static_cast<std::size_t>(outputs));
    const std::uint64_t density = 1 + random() % 4;
    for (std::size_t o = 0; o < out.size(); ++o) out[o] = random() % density == 0;
    Runs runs;
    for (std::int64_t o = 0; o < outputs; ++o) {
      if (out[static_cast<std::size_t>(o)]) runs.push_back({o, o + 1});
    }
    merge(runs);
    brute_force::Positions in(static_cast<std::size_t>(input));
    for (const Interval run : read_positions(map, input, runs)) {
      for (std::int64_t p = run.begin; p < run.end; ++p) in.at(static_cast<std::size_t>(p)) = true;
    }
    ASSERT_EQ(in, brute_force::reads(map, input, out)) << "seed " << seed << ", case " << i << ": " << input
                                                       << " positions, " << random_graph::to_string(map);
  }
}

TEST(PadSource, IsTheInputCopied) {
  const AxisPad reflect{2, 1, PadKind::reflect};
  const std::vector<std::int64_t> mirrored{2, 1, 0, 1, 2, 1};
  for (std::int64_t o = 0; o < 6; ++o)
    EXPECT_EQ(pad_source(reflect, 3, o), mirrored[static_cast<std::size_t>(o)]) << o;
  const AxisPad edge{1, -1, PadKind::edge};
  EXPECT_EQ(pad_source(edge, 3, 0), 0);
  EXPECT_EQ(pad_source(edge, 3, 2), 1);
  EXPECT_EQ(pad_source(AxisPad{2, 1}, 3, 1), std::nullopt);
  EXPECT_EQ(pad_source(AxisPad{2, 1}, 3, 2), 0);
  EXPECT_EQ(pad_source(AxisPad{-2, 1}, 3, 1), std::nullopt);
}

TEST(MapScale, IsTheStride) {
  EXPECT_EQ(scale_of(AxisWindow{3, 2}, 9).step, (Ratio{2, 1}));
  EXPECT_EQ(scale_of(AxisTransposed{4, 2}, 9).step, (Ratio{1, 2}));
  EXPECT_EQ(scale_of(AxisShuffle{3}, 9).step, (Ratio{1, 3}));
  EXPECT_EQ(scale_of(AxisUnshuffle{3}, 9).step, (Ratio{3, 1}));
  EXPECT_EQ(scale_of(AxisSlice{1, 3, 2}, 9).step, (Ratio{3, 1}));
  EXPECT_EQ(scale_of(AxisPad{1, 3}, 9).step, (Ratio{1, 1}));
  EXPECT_EQ(scale_of(AxisResize{6}, 9).step, (Ratio{3, 2}));
  EXPECT_TRUE(scale_of(AxisResize{6}, 9).by_sizes);
  EXPECT_EQ(scale_of(AxisGlobal{1}, 9).step, (Ratio{9, 1}));
  EXPECT_FALSE(scale_of(AxisGlobal{9}, 9).by_sizes);
  AxisResize halved{6};
  halved.step = Ratio{2, 1};
  EXPECT_EQ(scale_of(halved, 13).step, (Ratio{2, 1}));
  EXPECT_FALSE(scale_of(halved, 13).by_sizes);
}

TEST(PlaneMap, IsBothAxes) {
  const Window w{{1, 2}, {3, 4}, {5, 6}};
  EXPECT_EQ(plane_map(w), (PlaneMap{w.rows(), w.cols()}));
  EXPECT_EQ(output_extent(PlaneMap{AxisShuffle{2}, AxisSlice{1, 2, 3}}, {4, 9}), (Extent2{8, 3}));
}

}  // namespace
}  // namespace halotile
