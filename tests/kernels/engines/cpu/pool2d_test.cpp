// Pooling: maxima exactly, averages within the derived bound and in their documented order, tiles against the
// whole.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <ostream>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/oracle.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;

struct PoolCase {
  std::string name;
  std::int64_t channels = 1;
  Extent2 input;
  Extent2 kernel{1, 1};
  Extent2 stride{1, 1};
  Extent2 padding{0, 0};
  Extent2 dilation{1, 1};
  bool ceil_mode = false;
  std::optional<Extent2> adaptive = std::nullopt;
  std::int64_t images = 1;
};

std::ostream& operator<<(std::ostream& out, const PoolCase& c) { return out << c.name; }

Window window_of(const PoolCase& c) {
  return {c.kernel, c.stride, c.padding, c.dilation, c.ceil_mode, c.adaptive};
}

const std::vector<PoolCase>& pool_cases() {
  static const std::vector<PoolCase> cases{
      {.name = "OnePosition", .input = {1, 1}},
      {.name = "AlexNet", .channels = 33, .input = {13, 11}, .kernel = {3, 3}, .stride = {2, 2}, .images = 2},
      {.name = "Kernel2", .channels = 5, .input = {8, 7}, .kernel = {2, 2}, .stride = {2, 2}},
      {.name = "CeilMode",
       .channels = 17,
       .input = {8, 10},
       .kernel = {3, 3},
       .stride = {2, 2},
       .ceil_mode = true},
      {.name = "CeilModePadded",
       .channels = 3,
       .input = {7, 9},
       .kernel = {3, 2},
       .stride = {3, 4},
       .padding = {1, 1},
       .ceil_mode = true},
      {.name = "Padded",
       .channels = 96,
       .input = {6, 5},
       .kernel = {3, 3},
       .stride = {1, 2},
       .padding = {1, 1}},
      {.name = "NonSquare",
       .channels = 3,
       .input = {9, 11},
       .kernel = {1, 4},
       .stride = {2, 3},
       .padding = {0, 2}},
      {.name = "Dilation",
       .channels = 17,
       .input = {11, 12},
       .kernel = {3, 2},
       .stride = {2, 1},
       .padding = {1, 1},
       .dilation = {2, 3}},
      {.name = "StrideBeyondKernel",
       .channels = 5,
       .input = {14, 13},
       .kernel = {2, 2},
       .stride = {5, 3},
       .images = 3},
      {.name = "PaddingBeyondKernel", .channels = 3, .input = {3, 4}, .kernel = {2, 2}, .padding = {3, 3}},
      {.name = "LargeKernel",
       .channels = 40,
       .input = {9, 9},
       .kernel = {7, 6},
       .stride = {2, 2},
       .padding = {2, 2}},
      {.name = "MoreChannelsThanABlock",
       .channels = 1111,
       .input = {4, 4},
       .kernel = {2, 2},
       .padding = {1, 0}},
      // One window that reaches beyond the padded map.
      {.name = "CeilKernelOverMap",
       .channels = 9,
       .input = {2, 2},
       .kernel = {3, 3},
       .stride = {2, 2},
       .ceil_mode = true,
       .images = 2},
      {.name = "CeilKernelOverMapDownOnly",
       .channels = 5,
       .input = {2, 7},
       .kernel = {3, 3},
       .stride = {2, 2},
       .ceil_mode = true},
      {.name = "CeilKernelOverPaddedMap",
       .channels = 4,
       .input = {3, 2},
       .kernel = {7, 8},
       .stride = {4, 5},
       .padding = {1, 2},
       .ceil_mode = true},
      {.name = "CeilDilatedKernelOverMap",
       .channels = 3,
       .input = {4, 3},
       .kernel = {3, 2},
       .stride = {4, 3},
       .dilation = {3, 4},
       .ceil_mode = true},
      {.name = "CeilKernel1280OverMap",
       .channels = 3,
       .input = {7, 7},
       .kernel = {1280, 1280},
       .stride = {1280, 1280},
       .ceil_mode = true},
      {.name = "AdaptiveToSix", .channels = 17, .input = {13, 9}, .adaptive = Extent2{6, 6}},
      {.name = "AdaptiveToMore", .channels = 3, .input = {3, 2}, .adaptive = Extent2{7, 5}},
      {.name = "AdaptiveToOne", .channels = 33, .input = {7, 8}, .adaptive = Extent2{1, 1}},
  };
  return cases;
}

class PoolTest : public testing::TestWithParam<PoolCase> {
 protected:
  static constexpr std::uint64_t seed = 1979;
  [[nodiscard]] static GuardedMap input(DType dtype) {
    const PoolCase& c = GetParam();
    GuardedMap in(dtype, c.images, c.channels, c.input, {1, 2, 3});
    in.randomize(seed);
    return in;
  }
  [[nodiscard]] static GuardedMap output(DType dtype, oracle::Gaps gaps = {}) {
    const PoolCase& c = GetParam();
    return {dtype, c.images, c.channels, output_extent(window_of(c), c.input), gaps};
  }
  static void expect_tiles(const Pool2d& layer, const GuardedMap& in, const GuardedMap& out) {
    for (const Extent2 core : {Extent2{1, 1}, {2, 3}, {3, 2}, {1, 100}}) {
      EXPECT_TRUE(oracle::tiles_equal_whole(
          layer.window, in, out, core,
          [&](const ConstMapView& from, const MapView& to) { pool2d(layer, from, to); }))
          << "cores of " << to_string(core);
    }
  }
};

TEST_P(PoolTest, MaximaAreExact) {
  SCOPED_TRACE(seed);
  ASSERT_EQ(output_extent(window_of(GetParam()), GetParam().input),
            oracle::pytorch_output_extent(window_of(GetParam()), GetParam().input));
  const Pool2d layer{PoolKind::max, window_of(GetParam()), true};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(to_string(dtype));
    const GuardedMap in = input(dtype);
    GuardedMap out = output(dtype, {2, 1, 3});
    pool2d(layer, in.view(), out.view());
    EXPECT_TRUE(out.complete());
    EXPECT_TRUE(oracle::within(out, oracle::pool2d(layer, in.values())));
    expect_tiles(layer, in, out);
  }
}

TEST_P(PoolTest, AveragesStayWithinTheDerivedBound) {
  SCOPED_TRACE(seed);
  for (const bool count_include_pad : {true, false}) {
    const Pool2d layer{PoolKind::average, window_of(GetParam()), count_include_pad};
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      SCOPED_TRACE(std::string(to_string(dtype)) +
                   (count_include_pad ? ", padding counts" : ", padding does not count"));
      const GuardedMap in = input(dtype);
      GuardedMap out = output(dtype, {2, 1, 3});
      pool2d(layer, in.view(), out.view());
      oracle::Expected expected = oracle::pool2d(layer, in.values());
      oracle::stored_as(dtype, expected);
      EXPECT_TRUE(out.complete());
      EXPECT_TRUE(oracle::within(out, expected));
      expect_tiles(layer, in, out);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, PoolTest, testing::ValuesIn(pool_cases()),
                         [](const auto& test) { return test.param.name; });

// Channel counts around every vector width, windows of 1 to 12 taps: the documented order, one channel at a
// time.
TEST(PoolOrder, IsTheDocumentedOneForAnyChannelCountAndWindow) {
  constexpr std::uint64_t seed = 8;
  for (const std::int64_t channels : {1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 513}) {
    for (const Extent2 kernel :
         {Extent2{1, 1}, {1, 2}, {3, 1}, {2, 2}, {1, 5}, {2, 3}, {7, 1}, {2, 4}, {3, 3}, {3, 4}}) {
      GuardedMap in(DType::f32, 1, channels, kernel);
      in.randomize(seed);
      if (channels > 1) in.set(0, 0, 0, channels - 1, -0.0F);
      float largest = -std::numeric_limits<float>::infinity();
      for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
        const Pool2d layer{kind, {kernel, {1, 1}, {0, 0}, {1, 1}, false, std::nullopt}, true};
        GuardedMap out(DType::f32, 1, channels, {1, 1});
        pool2d(layer, in.view(), out.view());
        for (std::int64_t c = 0; c < channels; ++c) {
          largest = -std::numeric_limits<float>::infinity();
          float sum = 0.0F;
          for (std::int64_t ky = 0; ky < kernel.height; ++ky) {
            for (std::int64_t kx = 0; kx < kernel.width; ++kx) {
              const float x = in.get(0, ky, kx, c);
              if (x > largest || std::isnan(x)) largest = x;
              sum = sum + x;
            }
          }
          const float want = kind == PoolKind::max ? largest : sum / static_cast<float>(kernel.area());
          ASSERT_EQ(out.get(0, 0, 0, c), want) << "seed " << seed << ", " << channels << " channels, kernel "
                                               << to_string(kernel) << ", channel " << c;
        }
      }
    }
  }
}

// In every lane and in the tail: 17 channels see the same values.
TEST(PoolEdge, MaximumOfZerosInfinitiesAndNan) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  struct Case {
    std::string name;
    std::vector<float> values;
    float expected;
  };
  const Pool2d layer{PoolKind::max, {{1, 4}, {1, 1}, {0, 0}, {1, 1}, false, std::nullopt}, true};
  for (const Case& c :
       {Case{"the first of two zeros: positive", {0.0F, -0.0F, -1.0F, -0.0F}, 0.0F},
        Case{"the first of two zeros: negative", {-0.0F, 0.0F, -1.0F, 0.0F}, -0.0F},
        Case{"NaN first", {nan, 1.0F, 2.0F, inf}, nan}, Case{"NaN between", {1.0F, nan, 2.0F, 0.0F}, nan},
        Case{"NaN last", {1.0F, 2.0F, inf, nan}, nan}, Case{"infinity", {1.0F, inf, 2.0F, -inf}, inf},
        Case{"nothing above minus infinity", {-inf, -inf, -inf, -inf}, -inf}}) {
    SCOPED_TRACE(c.name);
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      GuardedMap in(dtype, 1, 17, {1, 4});
      for (std::int64_t q = 0; q < 4; ++q) {
        for (std::int64_t ch = 0; ch < 17; ++ch) in.set(0, 0, q, ch, c.values[static_cast<std::size_t>(q)]);
      }
      GuardedMap expected(dtype, 1, 17, {1, 1});
      for (std::int64_t ch = 0; ch < 17; ++ch) expected.set(0, 0, 0, ch, c.expected);
      GuardedMap out(dtype, 1, 17, {1, 1});
      pool2d(layer, in.view(), out.view());
      EXPECT_TRUE(oracle::same_bits(out, expected));
    }
  }
}

TEST(PoolEdge, AWindowOfPaddingAloneIsMinusInfinityOrZero) {
  Pool2d layer{PoolKind::max, {{2, 2}, {1, 1}, {3, 3}, {1, 1}, false, std::nullopt}, true};
  GuardedMap in(DType::f32, 1, 3, {4, 4});
  in.randomize(1);
  const Rect corner{{0, 1}, {0, 1}};
  const auto value = [&] {
    GuardedMap out(DType::f32, 1, 3, corner, {9, 9});
    pool2d(layer, in.view(), out.view());
    EXPECT_TRUE(out.complete());
    return out.get(0, 0, 0, 2);
  };
  EXPECT_EQ(value(), -std::numeric_limits<float>::infinity());
  layer.kind = PoolKind::average;
  EXPECT_EQ(value(), 0.0F);
  layer.count_include_pad = false;
  EXPECT_EQ(value(), 0.0F);
}

// An overlapping pool has a halo; a rule "kernel = stride" would cut it off.
TEST(PoolFault, AHaloOneRowShortIsSeen) {
  const Pool2d layer{PoolKind::max, {{3, 3}, {2, 2}, {0, 0}, {1, 1}, false, std::nullopt}, true};
  GuardedMap in(DType::f32, 1, 4, {13, 13});
  in.randomize(3);
  GuardedMap whole(DType::f32, 1, 4, {6, 6});
  pool2d(layer, in.view(), whole.view());
  const Rect core{{1, 3}, {1, 3}};
  ASSERT_EQ(oracle::needed_rect(layer.window, {13, 13}, core), (Rect{{2, 7}, {2, 7}}));
  for (const std::int64_t end : {7, 6}) {
    GuardedMap tile(DType::f32, 1, 4, {{2, end}, {2, 7}}, {13, 13});
    tile.fill_from(in);
    GuardedMap out(DType::f32, 1, 4, core, {6, 6});
    pool2d(layer, tile.view(), out.view());
    EXPECT_EQ(static_cast<bool>(oracle::same_bits(out, whole)), end == 7);
  }
}

TEST(PoolEdge, RefusesMapsThatDoNotFit) {
  const GuardedMap in(DType::f32, 1, 3, {2, 2});
  const GuardedMap other_type(DType::bf16, 1, 3, {2, 2});
  const GuardedMap other_channels(DType::f32, 1, 4, {2, 2});
  const GuardedMap other_images(DType::f32, 2, 3, {2, 2});
  EXPECT_THROW(pool2d({}, in.view(), other_type.view()), ShapeError);
  EXPECT_THROW(pool2d({}, in.view(), other_channels.view()), ShapeError);
  EXPECT_THROW(pool2d({}, in.view(), other_images.view()), ShapeError);
}

}  // namespace
}  // namespace halotile
