// Normalization and pooling in one kernel against the one kernel and then the other, on the device.
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/support.hpp"
#include "patching/error.hpp"

namespace halotile::testing {
namespace {

struct LrnPoolCase {
  std::string name;
  std::int64_t channels = 16;
  Extent2 map;
  Window window;
  Lrn lrn{5, 1e-2F, 0.75F, 2.0F};
  Rect tile = {};  // of the output; empty: all of it
  std::int64_t images = 2;

  friend void PrintTo(const LrnPoolCase& c, std::ostream* out) { *out << c.name; }
};

class LrnPoolDirect : public ::testing::TestWithParam<LrnPoolCase> {};

TEST_P(LrnPoolDirect, HasTheBitsOfLrnAndThenPool) {
  HALOTILE_NEEDS_GPU();
  const LrnPoolCase& c = GetParam();
  const Pool2d pool{PoolKind::max, c.window, true};
  const Extent2 whole_out = output_extent(c.window, c.map);
  const Rect out_rect = c.tile.empty() ? Rect::whole(whole_out) : c.tile;
  const Rect in_rect = needed_rect(c.window, c.map, out_rect);
  for (const DType dtype : all_types) {
    TwinMap in(c.images, c.channels, Rect::whole(c.map), c.map, Layout::dense, dtype);
    TwinMap normalized(c.images, c.channels, Rect::whole(c.map), c.map, Layout::dense, dtype);
    TwinMap expected(c.images, c.channels, Rect::whole(whole_out), whole_out, Layout::dense, dtype);
    in.randomize(3);
    in.for_each([](float& x) { x *= 20.0F; });
    in.set(0, 1, 1, 0, std::numeric_limits<float>::quiet_NaN());
    in.set(0, 0, 1, c.channels - 1, std::numeric_limits<float>::infinity());
    in.upload();
    cuda::lrn(c.lrn, in.on_device(), normalized.on_device(), stream().handle());
    cuda::pool2d(pool, normalized.on_device(), expected.on_device(), stream().handle());
    expected.fetch();
    for (const Layout in_layout : all_layouts) {
      for (const Layout out_layout : all_layouts) {
        if (c.images > 2 && (in_layout != Layout::dense || out_layout != Layout::dense)) continue;
        TwinMap tile(c.images, c.channels, in_rect, c.map, in_layout, dtype);
        TwinMap out(c.images, c.channels, out_rect, whole_out, out_layout, dtype);
        copy_map(in.host(), tile.host());
        tile.upload();
        copy_map(expected.host(), out.host());
        cuda::lrn_max_pool(c.lrn, pool, tile.on_device(), out.on_device(), stream().handle());
        EXPECT_TRUE(out.close_steps(0))
            << to_string(dtype) << ", " << to_string(in_layout) << " to " << to_string(out_layout);
        out.poison_device();
        cuda::lrn_max_pool(c.lrn, pool, cut_in_tiles(c.window, tile.on_device(), out.on_device()),
                           stream().handle());
        EXPECT_TRUE(out.close_steps(0)) << "tiles, " << to_string(dtype) << ", " << to_string(in_layout)
                                        << " to " << to_string(out_layout);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Small, LrnPoolDirect,
    ::testing::Values(
        LrnPoolCase{"AlexNet", 96, {15, 17}, window({3, 3}, {2, 2})},
        LrnPoolCase{"ManyColumns", 32, {7, 211}, window({3, 3}, {2, 2})},
        LrnPoolCase{"ManyRows", 8, {151, 7}, window({3, 3}, {2, 2})},
        LrnPoolCase{"Padded", 16, {12, 13}, window({3, 3}, {2, 2}, {1, 1})},
        LrnPoolCase{"StrideOne", 16, {9, 10}, window({3, 3}, {1, 1}, {1, 1})},
        LrnPoolCase{"Dilated", 16, {14, 13}, window({2, 3}, {1, 2}, {1, 1}, {3, 2})},
        LrnPoolCase{"StrideBeyondKernel", 16, {23, 19}, window({2, 2}, {5, 4})},
        LrnPoolCase{"NoOverlap", 24, {12, 12}, window({2, 2}, {2, 2})},
        LrnPoolCase{"LargeWindow", 8, {40, 40}, window({20, 20}, {7, 7})},
        LrnPoolCase{"WindowBeyondSharedMemory", 256, {40, 40}, window({20, 20}, {7, 7})},
        LrnPoolCase{"CeilOverMap", 16, {2, 2}, window({3, 3}, {2, 2}, {0, 0}, {1, 1}, true)},
        LrnPoolCase{"CeilOverPaddedMap", 8, {3, 2}, window({7, 8}, {4, 5}, {1, 2}, {1, 1}, true)},
        LrnPoolCase{"MoreChannelsThanThreads", 2304, {5, 5}, window({3, 3}, {2, 2})},
        LrnPoolCase{"TwelveChannels", 12, {9, 9}, window({3, 3}, {2, 2})},
        LrnPoolCase{"OddChannels", 7, {9, 9}, window({3, 3}, {2, 2})},
        LrnPoolCase{"OtherSize", 16, {9, 9}, window({3, 3}, {2, 2}), {4, 1e-2F, 0.75F, 1.0F}},
        LrnPoolCase{"BetaHalf", 16, {9, 9}, window({3, 3}, {2, 2}), {5, 1e-2F, 0.5F, 1.0F}},
        LrnPoolCase{"NoConstant", 16, {9, 9}, window({3, 3}, {2, 2}), {5, 1.0F, 0.6F, 0.0F}},
        LrnPoolCase{"Tile", 32, {27, 27}, window({3, 3}, {2, 2}), {5, 1e-2F, 0.75F, 2.0F}, {{4, 9}, {0, 7}}},
        LrnPoolCase{"PaddedTile",
                    16,
                    {20, 20},
                    window({3, 3}, {2, 2}, {1, 1}),
                    {5, 1e-2F, 0.75F, 2.0F},
                    {{0, 3}, {6, 10}}}),
    [](const auto& instance) { return instance.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Large, LrnPoolDirect,
    ::testing::Values(
        LrnPoolCase{"Norm1", 96, {55, 55}, window({3, 3}, {2, 2}), {5, 1e-4F, 0.75F, 2.0F}, {}, 32},
        LrnPoolCase{"Norm2", 256, {27, 27}, window({3, 3}, {2, 2}), {5, 1e-4F, 0.75F, 2.0F}, {}, 32}),
    [](const auto& instance) { return instance.param.name; });

TEST(SmallLrnPoolDirect, RefusesWhatIsNoSlidingMaximum) {
  HALOTILE_NEEDS_GPU();
  TwinMap in(1, 8, Rect::whole({6, 6}), {6, 6}, Layout::dense, DType::bf16);
  TwinMap out(1, 8, Rect::whole({2, 2}), {2, 2}, Layout::dense, DType::bf16);
  Window adaptive;
  adaptive.adaptive_output = Extent2{2, 2};
  for (const Pool2d& pool :
       {Pool2d{PoolKind::average, window({3, 3}, {3, 3}), true}, Pool2d{PoolKind::max, adaptive, true}}) {
    EXPECT_THROW(cuda::lrn_max_pool({}, pool, in.on_device(), out.on_device(), stream().handle()),
                 UnsupportedError);
  }
  EXPECT_THROW(cuda::lrn_max_pool({0, 1.0F, 0.75F, 1.0F}, {PoolKind::max, window({3, 3}, {3, 3}), true},
                                  in.on_device(), out.on_device(), stream().handle()),
               ShapeError);
}

}  // namespace
}  // namespace halotile::testing
