// Pooling, normalization, ReLU, copies and softmax on the device against the kernels of the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cuda/support.hpp"
#include "kernels/map_operations_direct.hpp"
#include "kernels/pointwise.hpp"

namespace halotile::testing {
namespace {

struct PoolCase {
  std::string name;
  PoolKind kind = PoolKind::max;
  std::int64_t channels = 8;
  Extent2 map;
  Window window;
  bool count_include_pad = true;
  Rect tile = {};  // of the output; empty: all of it

  friend void PrintTo(const PoolCase& c, std::ostream* out) { *out << c.name; }
};

Window window(Extent2 kernel, Extent2 stride, Extent2 padding = {0, 0}, Extent2 dilation = {1, 1},
              bool ceil_mode = false) {
  Window w;
  w.kernel = kernel;
  w.stride = stride;
  w.padding = padding;
  w.dilation = dilation;
  w.ceil_mode = ceil_mode;
  return w;
}

Window adaptive(Extent2 output) {
  Window w;
  w.adaptive_output = output;
  return w;
}

class Pool2dDirect : public ::testing::TestWithParam<PoolCase> {};

TEST_P(Pool2dDirect, EqualsTheCpuInEveryKernelAndLayout) {
  HALOTILE_NEEDS_GPU();
  const PoolCase& c = GetParam();
  const Pool2d layer{c.kind, c.window, c.count_include_pad};
  const Extent2 whole_out = output_extent(c.window, c.map);
  const Rect out_rect = c.tile.empty() ? Rect::whole(whole_out) : c.tile;
  const Rect in_rect = needed_rect(c.window, c.map, out_rect);
  for (const Layout layout : all_layouts) {
    TwinMap in(2, c.channels, in_rect, c.map, layout);
    TwinMap out(2, c.channels, out_rect, whole_out, layout);
    in.randomize(5);
    pool2d(layer, in.host(), out.host());
    for (const auto kernel :
         {direct::PoolKernel::automatic, direct::PoolKernel::cached, direct::PoolKernel::shared}) {
      out.poison_device();
      direct::pool2d(layer, in.on_device(), out.on_device(), stream().handle(), kernel);
      stream().synchronize();
      EXPECT_TRUE(out.same_everywhere()) << to_string(layout) << ", kernel " << static_cast<int>(kernel);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Small, Pool2dDirect,
    ::testing::Values(
        PoolCase{"Max3x3Stride2", PoolKind::max, 36, {13, 15}, window({3, 3}, {2, 2})},
        PoolCase{"MaxPadded", PoolKind::max, 8, {9, 9}, window({3, 3}, {2, 2}, {1, 1})},
        PoolCase{"MaxCeil", PoolKind::max, 5, {10, 8}, window({3, 3}, {2, 2}, {0, 0}, {1, 1}, true)},
        PoolCase{"MaxDilated", PoolKind::max, 4, {12, 11}, window({2, 3}, {1, 2}, {1, 1}, {3, 2})},
        PoolCase{"MaxLargeWindow", PoolKind::max, 4, {40, 40}, window({20, 20}, {7, 7})},
        PoolCase{"MaxStrideBeyondKernel", PoolKind::max, 8, {17, 19}, window({2, 2}, {5, 4})},
        PoolCase{"MaxTile", PoolKind::max, 32, {27, 27}, window({3, 3}, {2, 2}), true, {{4, 9}, {0, 7}}},
        PoolCase{"Average", PoolKind::average, 12, {9, 12}, window({2, 2}, {2, 2})},
        PoolCase{"AveragePadded", PoolKind::average, 8, {7, 8}, window({3, 3}, {2, 2}, {1, 1})},
        PoolCase{"AverageNotPad", PoolKind::average, 8, {7, 8}, window({3, 3}, {2, 2}, {1, 1}), false},
        PoolCase{"AverageCeil", PoolKind::average, 3, {8, 8}, window({3, 3}, {2, 2}, {1, 1}, {1, 1}, true)},
        PoolCase{"AdaptiveAverage", PoolKind::average, 8, {7, 10}, adaptive({3, 4})},
        PoolCase{"AdaptiveAverageUp", PoolKind::average, 6, {5, 3}, adaptive({6, 6})},
        PoolCase{"AdaptiveTile", PoolKind::average, 4, {13, 13}, adaptive({6, 6}), true, {{2, 5}, {3, 6}}},
        PoolCase{"AdaptiveMax", PoolKind::max, 4, {11, 9}, adaptive({4, 2})}),
    [](const auto& instance) { return instance.param.name; });

TEST(SmallPool2dDirectNan, WinsTheMaximum) {
  HALOTILE_NEEDS_GPU();
  const Pool2d layer{PoolKind::max, window({3, 3}, {1, 1}), true};
  TwinMap in(1, 4, Rect::whole({6, 6}), {6, 6}, Layout::dense);
  TwinMap out(1, 4, Rect::whole({4, 4}), {4, 4}, Layout::dense);
  in.randomize(5);
  in.host().at<float>(0, 2, 3)[1] = std::numeric_limits<float>::quiet_NaN();
  in.upload();
  pool2d(layer, in.host(), out.host());
  direct::pool2d(layer, in.on_device(), out.on_device(), stream().handle());
  EXPECT_TRUE(out.same_everywhere());
}

struct LrnCase {
  std::string name;
  std::int64_t channels = 8;
  Lrn layer;
  bool exact = true;

  friend void PrintTo(const LrnCase& c, std::ostream* out) { *out << c.name; }
};

class LrnDirect : public ::testing::TestWithParam<LrnCase> {};

TEST_P(LrnDirect, EqualsTheCpuInEveryLayout) {
  HALOTILE_NEEDS_GPU();
  const LrnCase& c = GetParam();
  for (const Layout layout : all_layouts) {
    TwinMap in(2, c.channels, {{1, 6}, {0, 5}}, {7, 5}, layout);
    TwinMap out(2, c.channels, {{2, 6}, {1, 4}}, {7, 5}, layout);
    in.randomize(7);
    in.for_each([](float& x) { x *= 40.0F; });
    in.upload();
    lrn(c.layer, in.host(), out.host());
    direct::lrn(c.layer, in.on_device(), out.on_device(), stream().handle());
    stream().synchronize();
    EXPECT_TRUE(c.exact ? out.same_everywhere() : out.close(1e-4F)) << to_string(layout);
  }
}

INSTANTIATE_TEST_SUITE_P(Small, LrnDirect,
                         ::testing::Values(LrnCase{"AlexNet", 96, {5, 1e-4F, 0.75F, 2.0F}},
                                           LrnCase{"FewChannels", 4, {5, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"OddChannels", 7, {5, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"EvenSize", 12, {4, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"SizeBeyondChannels", 6, {15, 1e-2F, 0.5F, 2.0F}},
                                           LrnCase{"BetaHalf", 8, {5, 1e-2F, 0.5F, 1.0F}},
                                           LrnCase{"BetaOne", 8, {3, 1e-2F, 1.0F, 1.0F}},
                                           LrnCase{"BetaOther", 8, {5, 1e-2F, 0.6F, 1.0F}, false}),
                         [](const auto& instance) { return instance.param.name; });

TEST(SmallPointwiseDirect, ReluAndCopyEqualTheCpuInEveryLayout) {
  HALOTILE_NEEDS_GPU();
  for (const std::int64_t channels : {1, 3, 8, 33}) {
    for (const Layout in_layout : all_layouts) {
      for (const Layout out_layout : all_layouts) {
        TwinMap in(2, channels, {{1, 8}, {0, 5}}, {9, 5}, in_layout);
        TwinMap out(2, channels, {{2, 7}, {1, 4}}, {9, 5}, out_layout);
        in.randomize(9);
        relu(in.host(), out.host());
        direct::relu(in.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.same_everywhere()) << "relu, " << channels << " channels, " << to_string(in_layout)
                                           << " to " << to_string(out_layout);
        copy_map(in.host(), out.host());
        direct::copy_map(in.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.same_everywhere()) << "copy, " << channels << " channels, " << to_string(in_layout)
                                           << " to " << to_string(out_layout);
      }
    }
  }
}

TEST(SmallPointwiseDirect, ReluWorksInPlace) {
  HALOTILE_NEEDS_GPU();
  TwinMap map(2, 12, Rect::whole({5, 6}), {5, 6}, Layout::gaps);
  map.randomize(11);
  relu(map.host(), map.host());
  direct::relu(map.on_device(), map.on_device(), stream().handle());
  EXPECT_TRUE(map.same_everywhere());
}

TEST(SmallPointwiseDirect, SoftmaxIsCloseToTheCpu) {
  HALOTILE_NEEDS_GPU();
  for (const std::int64_t channels : {1, 10, 1000}) {
    for (const Layout layout : all_layouts) {
      TwinMap in(3, channels, Rect::whole({2, 3}), {2, 3}, layout);
      TwinMap out(3, channels, Rect::whole({2, 3}), {2, 3}, layout);
      in.randomize(13);
      in.for_each([](float& x) { x *= 20.0F; });
      in.upload();
      softmax(in.host(), out.host());
      direct::softmax(in.on_device(), out.on_device(), stream().handle());
      EXPECT_TRUE(out.close(2e-6F)) << channels << " channels, " << to_string(layout);
    }
  }
}

}  // namespace
}  // namespace halotile::testing
