// Layers as products of matrices: which are, how they are packed, and where their filters' elements lie.
#include "kernels/engines/cuda/tensor_core/matrix_layer.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/engines/oracle.hpp"

namespace halotile::tensor_core {
namespace {

// The value of an element in the filters, by the layout's description.
float filter_at(const MatrixLayer& m, const std::vector<std::byte>& filters, std::int64_t group,
                std::int64_t tap, std::int64_t row, std::int64_t byte) {
  const std::int64_t rows = (m.out + 7) / 8 * 8;
  const std::int64_t tap_bytes = (m.in * size_of(m.element) + 31) / 32 * 32;
  std::int64_t at = (group * m.kernel.area() + tap) * rows * tap_bytes;
  // Runs of 128 bytes, then one of 64, then one of 32.
  std::int64_t begin = 0;
  std::int64_t pitch = 128;
  while (true) {
    while (begin + pitch > tap_bytes) pitch /= 2;
    if (byte < begin + pitch) break;
    at += rows * pitch;
    begin += pitch;
  }
  const std::int64_t unit = (byte - begin) / 16;
  const std::int64_t exchanged = pitch == 128  ? unit ^ (row % 8)
                                 : pitch == 64 ? unit ^ (row / 2 % 4)
                                               : unit ^ (row / 4 % 2);
  at += row * pitch + exchanged * 16 + byte % 16;
  if (size_of(m.element) == 4) {
    float value = 0;
    std::memcpy(&value, filters.data() + at, sizeof(value));
    if (!m.split()) return value;
    float low = 0;
    std::memcpy(&low, filters.data() + m.filter_bytes() + at, sizeof(low));
    return value + low;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, filters.data() + at, sizeof(bits));
  if (m.element == Element::bf16) {
    Bfloat16 value;
    value.bits = bits;
    return float(value);
  }
  Float16 value;
  value.bits = bits;
  return float(value);
}

struct FilterCase {
  std::string name;
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t groups = 1;
  Window window = {};

  friend void PrintTo(const FilterCase& c, std::ostream* to) { *to << c.name; }
};

class MatrixFilters : public ::testing::TestWithParam<std::tuple<FilterCase, Element>> {};

TEST_P(MatrixFilters, EveryWeightInItsPlaceAndZerosElsewhere) {
  const auto& [c, element] = GetParam();
  const std::int64_t channels = c.in / c.groups;
  const std::int64_t outputs = c.out / c.groups;
  // Integers up to 200: exact in every type, and none of them zero. Split, with a little that needs the low
  // half.
  std::vector<float> weight(static_cast<std::size_t>(c.out * channels * c.window.kernel.area()));
  for (std::size_t n = 0; n < weight.size(); ++n) weight[n] = static_cast<float>(n * 37 % 199 + 1);
  if (element == Element::f32) {
    for (float& w : weight) w += 0x1p-12F;
  }
  const Conv2d layer{c.in, c.out, c.groups, c.window, false, Parameter(weight), {}};
  const auto matrix = matrix_layer(layer, element);
  ASSERT_TRUE(matrix.has_value());
  const MatrixLayer& m = *matrix;
  const std::vector<std::byte> filters = matrix_filters(layer, m);
  const std::int64_t tap_bytes = m.filter_rows() * m.in_bytes();
  ASSERT_EQ(static_cast<std::int64_t>(filters.size()),
            (m.split() ? 2 : 1) * m.groups * m.kernel.area() * tap_bytes + 256 * 128);
  for (std::size_t n = filters.size() - 256 * 128; n < filters.size(); ++n) {
    ASSERT_EQ(filters[n], std::byte{0}) << "behind the last filter";
  }
  for (std::int64_t group = 0; group < m.groups; ++group) {
    for (std::int64_t tap = 0; tap < m.kernel.area(); ++tap) {
      for (std::int64_t row = 0; row < m.filter_rows(); ++row) {
        for (std::int64_t k = 0; k < m.in_bytes() / size_of(element); ++k) {
          // Blocks of a window's row may count as one tap.
          const std::int64_t block = m.packed ? k / m.position_channels : 0;
          const std::int64_t channel = m.packed ? k % m.position_channels : k;
          const std::int64_t position = channel / channels;  // in the block
          const std::int64_t ky = tap / m.kernel.width * m.block.height + position / m.block.width;
          const std::int64_t kx = (tap % m.kernel.width + block) * m.block.width + position % m.block.width;
          float expected = 0;
          if (row < outputs && position < m.block.area() && ky < c.window.kernel.height &&
              kx < c.window.kernel.width) {
            expected = weight[static_cast<std::size_t>(
                (((group * outputs + row) * channels + channel % channels) * c.window.kernel.height + ky) *
                    c.window.kernel.width +
                kx)];
          }
          ASSERT_EQ(filter_at(m, filters, group, tap, row, k * size_of(element)), expected)
              << "group " << group << ", tap " << tap << ", row " << row << ", channel " << k;
        }
      }
    }
  }
}

Window window(Extent2 kernel, Extent2 stride = {1, 1}, Extent2 padding = {0, 0}, Extent2 dilation = {1, 1}) {
  return {kernel, stride, padding, dilation};
}

INSTANTIATE_TEST_SUITE_P(
    All, MatrixFilters,
    ::testing::Combine(::testing::Values(FilterCase{"Chunk", 64, 8, 1, window({1, 1})},
                                         FilterCase{"Rest96", 48, 20, 1, window({3, 3})},
                                         FilterCase{"ChunkAndRests", 120, 9, 1, window({2, 1})},
                                         FilterCase{"Rest32", 80, 16, 1, window({1, 2})},
                                         FilterCase{"Groups", 96, 40, 2, window({3, 3})},
                                         FilterCase{"PackedChannels", 100, 10, 1, window({3, 3}, {2, 2})},
                                         FilterCase{"PackedGroups", 60, 60, 3, window({3, 3})},
                                         FilterCase{"AlexNet", 3, 12, 1, window({11, 11}, {4, 4}, {2, 2})},
                                         FilterCase{"Vgg", 3, 12, 1, window({3, 3}, {1, 1}, {1, 1})},
                                         FilterCase{"VisionTransformer", 3, 5, 1, window({16, 16}, {16, 16})},
                                         FilterCase{"FewDilated", 3, 12, 1,
                                                    window({3, 3}, {1, 1}, {0, 0}, {2, 2})}),
                       ::testing::Values(Element::bf16, Element::f16, Element::tf32, Element::f32)),
    [](const auto& instance) {
      const Element element = std::get<1>(instance.param);
      return std::get<0>(instance.param).name + (element == Element::bf16   ? "Bf16"
                                                 : element == Element::f16  ? "F16"
                                                 : element == Element::tf32 ? "Tf32"
                                                                            : "F32");
    });

TEST(MatrixFilters, OfFullyConnectedLayersAreThoseOfAPointwiseConvolution) {
  const std::vector<float> weight = oracle::random_values(5, 20 * 112);
  const FullyConnected full{112, 20, false, Parameter(weight), {}};
  const Conv2d pointwise{112, 20, 1, {}, false, Parameter(weight), {}};
  for (const Element element : {Element::bf16, Element::f16, Element::tf32, Element::f32}) {
    EXPECT_EQ(matrix_filters(full, matrix_layer(full, element)),
              matrix_filters(pointwise, *matrix_layer(pointwise, element)));
  }
}

TEST(MatrixFilters, AreRoundedToNearestEven) {
  // 1 + half a unit goes to the even 1, 1 + 3 halves to 1 + 2 units.
  for (const auto& [element, unit] :
       {std::pair{Element::bf16, 0x1p-7F}, {Element::f16, 0x1p-10F}, {Element::tf32, 0x1p-10F}}) {
    std::vector<float> weight(16, 0.0F);
    weight[0] = 1 + unit / 2;
    weight[1] = 1 + 3 * unit / 2;
    weight[2] = -1 - unit * 0.51F;
    const FullyConnected layer{16, 1, false, Parameter(weight), {}};
    const MatrixLayer m = matrix_layer(layer, element);
    const auto filters = matrix_filters(layer, m);
    EXPECT_EQ(filter_at(m, filters, 0, 0, 0, 0), 1.0F);
    EXPECT_EQ(filter_at(m, filters, 0, 0, 0, size_of(element)), 1 + 2 * unit);
    EXPECT_EQ(filter_at(m, filters, 0, 0, 0, 2 * size_of(element)), -1 - unit);
  }
}

TEST(MatrixLayer, SegmentsCoverAllStages) {
  for (const auto& [in, out] : {std::pair{9216, 4096}, {4096, 1000}, {4096, 10}, {100, 10}, {25088, 4096}}) {
    const std::vector<float> weight;
    const MatrixLayer m = matrix_layer(FullyConnected{in, out, false, Parameter(weight), {}}, Element::bf16);
    ASSERT_GE(m.segments, 1);
    EXPECT_EQ(m.segment_begin(0), 0);
    EXPECT_EQ(m.segment_begin(m.segments), m.stages());
    for (std::int64_t s = 0; s < m.segments; ++s) EXPECT_LT(m.segment_begin(s), m.segment_begin(s + 1));
  }
}

TEST(MatrixLayer, IsNotMadeOfGroupsOfFewChannelsNorOfVeryWideKernels) {
  const std::vector<float> weight;
  const auto layer = [&](std::int64_t channels, std::int64_t groups, Window w) {
    return matrix_layer(Conv2d{channels, channels, groups, w, false, Parameter(weight), {}}, Element::bf16);
  };
  EXPECT_FALSE(layer(32, 32, window({3, 3})).has_value());
  EXPECT_FALSE(layer(32, 8, window({3, 3})).has_value());
  EXPECT_TRUE(layer(32, 4, window({3, 3})).has_value());
  EXPECT_FALSE(layer(32, 1, window({1, 129})).has_value());
  EXPECT_TRUE(layer(32, 1, window({1, 128})).has_value());
  EXPECT_FALSE(layer(32, 1, window({1, 1}, {9, 9})).has_value());
}

}  // namespace
}  // namespace halotile::tensor_core
