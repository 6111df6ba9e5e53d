// Local response normalization: against float64 within the derived bound, and against its documented order
// bit for bit for any channel count, window and power.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/oracle.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;

struct LrnCase {
  std::string name;
  Lrn layer;
  std::int64_t channels = 1;
  Extent2 extent{3, 4};
  std::int64_t images = 1;
};

std::ostream& operator<<(std::ostream& out, const LrnCase& c) { return out << c.name; }

// Written a second time, from the sentence in reference.hpp.
float documented(const Lrn& layer, const GuardedMap& in, std::int64_t image, std::int64_t row,
                 std::int64_t col, std::int64_t channel) {
  float s = 0.0F;
  for (std::int64_t j = 0; j < in.view().channels; ++j) {
    if (j < channel - layer.size / 2 || j > channel + (layer.size - 1) / 2) continue;
    const float x = in.get(image, row, col, j);
    s = std::fma(x, x, s);
  }
  const float d = std::fma(layer.alpha / static_cast<float>(layer.size), s, layer.k);
  const float x = in.get(image, row, col, channel);
  if (layer.beta == 0.75F) return x / (std::sqrt(d) * std::sqrt(std::sqrt(d)));
  if (layer.beta == 0.5F) return x / std::sqrt(d);
  if (layer.beta == 1.0F) return x / d;
  return x / std::pow(d, layer.beta);
}

class LrnTest : public testing::TestWithParam<LrnCase> {
 protected:
  static constexpr std::uint64_t seed = 2012;
  [[nodiscard]] static GuardedMap input(DType dtype) {
    GuardedMap in(dtype, GetParam().images, GetParam().channels, GetParam().extent, {1, 2, 3});
    in.randomize(seed);
    return in;
  }
  [[nodiscard]] static GuardedMap output(DType dtype) {
    return {dtype, GetParam().images, GetParam().channels, GetParam().extent, {3, 1, 2}};
  }
};

TEST_P(LrnTest, StaysWithinTheDerivedBound) {
  SCOPED_TRACE(seed);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(to_string(dtype));
    const GuardedMap in = input(dtype);
    GuardedMap out = output(dtype);
    lrn(GetParam().layer, in.view(), out.view());
    oracle::Expected expected = oracle::lrn(GetParam().layer, in.values());
    oracle::stored_as(dtype, expected);
    EXPECT_TRUE(out.complete());
    EXPECT_TRUE(oracle::within(out, expected));
  }
}

TEST_P(LrnTest, TilesEqualTheWholeBitForBit) {
  SCOPED_TRACE(seed);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const GuardedMap in = input(dtype);
    GuardedMap out = output(dtype);
    lrn(GetParam().layer, in.view(), out.view());
    for (const Extent2 core : {Extent2{1, 1}, {2, 3}, {100, 1}}) {
      EXPECT_TRUE(oracle::tiles_equal_whole(
          {}, in, out, core,
          [&](const ConstMapView& from, const MapView& to) { lrn(GetParam().layer, from, to); }))
          << "cores of " << to_string(core);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, LrnTest,
                         testing::Values(LrnCase{"AlexNet", {5, 1e-4F, 0.75F, 2.0F}, 96, {4, 5}, 2},
                                         LrnCase{"StrongAlpha", {5, 3.0F, 0.75F, 1.0F}, 33, {3, 4}},
                                         LrnCase{"LongRow", {5, 1e-1F, 0.75F, 1.0F}, 40, {2, 120}},
                                         LrnCase{"EvenSize", {4, 1.0F, 0.75F, 2.0F}, 17, {3, 4}},
                                         LrnCase{"SizeOne", {1, 1.0F, 0.5F, 1.0F}, 5, {3, 4}},
                                         LrnCase{"SizeBeyondTheChannels", {9, 2.0F, 1.0F, 1.0F}, 3, {3, 4}},
                                         LrnCase{"OneChannel", {5, 2.0F, 0.75F, 1.0F}, 1, {3, 4}},
                                         LrnCase{"OtherPower", {5, 2.0F, 0.6F, 1.5F}, 17, {3, 4}},
                                         LrnCase{"ManyChannels", {7, 1.0F, 0.75F, 1.0F}, 3000, {1, 2}}),
                         [](const auto& test) { return test.param.name; });

TEST(LrnOrder, IsTheDocumentedOneForAnyChannelCountSizeAndPower) {
  constexpr std::uint64_t seed = 555;
  for (std::int64_t channels = 1; channels <= 40; ++channels) {
    for (const std::int64_t size : {1, 2, 3, 4, 5, 6, 7, 9, 13, 50}) {
      for (const float beta : {0.75F, 0.5F, 1.0F, 0.6F}) {
        for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
          const Lrn layer{size, 1.7F, beta, 0.9F};
          GuardedMap in(dtype, 1, channels, {1, 3}, {1, 0, 0});
          in.randomize(seed);
          GuardedMap out(dtype, 1, channels, {1, 3});
          lrn(layer, in.view(), out.view());
          GuardedMap expected(dtype, 1, channels, {1, 3});
          for (std::int64_t q = 0; q < 3; ++q) {
            for (std::int64_t c = 0; c < channels; ++c)
              expected.set(0, 0, q, c, documented(layer, in, 0, 0, q, c));
          }
          ASSERT_TRUE(oracle::same_bits(out, expected))
              << "seed " << seed << ", " << channels << " channels, size " << size << ", beta " << beta
              << ", " << to_string(dtype);
        }
      }
    }
  }
}

// Zeros keep their sign, an infinity silences its neighbours, NaN spreads over its window and no further.
TEST(LrnEdge, ZerosInfinitiesAndNan) {
  const Lrn layer{5, 1.0F, 0.75F, 1.0F};
  for (const std::int64_t at : {0, 1, 9, 18, 19}) {
    GuardedMap in(DType::f32, 1, 20, {1, 1});
    for (std::int64_t c = 0; c < 20; ++c) in.set(0, 0, 0, c, c % 2 == 0 ? 1.0F : -0.0F);
    in.set(0, 0, 0, at, std::numeric_limits<float>::quiet_NaN());
    GuardedMap out(DType::f32, 1, 20, {1, 1});
    lrn(layer, in.view(), out.view());
    for (std::int64_t c = 0; c < 20; ++c) {
      EXPECT_EQ(std::isnan(out.get(0, 0, 0, c)), std::abs(c - at) <= 2)
          << "NaN at " << at << ", channel " << c;
      if (c % 2 == 1 && std::abs(c - at) > 2) {
        EXPECT_TRUE(std::signbit(out.get(0, 0, 0, c)));
      }
    }
    in.set(0, 0, 0, at, std::numeric_limits<float>::infinity());
    lrn(layer, in.view(), out.view());
    for (std::int64_t c = 0; c < 20; ++c) {
      if (c == at) {
        EXPECT_TRUE(std::isnan(out.get(0, 0, 0, c)));  // infinity / infinity
      } else if (std::abs(c - at) <= 2) {
        EXPECT_EQ(out.get(0, 0, 0, c), 0.0F);
      }
    }
  }
}

// With k 0, windows of zeros alone give 0 / 0: NaN, as in PyTorch and ONNX Runtime; others are as ever.
TEST(LrnEdge, KZero) {
  for (const float beta : {0.75F, 0.5F, 1.0F, 0.6F}) {
    for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
      GuardedMap in(type, 1, 9, {1, 1});
      for (std::int64_t c = 0; c < 9; ++c) in.set(0, 0, 0, c, c >= 6 ? 2.0F : 0.0F);
      GuardedMap out(type, 1, 9, {1, 1});
      lrn({5, 5.0F, beta, 0.0F}, in.view(), out.view());
      for (std::int64_t c = 0; c < 9; ++c) {
        const float y = out.get(0, 0, 0, c);
        if (c < 4) {
          EXPECT_TRUE(std::isnan(y)) << "beta " << beta << ", channel " << c;
        } else if (c < 6) {
          EXPECT_EQ(y, 0.0F) << "beta " << beta << ", channel " << c;
        } else {  // three twos in the window: alpha / size times their squares is 12
          EXPECT_NEAR(y, 2.0F * std::pow(12.0F, -beta), 2e-3F) << "beta " << beta << ", channel " << c;
        }
      }
    }
  }
}

TEST(LrnEdge, RefusesWhatDoesNotFit) {
  const GuardedMap in(DType::f32, 1, 3, {2, 2});
  const GuardedMap out(DType::f32, 1, 3, {2, 2});
  const GuardedMap other_type(DType::bf16, 1, 3, {2, 2});
  const GuardedMap larger(DType::f32, 1, 3, {3, 2});
  EXPECT_THROW(lrn({}, in.view(), other_type.view()), ShapeError);
  EXPECT_THROW(lrn({}, in.view(), larger.view()), ShapeError);
  EXPECT_THROW(lrn({0, 1.0F, 0.75F, 1.0F}, in.view(), out.view()), ShapeError);
}

}  // namespace
}  // namespace halotile
