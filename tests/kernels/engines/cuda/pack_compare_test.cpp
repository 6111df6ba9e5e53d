// Batched packing and placing, and comparison, on the device.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/cuda/compare.hpp"
#include "kernels/engines/cuda/pack.hpp"
#include "kernels/engines/cuda/support.hpp"
#include "patching/error.hpp"

namespace halotile::testing {
namespace {

class PackDirect : public ::testing::TestWithParam<DType> {};

TEST_P(PackDirect, TilesGoOutAndComeBack) {
  HALOTILE_NEEDS_GPU();
  const DType dtype = GetParam();
  for (const Layout layout : all_layouts) {
    for (const std::int64_t channels : {3, 16}) {
      const Extent2 extent{13, 17};
      TwinMap map(2, channels, Rect::whole(extent), extent, layout, dtype);
      TwinMap rebuilt(2, channels, Rect::whole(extent), extent, layout, dtype);
      map.randomize(1);
      // Cores of 5x6 with a halo of 1, one tile per image and core.
      std::vector<TwinMap> tiles;
      std::vector<Rect> cores;
      std::vector<std::int64_t> images;
      for (std::int64_t image = 0; image < 2; ++image) {
        for (std::int64_t row = 0; row < extent.height; row += 5) {
          for (std::int64_t col = 0; col < extent.width; col += 6) {
            cores.push_back(intersect(Rect{{row, row + 5}, {col, col + 6}}, Rect::whole(extent)));
            const Rect halo = intersect(Rect{{row - 1, row + 6}, {col - 1, col + 7}}, Rect::whole(extent));
            tiles.emplace_back(1, channels, halo, extent, Layout::dense, dtype);
            images.push_back(image);
          }
        }
      }
      std::vector<ConstMapView> sources;
      std::vector<MapView> packed;
      std::vector<ConstMapView> from_tiles;
      std::vector<MapView> targets;
      for (std::size_t n = 0; n < tiles.size(); ++n) {
        const Interval image{images[n], images[n] + 1};
        sources.push_back(subview(ConstMapView(map.on_device()), image, map.geometry().rect));
        targets.push_back(subview(rebuilt.on_device(), image, map.geometry().rect));
        packed.push_back(tiles[n].on_device());
        from_tiles.push_back(tiles[n].on_device());
        copy_map(subview(ConstMapView(map.host()), image, tiles[n].geometry().rect), tiles[n].host());
      }
      cuda::BatchedCopy pack = cuda::pack_tiles(device(), sources, packed);
      pack.run(stream().handle());
      for (TwinMap& tile : tiles) EXPECT_TRUE(tile.same_everywhere()) << to_string(layout);
      cuda::BatchedCopy place = cuda::place_tiles(device(), from_tiles, cores, targets);
      place.run(stream().handle());
      place.run(stream().handle());  // repeatable
      copy_map(map.host(), rebuilt.host());
      EXPECT_TRUE(rebuilt.same_everywhere()) << to_string(layout);
      EXPECT_EQ(place.bytes(), 2 * extent.area() * channels * size_of(dtype));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Small, PackDirect, ::testing::ValuesIn(all_types),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(SmallPackDirect, NothingToCopyAndForeignRectangles) {
  HALOTILE_NEEDS_GPU();
  cuda::BatchedCopy nothing(device(), {});
  EXPECT_NO_THROW(nothing.run(stream().handle()));
  TwinMap map(1, 4, {{0, 4}, {0, 4}}, {9, 9}, Layout::dense);
  TwinMap tile(1, 4, {{2, 5}, {0, 4}}, {9, 9}, Layout::dense);
  const TileCopy copy{map.on_device(), tile.on_device()};
  EXPECT_THROW(cuda::BatchedCopy(device(), {&copy, 1}), ShapeError);
}

TEST(SmallCompareDirect, CountsAndFindsDifferences) {
  HALOTILE_NEEDS_GPU();
  for (const Layout layout : all_layouts) {
    TwinMap a(2, 5, {{1, 4}, {0, 6}}, {5, 6}, layout);
    TwinMap b(2, 5, {{1, 4}, {0, 6}}, {5, 6}, Layout::dense);
    a.randomize(1);
    b.randomize(1);
    EXPECT_EQ(cuda::compare_maps(a.on_device(), b.on_device(), stream().handle()), cuda::MapDifference{});

    b.host().at<float>(0, 2, 3)[1] = 1.0F;  // element (1 * 6 + 3) * 5 + 1
    a.host().at<float>(0, 2, 3)[1] = 1.0F + 3 * std::numeric_limits<float>::epsilon();
    b.host().at<float>(1, 3, 5)[4] = -0.0F;  // the last
    a.host().at<float>(1, 3, 5)[4] = 0.0F;
    a.host().at<float>(1, 3, 5)[3] = std::numeric_limits<float>::quiet_NaN();  // equal: both are
    b.host().at<float>(1, 3, 5)[3] = -std::numeric_limits<float>::quiet_NaN();
    a.upload();
    b.upload();
    const cuda::MapDifference found = cuda::compare_maps(a.on_device(), b.on_device(), stream().handle());
    EXPECT_EQ(found.differing, 2);
    EXPECT_EQ(found.first, 46);
    EXPECT_EQ(found.max_abs, 3 * std::numeric_limits<float>::epsilon());
    EXPECT_EQ(found.max_ulp, 3U);

    a.host().at<float>(0, 1, 0)[0] = std::numeric_limits<float>::quiet_NaN();
    a.upload();
    const cuda::MapDifference with_nan = cuda::compare_maps(a.on_device(), b.on_device(), stream().handle());
    EXPECT_EQ(with_nan.first, 0);
    EXPECT_EQ(with_nan.max_ulp, 0xffffffffU);
  }
}

TEST(SmallCompareDirect, CountsUlpInTheMapsType) {
  HALOTILE_NEEDS_GPU();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const float step = dtype == DType::bf16 ? 0x1p-7F : 0x1p-10F;  // behind 1
    for (const Layout layout : all_layouts) {
      TwinMap a(2, 5, {{1, 4}, {0, 6}}, {5, 6}, layout, dtype);
      TwinMap b(2, 5, {{1, 4}, {0, 6}}, {5, 6}, Layout::dense, dtype);
      a.randomize(1);
      b.randomize(1);
      EXPECT_EQ(cuda::compare_maps(a.on_device(), b.on_device(), stream().handle()), cuda::MapDifference{});
      a.set(0, 2, 3, 1, 1.0F + 3 * step);  // element 46
      b.set(0, 2, 3, 1, 1.0F);
      a.set(1, 3, 5, 4, 0.0F);
      b.set(1, 3, 5, 4, -0.0F);
      a.set(1, 3, 5, 3, std::numeric_limits<float>::quiet_NaN());
      b.set(1, 3, 5, 3, -std::numeric_limits<float>::quiet_NaN());
      a.upload();
      b.upload();
      const auto found = cuda::compare_maps(a.on_device(), b.on_device(), stream().handle());
      EXPECT_EQ(found.differing, 2);
      EXPECT_EQ(found.first, 46);
      EXPECT_EQ(found.max_abs, 3 * step);
      EXPECT_EQ(found.max_ulp, 3U);
      a.set(1, 1, 0, 0, std::numeric_limits<float>::infinity());
      b.set(1, 1, 0, 0, -std::numeric_limits<float>::infinity());
      a.upload();
      b.upload();
      const auto infinite = cuda::compare_maps(a.on_device(), b.on_device(), stream().handle());
      EXPECT_EQ(infinite.max_abs, std::numeric_limits<float>::infinity());
      EXPECT_EQ(infinite.max_ulp, dtype == DType::bf16 ? 2U * 0x7f80U : 2U * 0x7c00U);
    }
  }
  TwinMap a(1, 4, Rect::whole({2, 2}), {2, 2}, Layout::dense, DType::bf16);
  TwinMap b(1, 4, Rect::whole({2, 2}), {2, 2}, Layout::dense, DType::f16);
  EXPECT_THROW((void)cuda::compare_maps(a.on_device(), b.on_device(), stream().handle()), ShapeError);
}

}  // namespace
}  // namespace halotile::testing
