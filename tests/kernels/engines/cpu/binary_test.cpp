// Sums, differences and products of two maps: exact, on any strides, with inputs that have one of what the
// output has many.
#include "kernels/engines/cpu/binary.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/engines/oracle.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using oracle::Gaps;
using oracle::GuardedMap;

struct BinaryCase {
  std::string name;
  std::int64_t channels = 16;
  Extent2 extent{4, 5};
  MapShape a{16, {4, 5}};
  MapShape b{16, {4, 5}};
  Gaps gaps{};

  friend void PrintTo(const BinaryCase& c, std::ostream* out) { *out << c.name; }
};

class BinaryTest : public testing::TestWithParam<BinaryCase> {};

float combined(const Binary& layer, float a, float b) {
  const float y = layer.kind == BinaryKind::add ? a + b : layer.kind == BinaryKind::subtract ? a - b : a * b;
  return layer.relu && y < 0.0F ? 0.0F : y;
}

float joined(const GuardedMap& map, const MapShape& shape, std::int64_t n, std::int64_t r, std::int64_t q,
             std::int64_t c) {
  return map.get(n, shape.extent.height == 1 ? 0 : r, shape.extent.width == 1 ? 0 : q,
                 shape.channels == 1 ? 0 : c);
}

TEST_P(BinaryTest, IsExactOnEveryElementTypeAndOnTiles) {
  const BinaryCase& k = GetParam();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    GuardedMap a(dtype, 2, k.a.channels, k.a.extent, k.gaps);
    GuardedMap b(dtype, 2, k.b.channels, k.b.extent);
    a.randomize(1);
    b.randomize(2);
    for (const BinaryKind kind : {BinaryKind::add, BinaryKind::subtract, BinaryKind::multiply}) {
      for (const bool relu : {false, true}) {
        const Binary layer{kind, relu};
        GuardedMap expected(dtype, 2, k.channels, k.extent);
        for (std::int64_t n = 0; n < 2; ++n) {
          for (std::int64_t r = 0; r < k.extent.height; ++r) {
            for (std::int64_t q = 0; q < k.extent.width; ++q) {
              for (std::int64_t c = 0; c < k.channels; ++c) {
                expected.set(n, r, q, c,
                             combined(layer, joined(a, k.a, n, r, q, c), joined(b, k.b, n, r, q, c)));
              }
            }
          }
        }
        GuardedMap out(dtype, 2, k.channels, k.extent, k.gaps);
        binary(layer, a.view(), b.view(), out.view());
        EXPECT_TRUE(out.complete());
        EXPECT_TRUE(oracle::same_bits(out, expected));
        const Rect rect{{k.extent.height / 2, k.extent.height}, {0, (k.extent.width + 1) / 2}};
        GuardedMap tile(dtype, 2, k.channels, rect, k.extent);
        binary(layer, a.view(), b.view(), tile.view());
        EXPECT_TRUE(tile.complete());
        EXPECT_TRUE(oracle::same_bits(tile, expected));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Maps, BinaryTest,
                         testing::Values(BinaryCase{"SameShape"},
                                         BinaryCase{"OddChannels", 13, {4, 5}, {13, {4, 5}}, {13, {4, 5}}},
                                         BinaryCase{
                                             "Gaps", 16, {4, 5}, {16, {4, 5}}, {16, {4, 5}}, {1, 2, 3}},
                                         BinaryCase{"Gate", 16, {4, 5}, {16, {4, 5}}, {16, {1, 1}}},
                                         BinaryCase{"GateFirst", 16, {4, 5}, {16, {1, 1}}, {16, {4, 5}}},
                                         BinaryCase{"Mask", 16, {4, 5}, {16, {4, 5}}, {1, {4, 5}}},
                                         BinaryCase{"GateAndMask", 7, {4, 5}, {7, {1, 1}}, {1, {4, 5}}},
                                         BinaryCase{"OneRow", 8, {4, 5}, {8, {1, 5}}, {8, {4, 1}}},
                                         BinaryCase{"OneElement", 1, {1, 1}, {1, {1, 1}}, {1, {1, 1}}}),
                         [](const auto& test) { return test.param.name; });

TEST(Binary, ReluKeepsNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  GuardedMap a(DType::f32, 1, 3, {1, 1});
  for (const std::int64_t c : {0, 1, 2}) a.set(0, 0, 0, c, c == 1 ? nan : -1.0F);
  GuardedMap out(DType::f32, 1, 3, {1, 1});
  binary({BinaryKind::add, true}, a.view(), a.view(), out.view());
  EXPECT_EQ(out.get(0, 0, 0, 0), 0.0F);
  EXPECT_TRUE(std::isnan(out.get(0, 0, 0, 1)));
}

TEST(Binary, RefusesWhatDoesNotFit) {
  const GuardedMap out(DType::f32, 1, 4, {3, 3});
  const GuardedMap good(DType::f32, 1, 4, {3, 3});
  const GuardedMap type(DType::bf16, 1, 4, {3, 3});
  const GuardedMap images(DType::f32, 2, 4, {3, 3});
  const GuardedMap channels(DType::f32, 1, 2, {3, 3});
  const GuardedMap extent(DType::f32, 1, 4, {2, 3});
  const GuardedMap part(DType::f32, 1, 4, Rect{{0, 2}, {0, 3}}, {3, 3});
  for (const GuardedMap* const bad : {&type, &images, &channels, &extent, &part}) {
    EXPECT_THROW(binary({}, good.view(), bad->view(), out.view()), ShapeError);
    EXPECT_THROW(binary({}, bad->view(), good.view(), out.view()), ShapeError);
  }
}

}  // namespace
}  // namespace halotile
