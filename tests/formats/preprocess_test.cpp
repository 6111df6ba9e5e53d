#include "formats/preprocess.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "patching/error.hpp"
#include "support.hpp"

namespace halotile::test {
namespace {

Interpolation interpolation_of(const std::string& name) {
  return name == "bicubic" ? Interpolation::bicubic : Interpolation::bilinear;
}

MapView view_of(std::vector<float>& data, Extent2 extent) {
  return {dense_geometry(DType::f32, 1, 3, Rect::whole(extent), extent), data.data()};
}

TEST(Preprocess, ResizeEqualsPillow) {
  std::map<std::string, std::set<std::string>> checksums;  // of both orders
  for (const auto& words : golden_cases("resize")) {
    const Extent2 size{std::stoll(words[1]), std::stoll(words[2])};
    const ResizeOrder order = words[4] == "pillow12" ? ResizeOrder::pillow12 : ResizeOrder::pillow13;
    const Image result = resize(read_image(source_path(words[0])), size, interpolation_of(words[3]), order);
    ASSERT_EQ(result.extent(), size);
    const std::string stem = std::filesystem::path(words[0]).stem().string();
    const std::string name = "resize_" + stem + "_" + to_string(size) + "_" + words[3];
    expect_golden(result, name + "_" + words[4], words[5]);
    expect_golden(result, name, words[5]);
    checksums[name].insert(words[5]);
  }
  const auto differ =
      std::ranges::count(checksums, 2U, [](const auto& entry) { return entry.second.size(); });
  EXPECT_GE(differ, 10) << "sizes for which the order matters";
}

TEST(Preprocess, ResizedExtentEqualsTorchvision) {
  for (const auto& words : golden_cases("extent")) {
    const Extent2 image{std::stoll(words[0]), std::stoll(words[1])};
    const Extent2 expected{std::stoll(words[3]), std::stoll(words[4])};
    EXPECT_EQ(resized_extent(image, std::stoll(words[2])), expected)
        << to_string(image) << " to " << words[2];
  }
}

TEST(Preprocess, CenterCropEqualsTorchvision) {
  for (const auto& words : golden_cases("crop")) {
    const Extent2 size{std::stoll(words[1]), std::stoll(words[2])};
    const Image result = center_crop(read_image(source_path(words[0])), size);
    ASSERT_EQ(result.extent(), size);
    expect_golden(result, "crop_" + to_string(size), words[3]);
  }
}

TEST(Preprocess, NetworkInputEqualsTorchvision) {
  for (const auto& words : golden_cases("input")) {
    SCOPED_TRACE(words[0] + " " + words[4]);
    Preprocess preprocess;
    preprocess.resize = std::stoll(words[1]);
    preprocess.crop = {std::stoll(words[2]), std::stoll(words[3])};
    preprocess.interpolation = interpolation_of(words[4]);
    const Image photograph = read_image(source_path(words[0]));
    const Image image = resize_and_crop(photograph, preprocess);
    ASSERT_EQ(image.extent(), preprocess.crop);
    EXPECT_EQ(preprocessed_extent(photograph.extent(), preprocess), preprocess.crop);
    std::vector<float> values(image.rgb.size(), std::numeric_limits<float>::quiet_NaN());
    normalize(image, preprocess, view_of(values, image.extent()));
    EXPECT_EQ(checksum(std::as_bytes(std::span(values))), words[5]);
  }
}

TEST(Preprocess, WithoutStepsTheImageStays) {
  const Image image = read_image(source_path("tests/formats/golden/png_rgb8.png"));
  EXPECT_EQ(resize_and_crop(image, {}).rgb, image.rgb);
  EXPECT_EQ(preprocessed_extent({3, 5}, {}), (Extent2{3, 5}));
  Preprocess only_resize;
  only_resize.resize = 6;
  EXPECT_EQ(preprocessed_extent({3, 5}, only_resize), (Extent2{6, 10}));
  only_resize.resize = 3;
  EXPECT_EQ(preprocessed_extent({3, 5}, only_resize), (Extent2{3, 5}));
}

TEST(Preprocess, NormalizeWritesOnlyItsPixels) {
  // A 2 x 3 image into the middle of a 4 x 5 map with 4 floats a pixel; everything else must keep its value.
  constexpr float kPoison = -12345.0f;
  Image image{2, 3, {}};
  for (int i = 0; i < 18; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i * 14));
  std::vector<float> values(4 * 5 * 4, kPoison);
  MapView view;
  view.images = 1;
  view.channels = 3;
  view.rect = {{1, 3}, {1, 4}};
  view.whole = {4, 5};
  view.image_stride = 80;
  view.row_stride = 20;
  view.col_stride = 4;
  view.data = values.data() + 20 + 4;
  Preprocess preprocess;
  preprocess.mean = {0.5f, 0.25f, 0.125f};
  preprocess.stddev = {2.0f, 0.3f, -0.7f};
  normalize(image, preprocess, view);
  for (std::size_t at = 0; at < values.size(); ++at) {
    const std::size_t row = at / 20;
    const std::size_t col = at / 4 % 5;
    const std::size_t channel = at % 4;
    float expected = kPoison;
    if (row >= 1 && row < 3 && col >= 1 && col < 4 && channel < 3) {
      const float unit = static_cast<float>(image.rgb[((row - 1) * 3 + col - 1) * 3 + channel]) / 255.0f;
      expected = (unit - preprocess.mean[channel]) / preprocess.stddev[channel];
    }
    EXPECT_EQ(values[at], expected) << row << ", " << col << ", " << channel;
  }
}

TEST(Preprocess, RefusesImpossibleSizes) {
  const Image image{2, 2, std::vector<std::uint8_t>(12)};
  EXPECT_THROW((void)resize(image, {0, 5}, Interpolation::bilinear), ShapeError);
  EXPECT_THROW((void)resize(image, {5, -1}, Interpolation::bilinear), ShapeError);
  EXPECT_THROW((void)resize(image, {std::int64_t{1} << 40, std::int64_t{1} << 40}, Interpolation::bilinear),
               ShapeError);
  EXPECT_THROW((void)resize({1 << 20, 1, {}}, {1, 1 << 20}, Interpolation::bilinear, ResizeOrder::pillow12),
               ShapeError);
  EXPECT_THROW((void)center_crop(image, {0, 5}), ShapeError);
  EXPECT_THROW((void)center_crop(image, {1 << 20, 1 << 20}), ShapeError);
  EXPECT_THROW((void)resized_extent({2, 3}, 0), ShapeError);
  EXPECT_THROW((void)resized_extent({2, 3}, -4), ShapeError);
  EXPECT_THROW((void)resized_extent({1, 1 << 20}, 1 << 15), ShapeError);
  EXPECT_THROW((void)resized_extent({0, 3}, 4), ShapeError);

  std::vector<float> values(12);
  EXPECT_THROW(normalize(image, {}, view_of(values, {2, 1})), ShapeError);
  Preprocess flat;
  flat.stddev[1] = 0.0f;
  EXPECT_THROW(normalize(image, flat, view_of(values, {2, 2})), ShapeError);
}

Image numbered(Extent2 extent) {
  Image image{extent.height, extent.width, {}};
  for (std::int64_t i = 0; i < extent.area() * 3; ++i)
    image.rgb.push_back(static_cast<std::uint8_t>(i % 251));
  return image;
}

TEST(Preprocess, CutTakesTheWindow) {
  const Image image = numbered({5, 7});
  const Image part = cut(image, {{1, 4}, {2, 7}});
  ASSERT_EQ(part.extent(), (Extent2{3, 5}));
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t i = 0; i < 15; ++i) EXPECT_EQ(part.rgb[row * 15 + i], image.rgb[(row + 1) * 21 + 6 + i]);
  }
  EXPECT_EQ(cut(image, Rect::whole(image.extent())).rgb, image.rgb);
  for (const Rect outside : {Rect{{0, 6}, {0, 7}}, Rect{{-1, 3}, {0, 7}}, Rect{{2, 2}, {0, 7}}})
    EXPECT_THROW((void)cut(image, outside), ShapeError);
}

TEST(Preprocess, MirroredTwiceIsTheImage) {
  const Image image = numbered({3, 4});
  const Image mirror = mirrored(image);
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t col = 0; col < 4; ++col) {
      for (std::size_t c = 0; c < 3; ++c)
        EXPECT_EQ(mirror.rgb[(row * 4 + col) * 3 + c], image.rgb[(row * 4 + 3 - col) * 3 + c]);
    }
  }
  EXPECT_EQ(mirrored(mirror).rgb, image.rgb);
}

TEST(Preprocess, TenCropsAreCornersCentreAndMirrors) {
  const Image image = numbered({8, 11});
  const std::vector<Image> crops = ten_crops(image, {4, 5});
  ASSERT_EQ(crops.size(), 10U);
  EXPECT_EQ(crops[0].rgb, cut(image, {{0, 4}, {0, 5}}).rgb);
  EXPECT_EQ(crops[1].rgb, cut(image, {{0, 4}, {6, 11}}).rgb);
  EXPECT_EQ(crops[2].rgb, cut(image, {{4, 8}, {0, 5}}).rgb);
  EXPECT_EQ(crops[3].rgb, cut(image, {{4, 8}, {6, 11}}).rgb);
  EXPECT_EQ(crops[4].rgb, center_crop(image, {4, 5}).rgb);
  EXPECT_EQ(crops[6].rgb, mirrored(crops[0]).rgb) << "the mirrored image's top right";
  EXPECT_EQ(crops[7].rgb, mirrored(crops[3]).rgb);
  EXPECT_THROW((void)ten_crops(image, {9, 5}), ShapeError);
}

}  // namespace
}  // namespace halotile::test
