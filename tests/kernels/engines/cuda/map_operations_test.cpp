// Pooling, normalization, ReLU, copies and softmax on the device against the kernels of the CPU.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "kernels/engines/cpu/binary.hpp"
#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/support.hpp"
#include "patching/error.hpp"

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
  for (const DType dtype : all_types) {
    for (const Layout layout : all_layouts) {
      TwinMap in(2, c.channels, in_rect, c.map, layout, dtype);
      TwinMap out(2, c.channels, out_rect, whole_out, layout, dtype);
      in.randomize(5);
      pool2d(layer, in.host(), out.host());
      for (const auto kernel : {cuda::PoolKernel::automatic, cuda::PoolKernel::cached,
                                cuda::PoolKernel::strip, cuda::PoolKernel::shared}) {
        out.poison_device();
        cuda::pool2d(layer, in.on_device(), out.on_device(), stream().handle(), kernel);
        stream().synchronize();
        EXPECT_TRUE(out.same_everywhere())
            << to_string(dtype) << ", " << to_string(layout) << ", kernel " << static_cast<int>(kernel);
        out.poison_device();
        cuda::pool2d(layer, cut_in_tiles(c.window, in.on_device(), out.on_device()), stream().handle(),
                     kernel);
        stream().synchronize();
        EXPECT_TRUE(out.same_everywhere()) << "tiles, " << to_string(dtype) << ", " << to_string(layout)
                                           << ", kernel " << static_cast<int>(kernel);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Small, Pool2dDirect,
    ::testing::Values(
        PoolCase{"Max3x3Stride2", PoolKind::max, 36, {13, 15}, window({3, 3}, {2, 2})},
        PoolCase{"MaxEightsOfChannels", PoolKind::max, 72, {13, 15}, window({3, 3}, {2, 2})},
        PoolCase{"MaxTwelveChannels", PoolKind::max, 12, {12, 12}, window({3, 3}, {2, 2})},
        PoolCase{"MaxPadded3x3", PoolKind::max, 16, {14, 21}, window({3, 3}, {2, 2}, {1, 1})},
        PoolCase{"MaxPadded", PoolKind::max, 8, {9, 9}, window({3, 3}, {2, 2}, {1, 1})},
        PoolCase{"MaxManyColumns", PoolKind::max, 32, {7, 211}, window({3, 3}, {2, 2})},
        PoolCase{"MaxManyRows", PoolKind::max, 8, {151, 7}, window({3, 3}, {2, 2})},
        PoolCase{"MaxMoreChannelsThanThreads", PoolKind::max, 2304, {5, 5}, window({3, 3}, {2, 2})},
        PoolCase{"MaxCeil", PoolKind::max, 5, {10, 8}, window({3, 3}, {2, 2}, {0, 0}, {1, 1}, true)},
        PoolCase{"MaxCeilOverMap", PoolKind::max, 36, {2, 2}, window({3, 3}, {2, 2}, {0, 0}, {1, 1}, true)},
        PoolCase{
            "MaxCeilOverMapDown", PoolKind::max, 8, {2, 9}, window({3, 3}, {2, 2}, {0, 0}, {1, 1}, true)},
        PoolCase{
            "MaxCeilOverPaddedMap", PoolKind::max, 4, {3, 2}, window({7, 8}, {4, 5}, {1, 2}, {1, 1}, true)},
        PoolCase{"MaxDilated", PoolKind::max, 4, {12, 11}, window({2, 3}, {1, 2}, {1, 1}, {3, 2})},
        PoolCase{"MaxLargeWindow", PoolKind::max, 4, {40, 40}, window({20, 20}, {7, 7})},
        PoolCase{"MaxStrideBeyondKernel", PoolKind::max, 8, {17, 19}, window({2, 2}, {5, 4})},
        PoolCase{"MaxTile", PoolKind::max, 32, {27, 27}, window({3, 3}, {2, 2}), true, {{4, 9}, {0, 7}}},
        PoolCase{"Average", PoolKind::average, 12, {9, 12}, window({2, 2}, {2, 2})},
        PoolCase{"AveragePadded", PoolKind::average, 8, {7, 8}, window({3, 3}, {2, 2}, {1, 1})},
        PoolCase{"AverageNotPad", PoolKind::average, 8, {7, 8}, window({3, 3}, {2, 2}, {1, 1}), false},
        PoolCase{"AverageCeil", PoolKind::average, 3, {8, 8}, window({3, 3}, {2, 2}, {1, 1}, {1, 1}, true)},
        PoolCase{"AverageCeilOverMap",
                 PoolKind::average,
                 8,
                 {7, 7},
                 window({1280, 1280}, {1280, 1280}, {0, 0}, {1, 1}, true)},
        PoolCase{"AverageCeilOverPadded",
                 PoolKind::average,
                 8,
                 {3, 2},
                 window({7, 8}, {4, 5}, {1, 2}, {1, 1}, true)},
        PoolCase{"AverageCeilOverPaddedNotPad",
                 PoolKind::average,
                 8,
                 {3, 2},
                 window({7, 8}, {4, 5}, {1, 2}, {1, 1}, true),
                 false},
        PoolCase{"AdaptiveAverage", PoolKind::average, 8, {7, 10}, adaptive({3, 4})},
        PoolCase{"AdaptiveAverageUp", PoolKind::average, 6, {5, 3}, adaptive({6, 6})},
        PoolCase{"AdaptiveTile", PoolKind::average, 4, {13, 13}, adaptive({6, 6}), true, {{2, 5}, {3, 6}}},
        PoolCase{"AdaptiveMax", PoolKind::max, 4, {11, 9}, adaptive({4, 2})}),
    [](const auto& instance) { return instance.param.name; });

TEST(SmallPool2dDirectNan, WinsTheMaximum) {
  HALOTILE_NEEDS_GPU();
  constexpr float inf = std::numeric_limits<float>::infinity();
  for (const DType dtype : all_types) {
    for (const Layout layout : {Layout::dense, Layout::odd}) {
      for (const std::int64_t stride : {1, 2}) {
        const Pool2d layer{PoolKind::max, window({3, 3}, {stride, stride}), true};
        const Extent2 extent = output_extent(layer.window, {9, 9});
        TwinMap in(1, 8, Rect::whole({9, 9}), {9, 9}, layout, dtype);
        TwinMap out(1, 8, Rect::whole(extent), extent, layout, dtype);
        in.randomize(5);
        in.set(0, 2, 3, 1, std::numeric_limits<float>::quiet_NaN());
        in.set(0, 4, 4, 2, inf);
        for (std::int64_t n = 0; n < 81; ++n) in.set(0, n / 9, n % 9, 3, -inf);
        in.upload();
        pool2d(layer, in.host(), out.host());
        for (const auto kernel : {cuda::PoolKernel::cached, cuda::PoolKernel::strip}) {
          cuda::pool2d(layer, in.on_device(), out.on_device(), stream().handle(), kernel);
          EXPECT_TRUE(out.same_everywhere()) << to_string(dtype) << ", " << to_string(layout);
        }
      }
    }
  }
}

TEST(Pool2dDirectLarge, MapsTakeStripsAndKeepTheBits) {
  HALOTILE_NEEDS_GPU();
  const Pool2d layer{PoolKind::max, window({3, 3}, {2, 2}), true};
  for (const DType dtype : all_types) {
    TwinMap in(64, 96, Rect::whole({55, 55}), {55, 55}, Layout::dense, dtype);
    TwinMap out(64, 96, Rect::whole({27, 27}), {27, 27}, Layout::dense, dtype);
    in.randomize(5);
    pool2d(layer, in.host(), out.host());
    cuda::pool2d(layer, in.on_device(), out.on_device(), stream().handle());
    EXPECT_TRUE(out.same_everywhere()) << to_string(dtype);
  }
}

struct LrnCase {
  std::string name;
  std::int64_t channels = 8;
  Lrn layer;
  bool exact = true;

  friend void PrintTo(const LrnCase& c, std::ostream* out) { *out << c.name; }
};

class LrnDirect : public ::testing::TestWithParam<LrnCase> {};

TEST_P(LrnDirect, EqualsTheCpuAndItselfInEveryLayout) {
  HALOTILE_NEEDS_GPU();
  const LrnCase& c = GetParam();
  for (const DType dtype : all_types) {
    TwinMap whole_in(2, c.channels, Rect::whole({7, 5}), {7, 5}, Layout::dense, dtype);
    TwinMap whole(2, c.channels, Rect::whole({7, 5}), {7, 5}, Layout::dense, dtype);
    whole_in.randomize(7);
    whole_in.for_each([](float& x) { x *= 40.0F; });
    whole_in.upload();
    lrn(c.layer, whole_in.host(), whole.host());
    cuda::lrn(c.layer, whole_in.on_device(), whole.on_device(), stream().handle());
    stream().synchronize();
    if (dtype != DType::f32) {
      EXPECT_TRUE(whole.close_steps(1)) << to_string(dtype);
    } else {
      EXPECT_TRUE(c.exact ? whole.same_everywhere() : whole.close(1e-4F));
    }
    whole.fetch();
    for (const Layout in_layout : all_layouts) {
      for (const Layout out_layout : all_layouts) {
        TwinMap in(2, c.channels, {{1, 6}, {0, 5}}, {7, 5}, in_layout, dtype);
        TwinMap out(2, c.channels, {{2, 6}, {1, 4}}, {7, 5}, out_layout, dtype);
        copy_map(whole_in.host(), in.host());
        in.upload();
        copy_map(whole.host(), out.host());
        cuda::lrn(c.layer, in.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.same_everywhere())
            << to_string(dtype) << ", " << to_string(in_layout) << " to " << to_string(out_layout);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Small, LrnDirect,
                         ::testing::Values(LrnCase{"AlexNet", 96, {5, 1e-4F, 0.75F, 2.0F}},
                                           LrnCase{"FewChannels", 4, {5, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"TwelveChannels", 12, {5, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"SubnormalConstant", 8, {5, 1.0F, 0.75F, 1e-39F}},
                                           LrnCase{"OddChannels", 7, {5, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"EvenSize", 12, {4, 1e-2F, 0.75F, 1.0F}},
                                           LrnCase{"SizeBeyondChannels", 6, {15, 1e-2F, 0.5F, 2.0F}},
                                           LrnCase{"BetaHalf", 8, {5, 1e-2F, 0.5F, 1.0F}},
                                           LrnCase{"BetaOne", 8, {3, 1e-2F, 1.0F, 1.0F}},
                                           LrnCase{"BetaOther", 8, {5, 1e-2F, 0.6F, 1.0F}, false}),
                         [](const auto& instance) { return instance.param.name; });

TEST(SmallPointwiseDirect, ReluAndCopyEqualTheCpuInEveryLayout) {
  HALOTILE_NEEDS_GPU();
  const auto rects = [](std::int64_t channels, Layout in_layout, Layout out_layout, DType from, DType to) {
    TwinMap in(2, channels, {{1, 8}, {0, 5}}, {9, 5}, in_layout, from);
    TwinMap out(2, channels, {{2, 7}, {1, 4}}, {9, 5}, out_layout, to);
    in.randomize(9);
    const std::string what = std::to_string(channels) + " channels, " + to_string(in_layout) + " to " +
                             to_string(out_layout) + ", " + std::string(to_string(from)) + " to " +
                             std::string(to_string(to));
    if (from == to) {
      relu(in.host(), out.host());
      cuda::relu(in.on_device(), out.on_device(), stream().handle());
      EXPECT_TRUE(out.same_everywhere()) << "relu, " << what;
      leaky_relu({0.3F}, in.host(), out.host());
      cuda::leaky_relu({0.3F}, in.on_device(), out.on_device(), stream().handle());
      EXPECT_TRUE(out.same_everywhere()) << "leaky relu, " << what;
    }
    copy_map(in.host(), out.host());
    cuda::copy_map(in.on_device(), out.on_device(), stream().handle());
    EXPECT_TRUE(out.same_everywhere()) << "copy, " << what;
  };
  for (const std::int64_t channels : {1, 3, 4, 8, 33}) {
    for (const Layout in_layout : all_layouts) {
      for (const Layout out_layout : all_layouts) {
        for (const DType from : all_types) {
          for (const DType to : all_types) rects(channels, in_layout, out_layout, from, to);
        }
      }
    }
  }
}

// More tiles than one launch takes, aligned and not, with gaps and without.
TEST(SmallPointwiseDirect, CopiesOfSeveralTilesEqualTheCpu) {
  HALOTILE_NEEDS_GPU();
  const Extent2 whole{40, 30};
  for (const DType type : all_types) {
    for (const std::int64_t channels : {3, 16}) {
      TwinMap in(2, channels, Rect::whole(whole), whole, Layout::dense, type);
      in.randomize(4);
      std::deque<TwinMap> outs;
      std::vector<cuda::TileMaps> tiles;
      for (std::int64_t n = 0; n < 70; ++n) {
        const Interval rows{n % 31, n % 31 + n % 9};  // some are empty
        const Interval cols = n % 5 == 0 ? Interval{0, 30} : Interval{n % 22, n % 22 + 1 + n % 8};
        const Layout layout = all_layouts[static_cast<std::size_t>(n) % std::size(all_layouts)];
        TwinMap& out = outs.emplace_back(2, channels, Rect{rows, cols}, whole, layout, type);
        copy_map(in.host(), out.host());
        tiles.push_back({in.on_device(), out.on_device()});
      }
      cuda::copy_maps(tiles, stream().handle());
      for (TwinMap& out : outs) {
        EXPECT_TRUE(out.same_everywhere())
            << to_string(out.geometry().rect) << ", " << channels << " channels of " << to_string(type);
      }
    }
  }
}

TEST(SmallPointwiseDirect, JoinsEqualTheCpuInEveryLayout) {
  HALOTILE_NEEDS_GPU();
  const Rect part{{2, 7}, {1, 4}};
  const auto join = [&](std::int64_t channels, Layout layout, DType type, bool gate, bool mask) {
    TwinMap a(2, channels, {{1, 8}, {0, 5}}, {9, 5}, layout, type);
    TwinMap b = gate ? TwinMap(2, channels, Rect::whole({1, 1}), {1, 1}, layout, type)
                     : TwinMap(2, mask ? 1 : channels, {{0, 9}, {0, 5}}, {9, 5}, Layout::dense, type);
    TwinMap out(2, channels, part, {9, 5}, layout, type);
    a.randomize(3);
    b.randomize(4);
    for (const BinaryKind kind : {BinaryKind::add, BinaryKind::subtract, BinaryKind::multiply}) {
      for (const bool relu : {false, true}) {
        binary({kind, relu}, a.host(), b.host(), out.host());
        cuda::binary({kind, relu}, a.on_device(), b.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.same_everywhere()) << channels << " channels, " << to_string(layout) << ", "
                                           << to_string(type) << ", gate " << gate << ", mask " << mask;
        binary({kind, relu}, b.host(), a.host(), out.host());
        cuda::binary({kind, relu}, b.on_device(), a.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.same_everywhere());
      }
    }
  };
  for (const std::int64_t channels : {1, 3, 8, 33, 64}) {
    for (const Layout layout : all_layouts) {
      for (const DType type : all_types) {
        join(channels, layout, type, false, false);
        join(channels, layout, type, true, false);
        join(channels, layout, type, false, true);
      }
    }
  }
}

// All values of 2-byte types, and floats at and next to the middles between them.
TEST(PointwiseDirect, ReluAndConversionsOfEveryValueEqualTheCpu) {
  HALOTILE_NEEDS_GPU();
  const std::int64_t count = 3 * 65536;
  for (const DType values : {DType::bf16, DType::f16}) {
    const auto value = [&](std::uint32_t bits) {
      return with_element_type(values, [bits](auto element) {
        if constexpr (sizeof(element) == 2) element.bits = static_cast<std::uint16_t>(bits);
        return static_cast<float>(element);
      });
    };
    for (const Layout layout : {Layout::dense, Layout::odd}) {
      for (const DType from : {DType::f32, values}) {
        TwinMap in(1, count, Rect::whole({1, 1}), {1, 1}, layout, from);
        std::uint32_t n = 0;
        in.for_each([&](float& x) {
          const std::uint32_t bits = n / 3;
          x = value(bits);
          if (from == DType::f32 && n % 3 > 0) {
            x = static_cast<float>((static_cast<double>(x) + static_cast<double>(value(bits + 1))) / 2);
            if (n % 3 == 2) x = std::nextafter(x, std::numeric_limits<float>::infinity());
          }
          if (std::isnan(x)) x = std::numeric_limits<float>::quiet_NaN();  // poison is a NaN too
          ++n;
        });
        in.upload();
        for (const DType to : all_types) {
          TwinMap out(1, count, Rect::whole({1, 1}), {1, 1}, layout, to);
          copy_map(in.host(), out.host());
          cuda::copy_map(in.on_device(), out.on_device(), stream().handle());
          EXPECT_TRUE(to == DType::f32 ? out.close_steps(0) : out.same_everywhere())
              << to_string(from) << " to " << to_string(to) << ", " << to_string(layout);
        }
        TwinMap out(1, count, Rect::whole({1, 1}), {1, 1}, layout, from);
        relu(in.host(), out.host());
        cuda::relu(in.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.close_steps(0)) << "relu, " << to_string(from) << ", " << to_string(layout);
        leaky_relu({0.01F}, in.host(), out.host());
        cuda::leaky_relu({0.01F}, in.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.close_steps(0)) << "leaky relu, " << to_string(from) << ", " << to_string(layout);
      }
    }
  }
}

TEST(SmallPointwiseDirect, ReluWorksInPlace) {
  HALOTILE_NEEDS_GPU();
  for (const DType dtype : all_types) {
    TwinMap map(2, 24, Rect::whole({5, 6}), {5, 6}, Layout::gaps, dtype);
    map.randomize(11);
    relu(map.host(), map.host());
    cuda::relu(map.on_device(), map.on_device(), stream().handle());
    EXPECT_TRUE(map.same_everywhere()) << to_string(dtype);
  }
}

TEST(SmallPointwiseDirect, SoftmaxIsCloseToTheCpu) {
  HALOTILE_NEEDS_GPU();
  for (const std::int64_t channels : {1, 10, 1000}) {
    for (const Layout layout : all_layouts) {
      for (const DType from : all_types) {
        for (const DType to : all_types) {
          TwinMap in(3, channels, Rect::whole({2, 3}), {2, 3}, layout, from);
          TwinMap out(3, channels, Rect::whole({2, 3}), {2, 3}, layout, to);
          in.randomize(13);
          in.for_each([](float& x) { x *= 20.0F; });
          in.upload();
          softmax(in.host(), out.host());
          cuda::softmax(in.on_device(), out.on_device(), stream().handle());
          EXPECT_TRUE(to == DType::f32 ? out.close(2e-6F) : out.close_steps(1))
              << channels << " channels, " << to_string(layout) << ", " << to_string(from) << " to "
              << to_string(to);
        }
      }
    }
  }
}

TEST(SmallPointwiseDirect, RefuseMapsThatDoNotFit) {
  HALOTILE_NEEDS_GPU();
  TwinMap in(1, 8, Rect::whole({4, 4}), {4, 4}, Layout::dense, DType::bf16);
  TwinMap other(1, 8, Rect::whole({4, 4}), {4, 4}, Layout::dense, DType::f16);
  EXPECT_THROW(cuda::relu(in.on_device(), other.on_device(), stream().handle()), ShapeError);
  EXPECT_THROW(cuda::lrn({}, in.on_device(), other.on_device(), stream().handle()), ShapeError);
  const Pool2d pool{PoolKind::max, window({1, 1}, {1, 1}), true};
  EXPECT_THROW(cuda::pool2d(pool, in.on_device(), other.on_device(), stream().handle()), ShapeError);
  MapView pixels = in.on_device();
  pixels.dtype = DType::u8;
  EXPECT_THROW(cuda::copy_map(pixels, in.on_device(), stream().handle()), UnsupportedError);
}

void expect_the_hosts_arithmetic(std::initializer_list<Extent2> extents, const std::array<float, 3>& stddev,
                                 bool by_products) {
  const std::array<float, 3> mean{0.485F, 0.456F, 0.406F};
  const cuda::PixelNormalization normalization(mean, stddev);
  EXPECT_EQ(normalization.by_products, by_products);
  for (const DType dtype : all_types) {
    for (const Extent2 extent : extents) {
      for (const std::int64_t shift : {0, 1}) {  // of the pixels' first byte
        TwinMap out(2, 3, Rect::whole(extent), extent, Layout::dense, dtype);
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(2 * extent.area() * 3 + shift));
        std::size_t n = static_cast<std::size_t>(shift);
        out.for_each([&](float& y) {
          const std::size_t c = (n - static_cast<std::size_t>(shift)) % 3;
          pixels[n] = static_cast<std::uint8_t>(n * 37 + n / 256);
          y = (static_cast<float>(pixels[n++]) / 255.0F - mean[c]) / stddev[c];
        });
        const Buffer memory = device().copy_of(pixels.data(), pixels.size());
        const ConstMapView in{dense_geometry(DType::u8, 2, 3, Rect::whole(extent), extent),
                              memory.data() + shift};
        cuda::normalize(normalization, in, out.on_device(), stream().handle());
        EXPECT_TRUE(out.same_everywhere())
            << to_string(dtype) << ", " << to_string(extent) << ", shifted by " << shift;
      }
    }
  }
}

TEST(SmallNormalizeDirect, EqualsTheHostsArithmetic) {
  HALOTILE_NEEDS_GPU();
  expect_the_hosts_arithmetic({{1, 1}, {7, 5}, {16, 32}, {37, 41}}, {0.229F, 0.224F, 0.225F}, true);
}

TEST(SmallNormalizeDirect, DividesWhereProductsWouldDiffer) {
  HALOTILE_NEEDS_GPU();
  expect_the_hosts_arithmetic({{37, 41}}, {1e-39F, 0.224F, 3.0F}, false);  // 1 / 1e-39 is infinite
}

}  // namespace
}  // namespace halotile::testing
