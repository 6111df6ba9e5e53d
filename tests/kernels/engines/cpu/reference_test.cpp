// The reference engine's convolution and fully connected layer: against float64 within the derived bound,
// against their documented order bit for bit, and tile by tile against the whole.
#include "kernels/engines/cpu/reference.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/oracle.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;

struct ConvCase {
  std::string name;
  std::int64_t in_channels = 1;
  std::int64_t out_channels = 1;
  std::int64_t groups = 1;
  Extent2 input;
  Extent2 kernel{1, 1};
  Extent2 stride{1, 1};
  Extent2 padding{0, 0};
  Extent2 dilation{1, 1};
  bool relu = false;
  bool bias = true;
  std::int64_t images = 1;
};

std::ostream& operator<<(std::ostream& out, const ConvCase& c) { return out << c.name; }

// One layer with its parameters, input and whole output.
class Conv {
 public:
  Conv(const ConvCase& c, std::uint64_t seed)
      : weight_(oracle::random_values(seed, c.out_channels * (c.in_channels / c.groups) * c.kernel.area())),
        bias_(oracle::random_values(seed + 1, c.bias ? c.out_channels : 0)) {
    layer.in_channels = c.in_channels;
    layer.out_channels = c.out_channels;
    layer.groups = c.groups;
    layer.window = {c.kernel, c.stride, c.padding, c.dilation, false, std::nullopt};
    layer.relu = c.relu;
    layer.weight = Parameter(weight_);
    layer.bias = Parameter(bias_);
  }
  Conv(const Conv&) = delete;
  Conv& operator=(const Conv&) = delete;

  void set_first_weight(float value) {
    weight_[0] = value;
    layer.weight = Parameter(weight_);
  }
  void run(const ConstMapView& in, const MapView& out) const {
    reference::conv2d(layer, reference::conv2d_weight_order(layer), in, out);
  }
  [[nodiscard]] GuardedMap whole(const GuardedMap& in) const {
    GuardedMap out(DType::f32, in.view().images, layer.out_channels,
                   output_extent(layer.window, in.view().whole));
    run(in.view(), out.view());
    return out;
  }

  Conv2d layer;

 private:
  std::vector<float> weight_;
  std::vector<float> bias_;
};

const std::vector<ConvCase>& conv_cases() {
  static const std::vector<ConvCase> cases{
      {.name = "OnePosition", .input = {1, 1}},
      {.name = "Pointwise", .in_channels = 17, .out_channels = 5, .input = {6, 7}, .relu = true},
      {.name = "PointwiseStride2", .in_channels = 3, .out_channels = 4, .input = {7, 8}, .stride = {2, 2}},
      {.name = "AlexNetConv1",
       .in_channels = 3,
       .out_channels = 5,
       .input = {35, 31},
       .kernel = {11, 11},
       .stride = {4, 4},
       .relu = true},
      {.name = "AlexNetConv1Padded",
       .in_channels = 3,
       .out_channels = 3,
       .input = {32, 36},
       .kernel = {11, 11},
       .stride = {4, 4},
       .padding = {2, 2}},
      {.name = "AlexNetConv2",
       .in_channels = 6,
       .out_channels = 10,
       .groups = 2,
       .input = {9, 8},
       .kernel = {5, 5},
       .padding = {2, 2},
       .relu = true,
       .images = 2},
      {.name = "Kernel3Padding1",
       .in_channels = 33,
       .out_channels = 17,
       .input = {7, 5},
       .kernel = {3, 3},
       .padding = {1, 1},
       .bias = false},
      {.name = "NonSquare",
       .in_channels = 5,
       .out_channels = 3,
       .input = {11, 9},
       .kernel = {2, 5},
       .stride = {3, 2},
       .padding = {1, 3}},
      {.name = "Dilation2",
       .in_channels = 3,
       .out_channels = 4,
       .input = {9, 10},
       .kernel = {3, 3},
       .padding = {2, 2},
       .dilation = {2, 2}},
      {.name = "Dilation3By2Stride2",
       .in_channels = 1,
       .out_channels = 3,
       .input = {13, 11},
       .kernel = {3, 2},
       .stride = {2, 2},
       .padding = {1, 2},
       .dilation = {3, 2}},
      {.name = "StrideBeyondKernel",
       .in_channels = 3,
       .out_channels = 2,
       .input = {13, 14},
       .kernel = {2, 2},
       .stride = {3, 4},
       .images = 3},
      {.name = "PaddingBeyondKernel",
       .in_channels = 2,
       .out_channels = 3,
       .input = {4, 3},
       .kernel = {2, 2},
       .padding = {3, 3}},
      {.name = "Depthwise",
       .in_channels = 7,
       .out_channels = 7,
       .groups = 7,
       .input = {6, 6},
       .kernel = {3, 3},
       .padding = {1, 1}},
      {.name = "DepthwiseMultiplier2",
       .in_channels = 3,
       .out_channels = 6,
       .groups = 3,
       .input = {6, 5},
       .kernel = {3, 3},
       .stride = {2, 2},
       .padding = {1, 1}},
      {.name = "KernelLargerThanTheMap",
       .in_channels = 3,
       .out_channels = 2,
       .input = {3, 2},
       .kernel = {7, 7},
       .padding = {3, 3}},
  };
  return cases;
}

constexpr std::uint64_t conv_seed = 20'120'930;

class ConvTest : public testing::TestWithParam<ConvCase> {
 protected:
  ConvTest()
      : conv(GetParam(), conv_seed),
        in(DType::f32, GetParam().images, GetParam().in_channels, GetParam().input, {1, 2, 3}) {
    in.randomize(conv_seed + 2);
  }
  Conv conv;
  GuardedMap in;
};

TEST_P(ConvTest, StaysWithinTheDerivedBound) {
  SCOPED_TRACE(conv_seed);
  ASSERT_EQ(output_extent(conv.layer.window, GetParam().input),
            oracle::pytorch_output_extent(conv.layer.window, GetParam().input));
  GuardedMap out(DType::f32, GetParam().images, GetParam().out_channels,
                 output_extent(conv.layer.window, GetParam().input), {3, 1, 2});
  conv.run(in.view(), out.view());
  EXPECT_TRUE(out.complete());
  EXPECT_TRUE(oracle::within(out, oracle::conv2d(conv.layer, in.values())));
}

// Written a second time, from the sentence in reference.hpp.
TEST_P(ConvTest, KeepsTheDocumentedOrder) {
  SCOPED_TRACE(conv_seed);
  const GuardedMap out = conv.whole(in);
  GuardedMap expected(DType::f32, out.view().images, out.view().channels, out.view().whole);
  const Conv2d& l = conv.layer;
  const Window& w = l.window;
  const std::int64_t channels = l.in_channels / l.groups;
  for (std::int64_t i = 0; i < out.view().images; ++i) {
    for (std::int64_t r = 0; r < out.view().whole.height; ++r) {
      for (std::int64_t q = 0; q < out.view().whole.width; ++q) {
        for (std::int64_t o = 0; o < l.out_channels; ++o) {
          float acc = 0.0F;
          std::int64_t first = o * channels * w.kernel.height * w.kernel.width;
          for (std::int64_t tap = 0; tap < w.kernel.height * w.kernel.width; ++tap) {
            const std::int64_t y =
                r * w.stride.height - w.padding.begin.height + tap / w.kernel.width * w.dilation.height;
            const std::int64_t x =
                q * w.stride.width - w.padding.begin.width + tap % w.kernel.width * w.dilation.width;
            const bool inside = y >= 0 && y < in.view().whole.height && x >= 0 && x < in.view().whole.width;
            for (std::int64_t c = 0; c < channels; ++c) {
              const float value =
                  inside ? in.get(i, y, x, o / (l.out_channels / l.groups) * channels + c) : 0.0F;
              const std::int64_t index = first + c * w.kernel.height * w.kernel.width + tap;
              acc = std::fma(value, l.weight[static_cast<std::size_t>(index)], acc);
            }
          }
          if (!l.bias.empty()) acc += l.bias[static_cast<std::size_t>(o)];
          expected.set(i, r, q, o, l.relu && acc < 0.0F ? 0.0F : acc);
        }
      }
    }
  }
  EXPECT_TRUE(oracle::same_bits(out, expected));
}

TEST_P(ConvTest, TilesEqualTheWholeBitForBit) {
  SCOPED_TRACE(conv_seed);
  const GuardedMap out = conv.whole(in);
  for (const Extent2 core : {Extent2{1, 1}, {2, 3}, {3, 2}, {5, 1}, {4, 100}}) {
    EXPECT_TRUE(
        oracle::tiles_equal_whole(conv.layer.window, in, out, core,
                                  [&](const ConstMapView& from, const MapView& to) { conv.run(from, to); }))
        << "cores of " << to_string(core);
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, ConvTest, testing::ValuesIn(conv_cases()),
                         [](const auto& test) { return test.param.name; });

// Windows drawn at random: sizes, strides, paddings, dilations and groups that no table thinks of.
TEST(ConvProperty, RandomWindowsStayWithinTheBoundAndTileExactly) {
  constexpr std::uint64_t seed = 4711;
  std::uint64_t state = seed;
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return low + static_cast<std::int64_t>((state >> 33U) % static_cast<std::uint64_t>(high - low + 1));
  };
  int tested = 0;
  for (int trial = 0; trial < 200; ++trial) {
    ConvCase c;
    c.groups = draw(1, 3);
    c.in_channels = c.groups * draw(1, 4);
    c.out_channels = c.groups * draw(1, 3);
    c.input = {draw(1, 12), draw(1, 12)};
    c.kernel = {draw(1, 5), draw(1, 5)};
    c.stride = {draw(1, 5), draw(1, 5)};
    c.padding = {draw(0, 5), draw(0, 5)};
    c.dilation = {draw(1, 3), draw(1, 3)};
    c.relu = draw(0, 1) == 1;
    if (c.input.height + 2 * c.padding.height < c.dilation.height * (c.kernel.height - 1) + 1 ||
        c.input.width + 2 * c.padding.width < c.dilation.width * (c.kernel.width - 1) + 1) {
      continue;
    }
    ++tested;
    SCOPED_TRACE("seed " + std::to_string(seed) + ", trial " + std::to_string(trial) + ": input " +
                 to_string(c.input) + ", kernel " + to_string(c.kernel) + ", stride " + to_string(c.stride) +
                 ", padding " + to_string(c.padding) + ", dilation " + to_string(c.dilation) + ", groups " +
                 std::to_string(c.groups));
    const Conv conv(c, seed + static_cast<std::uint64_t>(trial));
    GuardedMap in(DType::f32, 1, c.in_channels, c.input, {1, 0, 2});
    in.randomize(seed + 1000 + static_cast<std::uint64_t>(trial));
    const GuardedMap out = conv.whole(in);
    ASSERT_TRUE(oracle::within(out, oracle::conv2d(conv.layer, in.values())));
    ASSERT_TRUE(
        oracle::tiles_equal_whole(conv.layer.window, in, out, {draw(1, 4), draw(1, 4)},
                                  [&](const ConstMapView& from, const MapView& to) { conv.run(from, to); }));
  }
  EXPECT_GT(tested, 100);
}

TEST(ConvEdge, ATileOfPaddingAloneIsTheBias) {
  const Conv conv(
      {.name = "", .in_channels = 2, .out_channels = 3, .input = {4, 4}, .kernel = {2, 2}, .padding = {3, 3}},
      1);
  const Rect corner{{0, 1}, {0, 1}};
  ASSERT_TRUE(oracle::needed_rect(conv.layer.window, {4, 4}, corner).empty());
  ConstMapView nothing;
  static_cast<MapGeometry&>(nothing) = dense_geometry(DType::f32, 1, 2, {}, {4, 4});
  GuardedMap out(DType::f32, 1, 3, corner, {9, 9});
  conv.run(nothing, out.view());
  EXPECT_TRUE(out.complete());
  for (std::int64_t o = 0; o < 3; ++o)
    EXPECT_EQ(out.get(0, 0, 0, o), conv.layer.bias[static_cast<std::size_t>(o)]);
}

TEST(ConvEdge, ReluKeepsNanAndNegativeZero) {
  Conv conv({.name = "", .in_channels = 1, .out_channels = 1, .input = {1, 4}, .relu = true, .bias = false},
            1);
  conv.set_first_weight(1.0F);
  GuardedMap in(DType::f32, 1, 1, {1, 4});
  in.set(0, 0, 0, 0, std::numeric_limits<float>::quiet_NaN());
  in.set(0, 0, 1, 0, -std::numeric_limits<float>::infinity());
  in.set(0, 0, 2, 0, std::numeric_limits<float>::infinity());
  in.set(0, 0, 3, 0, -3.0F);
  const GuardedMap out = conv.whole(in);
  EXPECT_TRUE(std::isnan(out.get(0, 0, 0, 0)));
  EXPECT_EQ(out.get(0, 0, 1, 0), 0.0F);
  EXPECT_EQ(out.get(0, 0, 2, 0), std::numeric_limits<float>::infinity());
  EXPECT_EQ(out.get(0, 0, 3, 0), 0.0F);

  // 2^-149 * -0.25 rounds to -0: the only way to a negative zero from an accumulator that starts at +0.
  conv.set_first_weight(-0.25F);
  in.set(0, 0, 0, 0, std::numeric_limits<float>::denorm_min());
  const float zero = conv.whole(in).get(0, 0, 0, 0);
  EXPECT_EQ(zero, 0.0F);
  EXPECT_TRUE(std::signbit(zero));
}

TEST(ConvEdge, MultipliesByZeroOutsideTheImage) {
  Conv conv(
      {.name = "", .in_channels = 1, .out_channels = 1, .input = {1, 3}, .kernel = {1, 3}, .padding = {0, 1}},
      1);
  conv.set_first_weight(std::numeric_limits<float>::infinity());
  GuardedMap in(DType::f32, 1, 1, {1, 3});
  for (std::int64_t q = 0; q < 3; ++q) in.set(0, 0, q, 0, 1.0F);
  const GuardedMap out = conv.whole(in);
  EXPECT_TRUE(std::isnan(out.get(0, 0, 0, 0)));  // infinity * 0
  EXPECT_EQ(out.get(0, 0, 1, 0), std::numeric_limits<float>::infinity());
}

TEST(ConvEdge, RefusesMapsAndWeightsThatDoNotFit) {
  const ConvCase shape{.name = "", .in_channels = 4, .out_channels = 2, .input = {3, 3}};
  Conv conv(shape, 1);
  GuardedMap in(DType::f32, 1, 4, {3, 3});
  GuardedMap out(DType::f32, 1, 2, {3, 3});
  const GuardedMap wrong_channels(DType::f32, 1, 3, {3, 3});
  const GuardedMap wrong_images(DType::f32, 2, 4, {3, 3});
  const GuardedMap wrong_type(DType::bf16, 1, 4, {3, 3});
  EXPECT_THROW(conv.run(wrong_channels.view(), out.view()), ShapeError);
  EXPECT_THROW(conv.run(wrong_images.view(), out.view()), ShapeError);
  EXPECT_THROW(conv.run(wrong_type.view(), out.view()), UnsupportedError);
  conv.layer.groups = 3;
  EXPECT_THROW(conv.run(in.view(), out.view()), ShapeError);
  conv.layer.groups = 1;
  conv.layer.window.kernel = {2, 1};
  EXPECT_THROW(conv.run(in.view(), out.view()), ShapeError);
}

// The comparison of tiles with the whole must be able to fail.
TEST(ConvFault, AHaloOneRowShortIsSeen) {
  const Conv conv({.name = "",
                   .in_channels = 3,
                   .out_channels = 2,
                   .input = {12, 12},
                   .kernel = {3, 3},
                   .padding = {1, 1}},
                  5);
  GuardedMap in(DType::f32, 1, 3, {12, 12});
  in.randomize(6);
  const GuardedMap whole = conv.whole(in);
  const Rect core{{4, 8}, {4, 8}};
  const Rect needed = oracle::needed_rect(conv.layer.window, {12, 12}, core);
  ASSERT_EQ(needed, (Rect{{3, 9}, {3, 9}}));
  const Rect short_top{{4, 9}, {3, 9}};
  const Rect short_bottom{{3, 8}, {3, 9}};
  const Rect short_left{{3, 9}, {4, 9}};
  const Rect short_right{{3, 9}, {3, 8}};
  for (const Rect& rect : {needed, short_top, short_bottom, short_left, short_right}) {
    GuardedMap tile(DType::f32, 1, 3, rect, {12, 12});
    tile.fill_from(in);
    GuardedMap out(DType::f32, 1, 2, core, {12, 12});
    conv.run(tile.view(), out.view());
    EXPECT_EQ(static_cast<bool>(oracle::same_bits(out, whole)), rect == needed) << to_string(rect);
    // What is missing reads as padding.
    GuardedMap zeroed(DType::f32, 1, 3, {12, 12});
    for (std::int64_t r = 0; r < 12; ++r) {
      for (std::int64_t q = 0; q < 12; ++q) {
        const bool kept = rect.rows.contains(r) && rect.cols.contains(q);
        for (std::int64_t c = 0; c < 3; ++c) zeroed.set(0, r, q, c, kept ? in.get(0, r, q, c) : 0.0F);
      }
    }
    EXPECT_TRUE(oracle::same_bits(out, conv.whole(zeroed))) << to_string(rect);
  }
}

// Two fused layers: a halo position outside the image is zero before the second layer, not relu(bias).
TEST(ConvFault, PaddingOnlyAtAFusedStagesInputIsSeen) {
  const ConvCase first_shape{.name = "",
                             .in_channels = 2,
                             .out_channels = 3,
                             .input = {8, 8},
                             .kernel = {3, 3},
                             .padding = {1, 1},
                             .relu = true};
  ConvCase second_shape = first_shape;
  second_shape.in_channels = 3;
  Conv first(first_shape, 11);
  const Conv second(second_shape, 21);
  const std::vector<float> positive_bias(3, 0.5F);
  first.layer.bias = Parameter(positive_bias);
  GuardedMap in(DType::f32, 1, 2, {8, 8});
  in.randomize(31);
  const GuardedMap middle = first.whole(in);
  const GuardedMap whole = second.whole(middle);

  // As it should be: the corner tile's intermediate rectangle ends where the map does.
  const Rect core{{0, 3}, {0, 3}};
  const Rect middle_rect = oracle::needed_rect(second.layer.window, {8, 8}, core);
  ASSERT_EQ(middle_rect, (Rect{{0, 4}, {0, 4}}));
  GuardedMap middle_tile(DType::f32, 1, 3, middle_rect, {8, 8});
  first.run(in.view(), middle_tile.view());
  GuardedMap out(DType::f32, 1, 3, core, {8, 8});
  second.run(middle_tile.view(), out.view());
  EXPECT_TRUE(oracle::same_bits(out, whole));

  // The trap: the input is padded by both halos at once and both layers run without padding, so that the ring
  // of intermediate positions outside the image becomes relu(bias).
  GuardedMap padded_in(DType::f32, 1, 2, {12, 12});
  for (std::int64_t r = 0; r < 12; ++r) {
    for (std::int64_t q = 0; q < 12; ++q) {
      const bool inside = r >= 2 && r < 10 && q >= 2 && q < 10;
      for (std::int64_t c = 0; c < 2; ++c)
        padded_in.set(0, r, q, c, inside ? in.get(0, r - 2, q - 2, c) : 0.0F);
    }
  }
  Conv2d first_unpadded = first.layer;
  first_unpadded.window.padding = {0, 0};
  Conv2d second_unpadded = second.layer;
  second_unpadded.window.padding = {0, 0};
  GuardedMap trapped_middle(DType::f32, 1, 3, {10, 10});
  reference::conv2d(first_unpadded, reference::conv2d_weight_order(first_unpadded), padded_in.view(),
                    trapped_middle.view());
  GuardedMap trapped(DType::f32, 1, 3, {8, 8});
  reference::conv2d(second_unpadded, reference::conv2d_weight_order(second_unpadded), trapped_middle.view(),
                    trapped.view());
  EXPECT_EQ(trapped.get(0, 4, 4, 0), whole.get(0, 4, 4, 0)) << "away from the border both ways agree";
  EXPECT_FALSE(oracle::same_bits(trapped, whole));
}

struct FullyConnectedCase {
  std::string name;
  std::int64_t in_features = 1;
  std::int64_t out_features = 1;
  std::int64_t images = 1;
  bool relu = false;
  bool bias = true;
};

std::ostream& operator<<(std::ostream& out, const FullyConnectedCase& c) { return out << c.name; }

class FullyConnectedTest : public testing::TestWithParam<FullyConnectedCase> {
 protected:
  static constexpr std::uint64_t seed = 77;
  FullyConnectedTest()
      : weight(oracle::random_values(seed, GetParam().in_features * GetParam().out_features)),
        bias(oracle::random_values(seed + 1, GetParam().bias ? GetParam().out_features : 0)),
        layer{GetParam().in_features, GetParam().out_features, GetParam().relu, Parameter(weight),
              Parameter(bias)},
        in(DType::f32, GetParam().images, GetParam().in_features, {1, 1}, {2, 0, 3}) {
    in.randomize(seed + 2);
  }
  std::vector<float> weight;
  std::vector<float> bias;
  FullyConnected layer;
  GuardedMap in;
};

TEST_P(FullyConnectedTest, StaysWithinTheDerivedBound) {
  SCOPED_TRACE(seed);
  GuardedMap out(DType::f32, GetParam().images, layer.out_features, {1, 1}, {1, 2, 3});
  reference::fully_connected(layer, {0, layer.out_features}, in.view(), out.view());
  EXPECT_TRUE(out.complete());
  EXPECT_TRUE(
      oracle::within(out, oracle::fully_connected(layer, reference::fully_connected_segment, in.values())));
}

TEST_P(FullyConnectedTest, KeepsTheDocumentedOrder) {
  SCOPED_TRACE(seed);
  GuardedMap out(DType::f32, GetParam().images, layer.out_features, {1, 1});
  reference::fully_connected(layer, {0, layer.out_features}, in.view(), out.view());
  for (std::int64_t i = 0; i < GetParam().images; ++i) {
    for (std::int64_t o = 0; o < layer.out_features; ++o) {
      std::vector<float> segments;
      for (std::int64_t f = 0; f < layer.in_features; ++f) {
        if (f % 128 == 0) segments.push_back(0.0F);
        segments.back() = std::fma(
            in.get(i, 0, 0, f), weight[static_cast<std::size_t>(o * layer.in_features + f)], segments.back());
      }
      float total = segments[0];
      for (std::size_t s = 1; s < segments.size(); ++s) total = total + segments[s];
      if (!bias.empty()) total = total + bias[static_cast<std::size_t>(o)];
      if (layer.relu && total < 0.0F) total = 0.0F;
      ASSERT_EQ(out.get(i, 0, 0, o), total) << "image " << i << ", output " << o;
    }
  }
}

TEST_P(FullyConnectedTest, PartsOfTheOutputsEqualTheWhole) {
  GuardedMap whole(DType::f32, GetParam().images, layer.out_features, {1, 1});
  reference::fully_connected(layer, {0, layer.out_features}, in.view(), whole.view());
  for (std::int64_t begin = 0; begin < layer.out_features; begin += 3) {
    const Interval features{begin, std::min(begin + 3, layer.out_features)};
    GuardedMap part(DType::f32, GetParam().images, features.size(), {1, 1}, {0, 1, 4});
    reference::fully_connected(layer, features, in.view(), part.view());
    EXPECT_TRUE(part.complete());
    for (std::int64_t i = 0; i < GetParam().images; ++i) {
      for (std::int64_t o = features.begin; o < features.end; ++o) {
        EXPECT_EQ(part.get(i, 0, 0, o - begin), whole.get(i, 0, 0, o)) << "image " << i << ", output " << o;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, FullyConnectedTest,
                         testing::Values(FullyConnectedCase{"OneByOne"},
                                         FullyConnectedCase{"OneShortOfASegment", 127, 5, 2},
                                         FullyConnectedCase{"OneSegment", 128, 4, 1, true},
                                         FullyConnectedCase{"OneBeyondASegment", 129, 7, 3},
                                         FullyConnectedCase{"ManySegments", 1000, 11, 2, true},
                                         FullyConnectedCase{"NoBias", 300, 3, 1, false, false}),
                         [](const auto& test) { return test.param.name; });

TEST(FullyConnectedEdge, RefusesWhatDoesNotFit) {
  const std::vector<float> weight(6, 1.0F);
  const FullyConnected layer{3, 2, false, Parameter(weight), {}};
  GuardedMap in(DType::f32, 1, 3, {1, 1});
  in.randomize(1);
  const GuardedMap two(DType::f32, 1, 2, {1, 1});
  const GuardedMap wide(DType::f32, 1, 3, {1, 2});
  EXPECT_THROW(reference::fully_connected(layer, {0, 1}, in.view(), two.view()), ShapeError);
  EXPECT_THROW(reference::fully_connected(layer, {1, 3}, in.view(), two.view()), ShapeError);
  EXPECT_THROW(reference::fully_connected(layer, {0, 2}, wide.view(), two.view()), ShapeError);
}

}  // namespace
}  // namespace halotile
