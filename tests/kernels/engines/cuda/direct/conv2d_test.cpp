// The direct convolution against the reference engine, bit for bit: every variant, layout and kind of window.
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/engines/cpu/reference.hpp"
#include "kernels/engines/cuda/direct/conv2d.hpp"
#include "kernels/engines/cuda/support.hpp"

namespace halotile::testing {
namespace {

struct ConvCase {
  std::string name;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t groups = 1;
  Extent2 map;
  Window window;
  std::int64_t images = 1;
  Rect tile = {};  // of the output; empty: all of it
  bool bias = true;
  bool relu = false;

  friend void PrintTo(const ConvCase& c, std::ostream* out) { *out << c.name; }
};

class Conv2dDirect : public ::testing::TestWithParam<ConvCase> {
 protected:
  // Runs all variants in the given layouts against one reference result each.
  static void check(const ConvCase& c, Layout in_layout, Layout out_layout) {
    const auto weight =
        random_values(c.out_channels * (c.in_channels / c.groups) * c.window.kernel.area(), 1);
    const auto bias = random_values(c.out_channels, 2);
    Conv2d layer{c.in_channels, c.out_channels, c.groups, c.window, c.relu, Parameter(weight), {}};
    if (c.bias) layer.bias = Parameter(bias);
    const Extent2 whole_out = output_extent(c.window, c.map);
    const Rect out_rect = c.tile.empty() ? Rect::whole(whole_out) : c.tile;
    const Rect in_rect = needed_rect(c.window, c.map, out_rect);
    TwinMap in(c.images, c.in_channels, in_rect, c.map, in_layout);
    TwinMap out(c.images, c.out_channels, out_rect, whole_out, out_layout);
    in.randomize(3);
    reference::conv2d(layer, reference::conv2d_weight_order(layer), in.host(), out.host());
    const Buffer device_bias = device().copy_of(bias.data(), bias.size() * sizeof(float));
    const auto* bias_data = reinterpret_cast<const float*>(device_bias.data());
    const auto constant = direct::conv2d_constants().reserve(device().index(), bias);
    ASSERT_TRUE(constant.has_value());

    const auto variants =
        direct::conv2d_variants(layer, in.geometry(), out.geometry(), DirectStage::automatic);
    ASSERT_FALSE(variants.empty());
    for (std::size_t n = 0; n < variants.size(); ++n) {
      const direct::Conv2dVariant& variant = variants[n];
      const auto filters = direct::conv2d_filters(layer, variant.merged);
      const Buffer device_filters = device().copy_of(filters.data(), filters.size() * sizeof(float));
      direct::BiasPlace place;
      if (c.bias)
        place =
            n % 2 == 0 ? direct::BiasPlace{constant->offset(), nullptr} : direct::BiasPlace{-1, bias_data};
      out.poison_device();
      direct::conv2d(layer, variant, reinterpret_cast<const float*>(device_filters.data()), place,
                     in.on_device(), out.on_device(), stream().handle());
      stream().synchronize();
      EXPECT_TRUE(out.same_everywhere())
          << to_string(variant) << ", input " << to_string(in_layout) << ", output " << to_string(out_layout);
    }
  }
};

TEST_P(Conv2dDirect, EqualsReferenceInEveryVariantAndLayout) {
  HALOTILE_NEEDS_GPU();
  const bool large = GetParam().name.starts_with("AlexNet");
  for (const Layout layout : all_layouts) {
    if (large && layout != Layout::dense) continue;
    check(GetParam(), layout, layout);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Small, Conv2dDirect,
    ::testing::Values(
        ConvCase{"OnePixel", 1, 1, 1, {1, 1}, window({1, 1})},
        ConvCase{"OneByOne", 8, 20, 1, {5, 7}, window({1, 1}), 2},
        ConvCase{"ThreeByThree", 16, 24, 1, {9, 11}, window({3, 3}, {1, 1}, {1, 1}), 2, {}, true, true},
        ConvCase{"NonSquare", 4, 12, 1, {8, 13}, window({1, 5}, {2, 1}, {0, 2}), 1},
        ConvCase{"StrideBeyondKernel", 4, 8, 1, {17, 16}, window({2, 2}, {5, 3}), 2},
        ConvCase{"Dilated", 8, 8, 1, {15, 17}, window({3, 3}, {2, 1}, {4, 3}, {3, 2})},
        ConvCase{"Groups", 24, 36, 3, {7, 6}, window({3, 3}, {1, 1}, {1, 1}), 2},
        ConvCase{"Depthwise", 5, 5, 5, {9, 9}, window({3, 3}, {2, 2}, {1, 1})},
        ConvCase{"OddChannels", 7, 13, 1, {6, 8}, window({3, 2}, {1, 1}, {1, 1}), 2},
        ConvCase{"MergedRuns", 3, 10, 1, {23, 27}, window({5, 5}, {4, 4}, {2, 2}), 2},
        ConvCase{"MergedRunsStride8", 3, 10, 1, {23, 27}, window({5, 3}, {3, 8}, {2, 5}), 1},
        ConvCase{"ChannelsBeyondASlice", 37, 8, 1, {4, 5}, window({2, 2})},
        ConvCase{"NoBias", 8, 8, 1, {4, 4}, window({3, 3}), 1, {}, false},
        ConvCase{"WindowsOutside", 4, 8, 1, {3, 3}, window({3, 3}, {2, 2}, {6, 6}), 2},
        ConvCase{"Corner", 16, 24, 1, {19, 21}, window({3, 3}, {1, 1}, {1, 1}), 2, {{0, 5}, {0, 6}}},
        ConvCase{"Middle", 16, 24, 1, {19, 21}, window({5, 5}, {1, 1}, {2, 2}), 2, {{7, 12}, {8, 15}}},
        ConvCase{"LastRow", 8, 8, 1, {19, 21}, window({3, 3}, {1, 1}, {1, 1}), 1, {{18, 19}, {0, 21}}},
        ConvCase{"AllPadding", 4, 8, 1, {3, 3}, window({3, 3}, {2, 2}, {6, 6}), 2, {{0, 1}, {0, 2}}}),
    [](const auto& instance) { return instance.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Large, Conv2dDirect,
    ::testing::Values(
        ConvCase{"ManyTiles", 12, 140, 1, {40, 45}, window({3, 3}, {1, 1}, {1, 1}), 2},
        ConvCase{"AlexNet1", 3, 96, 1, {227, 227}, window({11, 11}, {4, 4}), 2, {}, true, true},
        ConvCase{"AlexNet2", 96, 256, 2, {27, 27}, window({5, 5}, {1, 1}, {2, 2}), 2, {}, true, true},
        ConvCase{"AlexNet3", 256, 384, 1, {13, 13}, window({3, 3}, {1, 1}, {1, 1}), 2, {}, true, true},
        ConvCase{"AlexNet4", 384, 384, 2, {13, 13}, window({3, 3}, {1, 1}, {1, 1}), 2, {}, true, true},
        ConvCase{"AlexNet5", 384, 256, 2, {13, 13}, window({3, 3}, {1, 1}, {1, 1}), 3, {}, true, true},
        ConvCase{"AlexNetTorchvision1", 3, 64, 1, {224, 224}, window({11, 11}, {4, 4}, {2, 2}), 2},
        ConvCase{"AlexNet1Tile", 3, 96, 1, {227, 227}, window({11, 11}, {4, 4}), 2, {{14, 28}, {42, 55}}},
        ConvCase{
            "AlexNet2Tile", 96, 256, 2, {27, 27}, window({5, 5}, {1, 1}, {2, 2}), 3, {{14, 27}, {0, 14}}}),
    [](const auto& instance) { return instance.param.name; });

// The cut into tiles must not show: each tile as a view of the whole map, written in place.
TEST(SmallConv2dDirectTiles, EqualWholeInPlace) {
  HALOTILE_NEEDS_GPU();
  const auto weight = random_values(20 * 12 * 9, 1);
  const Conv2d layer{12, 20, 1, window({3, 3}, {2, 1}, {1, 1}), true, Parameter(weight), {}};
  const Extent2 map{21, 18};
  const Extent2 whole_out = output_extent(layer.window, map);
  TwinMap in(2, 12, Rect::whole(map), map, Layout::dense);
  TwinMap out(2, 20, Rect::whole(whole_out), whole_out, Layout::dense);
  in.randomize(3);
  reference::conv2d(layer, reference::conv2d_weight_order(layer), in.host(), out.host());
  const auto filters = direct::conv2d_filters(layer, false);
  const Buffer device_filters = device().copy_of(filters.data(), filters.size() * sizeof(float));
  for (std::int64_t row = 0; row < whole_out.height; row += 4) {
    for (std::int64_t col = 0; col < whole_out.width; col += 5) {
      const Rect tile = intersect(Rect{{row, row + 4}, {col, col + 5}}, Rect::whole(whole_out));
      const ConstMapView from =
          subview(ConstMapView(in.on_device()), {0, 2}, needed_rect(layer.window, map, tile));
      const MapView to = subview(out.on_device(), {0, 2}, tile);
      const auto variants = direct::conv2d_variants(layer, from, to, DirectStage::automatic);
      direct::conv2d(layer, variants.front(), reinterpret_cast<const float*>(device_filters.data()), {}, from,
                     to, stream().handle());
    }
  }
  stream().synchronize();
  EXPECT_TRUE(out.same_everywhere());
}

TEST(SmallConv2dDirectNothing, EmptyOutputsLaunchNothing) {
  HALOTILE_NEEDS_GPU();
  const auto weight = random_values(8 * 4, 1);
  const Conv2d layer{4, 8, 1, window({1, 1}), false, Parameter(weight), {}};
  const MapGeometry in = dense_geometry(DType::f32, 1, 4, {}, {5, 5});
  const MapGeometry out = dense_geometry(DType::f32, 1, 8, {}, {5, 5});
  for (const auto& variant : direct::conv2d_variants(layer, in, out, DirectStage::automatic)) {
    direct::conv2d(layer, variant, nullptr, {}, {in, nullptr}, {out, nullptr}, stream().handle());
  }
  EXPECT_NO_THROW(stream().synchronize());
}

TEST(SmallConv2dDirectStage, OffersTheStageThatWasAskedFor) {
  HALOTILE_NEEDS_GPU();
  const auto weight = random_values(8 * 4 * 9, 1);
  const Conv2d layer{4, 8, 1, window({3, 3}), false, Parameter(weight), {}};
  const MapGeometry in = dense_geometry(DType::f32, 1, 4, Rect::whole({9, 9}), {9, 9});
  const MapGeometry out = dense_geometry(DType::f32, 1, 8, Rect::whole({7, 7}), {7, 7});
  for (const auto& variant : direct::conv2d_variants(layer, in, out, DirectStage::filter)) {
    EXPECT_EQ(variant.kernel, direct::Conv2dKernel::filter);
  }
  const auto staged = direct::conv2d_variants(layer, in, out, DirectStage::input);
  EXPECT_FALSE(staged.empty());
  for (const auto& variant : staged) EXPECT_NE(variant.kernel, direct::Conv2dKernel::filter);
}

TEST(ConstantSpace, HandsOutDisjointRangesAndTakesThemBack) {
  static int writes = 0;
  direct::ConstantSpace space([](int, std::span<const float>) { ++writes; });
  const std::vector<float> values(6000);
  auto first = space.reserve(0, values);
  auto second = space.reserve(0, values);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->offset(), 0);
  EXPECT_EQ(second->offset(), 6000);
  EXPECT_FALSE(space.reserve(0, values));            // 4384 are left
  EXPECT_EQ(space.reserve(1, values)->offset(), 0);  // another device's memory
  EXPECT_EQ(space.used(0), 12000);
  first.reset();
  EXPECT_EQ(space.used(0), 6000);
  EXPECT_EQ(space.reserve(0, values)->offset(), 0);
  EXPECT_EQ(writes, 4);
}

}  // namespace
}  // namespace halotile::testing
