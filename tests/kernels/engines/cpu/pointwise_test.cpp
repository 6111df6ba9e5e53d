// ReLU, softmax and copies: strided views, both element types, every length around the vector widths.
#include "kernels/engines/cpu/pointwise.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <ostream>

#include "kernels/engines/oracle.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr std::uint64_t pointwise_seed = 31;

struct ViewCase {
  std::string name;
  std::int64_t channels = 1;
  Extent2 extent{1, 1};
  oracle::Gaps in_gaps = {};
  oracle::Gaps out_gaps = {};
  std::int64_t images = 1;
};

std::ostream& operator<<(std::ostream& out, const ViewCase& c) { return out << c.name; }

class PointwiseTest : public testing::TestWithParam<ViewCase> {
 protected:
  [[nodiscard]] static GuardedMap input(DType dtype) {
    const ViewCase& c = GetParam();
    GuardedMap in(dtype, c.images, c.channels, c.extent, c.in_gaps);
    in.randomize(pointwise_seed);
    return in;
  }
  [[nodiscard]] static GuardedMap output(DType dtype) {
    const ViewCase& c = GetParam();
    return {dtype, c.images, c.channels, c.extent, c.out_gaps};
  }
};

TEST_P(PointwiseTest, CopyKeepsOrRoundsEveryElement) {
  SCOPED_TRACE(pointwise_seed);
  for (const DType from : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
      SCOPED_TRACE(std::string(to_string(from)) + " to " + std::string(to_string(to)));
      const GuardedMap in = input(from);
      GuardedMap out = output(to);
      copy_map(in.view(), out.view());
      GuardedMap expected = output(to);
      for (std::int64_t i = 0; i < GetParam().images; ++i) {
        for (std::int64_t r = 0; r < GetParam().extent.height; ++r) {
          for (std::int64_t q = 0; q < GetParam().extent.width; ++q) {
            for (std::int64_t c = 0; c < GetParam().channels; ++c)
              expected.set(i, r, q, c, in.get(i, r, q, c));
          }
        }
      }
      EXPECT_TRUE(out.complete());
      EXPECT_TRUE(oracle::same_bits(out, expected));
    }
  }
}

TEST_P(PointwiseTest, ReluBetweenMapsAndInPlace) {
  SCOPED_TRACE(pointwise_seed);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    GuardedMap in = input(dtype);
    GuardedMap out = output(dtype);
    relu(in.view(), out.view());
    EXPECT_TRUE(out.complete());
    for (std::int64_t i = 0; i < GetParam().images; ++i) {
      for (std::int64_t r = 0; r < GetParam().extent.height; ++r) {
        for (std::int64_t q = 0; q < GetParam().extent.width; ++q) {
          for (std::int64_t c = 0; c < GetParam().channels; ++c) {
            const float x = in.get(i, r, q, c);
            ASSERT_EQ(out.get(i, r, q, c), x < 0.0F ? 0.0F : x) << i << ", " << r << ", " << q << ", " << c;
          }
        }
      }
    }
    relu(in.view(), in.view());
    EXPECT_TRUE(in.complete());
    EXPECT_TRUE(oracle::same_bits(in, out));
  }
}

TEST_P(PointwiseTest, LeakyReluIsExactBetweenMapsAndInPlace) {
  SCOPED_TRACE(pointwise_seed);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const float slope : {0.01F, 0.0F, -0.5F, 3.0F}) {
      GuardedMap in = input(dtype);
      GuardedMap out = output(dtype);
      GuardedMap expected = output(dtype);
      for (std::int64_t i = 0; i < GetParam().images; ++i) {
        for (std::int64_t r = 0; r < GetParam().extent.height; ++r) {
          for (std::int64_t q = 0; q < GetParam().extent.width; ++q) {
            for (std::int64_t c = 0; c < GetParam().channels; ++c) {
              const float x = in.get(i, r, q, c);
              expected.set(i, r, q, c, x < 0.0F ? slope * x : x);
            }
          }
        }
      }
      leaky_relu({slope}, in.view(), out.view());
      EXPECT_TRUE(out.complete());
      EXPECT_TRUE(oracle::same_bits(out, expected));
      leaky_relu({slope}, in.view(), in.view());
      EXPECT_TRUE(oracle::same_bits(in, out));
    }
  }
}

TEST_P(PointwiseTest, SoftmaxStaysWithinTheDerivedBound) {
  SCOPED_TRACE(pointwise_seed);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType result : {DType::f32, DType::bf16, DType::f16}) {
      const GuardedMap in = input(dtype);
      GuardedMap out = output(result);
      softmax(in.view(), out.view());
      EXPECT_TRUE(out.complete());
      oracle::Expected expected = oracle::softmax(in.values());
      oracle::stored_as(result, expected);
      EXPECT_TRUE(oracle::within(out, expected));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Views, PointwiseTest,
                         testing::Values(ViewCase{"OneElement"}, ViewCase{"Dense", 5, {3, 4}, {}, {}, 2},
                                         ViewCase{"GapsBetweenRows", 3, {4, 5}, {0, 7, 0}, {0, 2, 3}, 2},
                                         ViewCase{
                                             "GapsBetweenPositions", 17, {3, 3}, {2, 0, 0}, {3, 1, 0}, 3},
                                         ViewCase{"GapsInOneOnly", 33, {2, 3}, {1, 1, 1}, {}, 2},
                                         ViewCase{"Logits", 1000, {1, 1}, {}, {}, 3}),
                         [](const auto& test) { return test.param.name; });

TEST(PointwiseView, PartsOfAMapAreReadAndWrittenByCoordinates) {
  GuardedMap whole(DType::f32, 3, 5, {6, 7});
  whole.randomize(pointwise_seed);
  const Rect rect{{2, 5}, {1, 6}};
  GuardedMap part(DType::f32, 3, 5, rect, {6, 7}, {1, 2, 3});
  copy_map(whole.view(), part.view());
  EXPECT_TRUE(part.complete());
  EXPECT_TRUE(oracle::same_bits(part, whole));

  GuardedMap rebuilt(DType::f32, 3, 5, {6, 7}, {0, 1, 0});
  for (const Rect& tile :
       {Rect{{0, 2}, {0, 7}}, Rect{{2, 5}, {0, 1}}, rect, Rect{{2, 5}, {6, 7}}, Rect{{5, 6}, {0, 7}}}) {
    for (const Interval images : {Interval{0, 1}, Interval{1, 3}}) {
      copy_map(subview(whole.view(), images, Rect::whole({6, 7})), subview(rebuilt.view(), images, tile));
    }
  }
  EXPECT_TRUE(rebuilt.complete());
  EXPECT_TRUE(oracle::same_bits(rebuilt, whole));
}

TEST(PointwiseView, AnEmptyRectangleIsNoWork) {
  const GuardedMap in(DType::f32, 2, 3, {4, 4});
  const GuardedMap out(DType::f32, 2, 3, Rect{{2, 2}, {0, 4}}, {4, 4});
  copy_map(in.view(), out.view());
  relu(in.view(), out.view());
  EXPECT_TRUE(out.complete());
}

TEST(PointwiseView, RefusesWhatDoesNotFit) {
  const GuardedMap in(DType::f32, 1, 3, {2, 2});
  const GuardedMap half(DType::bf16, 1, 3, {2, 2});
  const GuardedMap larger(DType::f32, 1, 3, {2, 3});
  const GuardedMap channels(DType::f32, 1, 2, {2, 2});
  const GuardedMap images(DType::f32, 2, 3, {2, 2});
  EXPECT_THROW(relu(in.view(), half.view()), ShapeError);
  for (const GuardedMap* out : {&larger, &channels, &images}) {
    EXPECT_THROW(relu(in.view(), out->view()), ShapeError);
    EXPECT_THROW(softmax(in.view(), out->view()), ShapeError);
    EXPECT_THROW(copy_map(in.view(), out->view()), ShapeError);
  }
}

// Whatever lane a value falls into, tails included.
TEST(ReluOrder, KeepsNegativeZeroNanAndInfinities) {
  for (std::int64_t channels = 1; channels <= 70; ++channels) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const float x : {0.0F, -0.0F, 1.5F, -1.5F, inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
        GuardedMap in(dtype, 1, channels, {1, 1});
        for (std::int64_t c = 0; c < channels; ++c) in.set(0, 0, 0, c, x);
        GuardedMap out(dtype, 1, channels, {1, 1});
        relu(in.view(), out.view());
        ASSERT_TRUE(out.complete());
        for (std::int64_t c = 0; c < channels; ++c) {
          const float y = out.get(0, 0, 0, c);
          ASSERT_EQ(std::isnan(y), std::isnan(x));
          if (std::isnan(x)) continue;
          ASSERT_EQ(y, x < 0.0F ? 0.0F : x) << channels << " channels, channel " << c;
          ASSERT_EQ(std::signbit(y), x == 0.0F && std::signbit(x)) << channels << " channels, channel " << c;
        }
      }
    }
  }
}

TEST(CopyBfloat16, RoundsToNearestEvenAndKeepsNanAndInfinity) {
  struct Case {
    std::uint32_t from;
    std::uint32_t to;
  };
  for (const Case& c :
       {Case{0x3f808000U, 0x3f800000U}, Case{0x3f818000U, 0x3f820000U}, Case{0x3f808001U, 0x3f810000U},
        Case{0x3f807fffU, 0x3f800000U}, Case{0x80000000U, 0x80000000U}, Case{0x00008000U, 0x00000000U},
        Case{0x00018000U, 0x00020000U}, Case{0x7f7fffffU, 0x7f800000U}, Case{0x7f800000U, 0x7f800000U},
        Case{0xff800000U, 0xff800000U}}) {
    for (const std::int64_t channels : {1, 8, 37}) {
      GuardedMap in(DType::f32, 1, channels, {1, 1});
      GuardedMap out(DType::bf16, 1, channels, {1, 1});
      for (std::int64_t i = 0; i < channels; ++i) in.set(0, 0, 0, i, std::bit_cast<float>(c.from));
      copy_map(in.view(), out.view());
      for (std::int64_t i = 0; i < channels; ++i) {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(out.get(0, 0, 0, i)), c.to) << std::hex << c.from;
      }
    }
  }
  for (const std::uint32_t nan : {0x7f800001U, 0xffffffffU, 0x7fc00000U}) {
    GuardedMap in(DType::f32, 1, 33, {1, 1});
    GuardedMap out(DType::bf16, 1, 33, {1, 1});
    for (std::int64_t i = 0; i < 33; ++i) in.set(0, 0, 0, i, std::bit_cast<float>(nan));
    copy_map(in.view(), out.view());
    for (std::int64_t i = 0; i < 33; ++i) EXPECT_TRUE(std::isnan(out.get(0, 0, 0, i))) << std::hex << nan;
  }
}

TEST(Softmax, SumsToOneAndSurvivesLargeLogits) {
  GuardedMap in(DType::f32, 1, 4, {1, 1});
  const std::vector<float> logits{1e4F, 1e4F, -inf, 0.0F};
  for (std::int64_t c = 0; c < 4; ++c) in.set(0, 0, 0, c, logits[static_cast<std::size_t>(c)]);
  GuardedMap out(DType::f32, 1, 4, {1, 1});
  softmax(in.view(), out.view());
  EXPECT_EQ(out.get(0, 0, 0, 0), 0.5F);
  EXPECT_EQ(out.get(0, 0, 0, 1), 0.5F);
  EXPECT_EQ(out.get(0, 0, 0, 2), 0.0F);
  EXPECT_EQ(out.get(0, 0, 0, 3), 0.0F);
  in.set(0, 0, 0, 2, std::numeric_limits<float>::quiet_NaN());
  softmax(in.view(), out.view());
  for (std::int64_t c = 0; c < 4; ++c) EXPECT_TRUE(std::isnan(out.get(0, 0, 0, c)));
}

}  // namespace
}  // namespace halotile
