// Sources of resized maps, against the definitions and against what PyTorch and ONNX Runtime read.
#include "patching/resize.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "patching/error.hpp"

namespace halotile {
namespace {

std::vector<std::int64_t> firsts(const AxisResize& r, std::int64_t input) {
  std::vector<std::int64_t> all;
  for (std::int64_t o = 0; o < r.outputs; ++o)
    all.push_back(resize_source(r, resize_line(r, input), input, o).first);
  return all;
}

AxisResize nearest(std::int64_t outputs, ResizeCoordinates coordinates, NearestRounding rounding) {
  return {outputs, ResizeMode::nearest, coordinates, rounding};
}

using Indices = std::vector<std::int64_t>;

TEST(Resize, NearestRounds) {
  using enum ResizeCoordinates;
  using enum NearestRounding;
  // Halving 4: coordinates 1/2 and 5/2.
  EXPECT_EQ(firsts(nearest(2, half_pixel, round_prefer_floor), 4), (Indices{0, 2}));
  EXPECT_EQ(firsts(nearest(2, half_pixel, round_prefer_ceil), 4), (Indices{1, 3}));
  EXPECT_EQ(firsts(nearest(2, half_pixel, floor), 4), (Indices{0, 2}));
  EXPECT_EQ(firsts(nearest(2, half_pixel, ceil), 4), (Indices{1, 3}));
  // Doubling 3 as PyTorch's nearest and nearest-exact do.
  EXPECT_EQ(firsts(nearest(6, asymmetric, floor), 3), (Indices{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(firsts(nearest(6, tf_half_pixel_for_nn, floor), 3), (Indices{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(firsts(nearest(6, asymmetric, ceil), 3), (Indices{0, 1, 1, 2, 2, 2}));
  EXPECT_EQ(firsts(nearest(5, asymmetric, floor), 7), (Indices{0, 1, 2, 4, 5}));
  EXPECT_EQ(firsts(nearest(5, tf_half_pixel_for_nn, floor), 7), (Indices{0, 2, 3, 4, 6}));
  EXPECT_EQ(firsts(nearest(5, align_corners, round_prefer_floor), 3), (Indices{0, 0, 1, 1, 2}));
}

TEST(Resize, LinearReadsOnePositionWhereTheCoordinateIsWhole) {
  AxisResize r{5, ResizeMode::linear, ResizeCoordinates::align_corners};
  const ResizeLine line = resize_line(r, 3);
  EXPECT_EQ(line.unit, 2);
  EXPECT_EQ(resize_source(r, line, 3, 0), (ResizeSource{0, 0, 0}));
  EXPECT_EQ(resize_source(r, line, 3, 1), (ResizeSource{0, 1, 1}));
  EXPECT_EQ(resize_source(r, line, 3, 4), (ResizeSource{2, 2, 0}));
  r = {6, ResizeMode::linear, ResizeCoordinates::half_pixel};
  // Coordinates -1/4, 1/4, 3/4, ... of 3: before the first position is the first.
  EXPECT_EQ(resize_source(r, resize_line(r, 3), 3, 0), (ResizeSource{0, 0, 0}));
  EXPECT_EQ(resize_source(r, resize_line(r, 3), 3, 1), (ResizeSource{0, 1, 1}));
  EXPECT_EQ(resize_source(r, resize_line(r, 3), 3, 5), (ResizeSource{2, 2, 0}));
}

TEST(Resize, OnePositionOfOne) {
  for (const auto coordinates : {ResizeCoordinates::half_pixel, ResizeCoordinates::pytorch_half_pixel,
                                 ResizeCoordinates::align_corners, ResizeCoordinates::asymmetric,
                                 ResizeCoordinates::tf_half_pixel_for_nn}) {
    const AxisResize one{1, ResizeMode::linear, coordinates};
    EXPECT_EQ(resize_source(one, resize_line(one, 1), 1, 0), ResizeSource{});
    const AxisResize many{4, ResizeMode::linear, coordinates};
    EXPECT_EQ(resize_source(many, resize_line(many, 1), 1, 3), ResizeSource{});
  }
  const AxisResize pytorch{1, ResizeMode::linear, ResizeCoordinates::pytorch_half_pixel};
  EXPECT_EQ(resize_source(pytorch, resize_line(pytorch, 5), 5, 0), ResizeSource{});
  const AxisResize onnx{1, ResizeMode::linear, ResizeCoordinates::half_pixel};
  EXPECT_EQ(resize_source(onnx, resize_line(onnx, 5), 5, 0), (ResizeSource{2, 2, 0}));
}

// A scale factor of 1/2 on 13 positions: 6 outputs 2 apart, not 13/6.
TEST(Resize, KeepsTheStepThatItIsGiven) {
  AxisResize r = nearest(6, ResizeCoordinates::asymmetric, NearestRounding::floor);
  EXPECT_EQ(firsts(r, 13), (Indices{0, 2, 4, 6, 8, 10}));
  r.outputs = 7;
  EXPECT_EQ(firsts(r, 13), (Indices{0, 1, 3, 5, 7, 9, 11}));
  r.step = Ratio{2, 1};
  EXPECT_EQ(firsts(r, 13), (Indices{0, 2, 4, 6, 8, 10, 12}));
}

// Weights and positions against the definition in floating point, where it is not at a whole number or a
// tie.
TEST(Resize, AgreesWithFloatingPoint) {
  for (std::int64_t input = 1; input <= 14; ++input) {
    for (std::int64_t outputs = 1; outputs <= 30; ++outputs) {
      const AxisResize r{outputs, ResizeMode::linear, ResizeCoordinates::half_pixel};
      const ResizeLine line = resize_line(r, input);
      for (std::int64_t o = 0; o < outputs; ++o) {
        const double scale = static_cast<double>(input) / static_cast<double>(outputs);
        const double x =
            std::clamp((static_cast<double>(o) + 0.5) * scale - 0.5, 0.0, static_cast<double>(input - 1));
        const ResizeSource source = resize_source(r, line, input, o);
        const double at = static_cast<double>(source.first) +
                          static_cast<double>(source.weight) / static_cast<double>(line.unit);
        ASSERT_NEAR(at, x, 1e-12) << input << " -> " << outputs << ", output " << o;
        ASSERT_LE(source.second - source.first, 1);
        ASSERT_LT(source.second, input);
        ASSERT_EQ(source.weight == 0, source.first == source.second);
      }
    }
  }
}

TEST(Resize, RefusesSizesThatOverflow) {
  AxisResize r{std::int64_t{1} << 40};
  EXPECT_THROW((void)resize_line(r, (std::int64_t{1} << 40) - 1), ShapeError);
  r.step = Ratio{0, 1};
  EXPECT_THROW((void)resize_line(r, 5), ShapeError);
  EXPECT_THROW((void)resize_line(AxisResize{3}, 0), ShapeError);
}

}  // namespace
}  // namespace halotile
