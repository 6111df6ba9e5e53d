// Element types of maps: conversions against the definitions of the formats.
#include "kernels/maps/map.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr float infinite = std::numeric_limits<float>::infinity();

Float16 half_of(std::uint32_t bits) {
  Float16 half;
  half.bits = static_cast<std::uint16_t>(bits);
  return half;
}

// A finite half's value, from the definition.
double value_of(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 0x1f);
  const int fraction = static_cast<int>(bits & 0x3ff);
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
  return bits >= 0x8000 ? -magnitude : magnitude;
}

TEST(Float16, WidensEveryValueExactlyAndComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<float>(half_of(bits));
    if ((bits & 0x7fff) > 0x7c00) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(static_cast<float>(Float16(value)))) << bits;
      ASSERT_EQ(Float16(value).bits, bits | 0x200U) << "a NaN keeps its payload, made quiet";
      continue;
    }
    if ((bits & 0x7fff) == 0x7c00) {
      ASSERT_EQ(value, bits >= 0x8000 ? -infinite : infinite);
    } else {
      ASSERT_EQ(static_cast<double>(value), value_of(bits)) << bits;
    }
    ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    ASSERT_EQ(Float16(value).bits, bits);
  }
}

// Between two neighbours: just below the middle, the middle (to the even one), just above it. The neighbour
// of the largest number is 65536, where infinity begins.
TEST(Float16, RoundsToTheNearestAndTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const double low = value_of(bits);
    const double high = bits == 0x7bff ? 65536.0 : value_of(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << "the middle is a float";
    for (const std::uint32_t sign : {0x0000U, 0x8000U}) {
      const auto rounded = [&](float x) { return Float16(sign != 0 ? -x : x).bits; };
      ASSERT_EQ(rounded(std::nextafter(middle, 0.0F)), sign + bits);
      ASSERT_EQ(rounded(middle), sign + bits + (bits & 1));
      ASSERT_EQ(rounded(std::nextafter(middle, infinite)), sign + bits + 1);
    }
  }
  EXPECT_EQ(Float16(std::numeric_limits<float>::max()).bits, 0x7c00);
  EXPECT_EQ(Float16(-65520.0F).bits, 0xfc00);
  EXPECT_EQ(Float16(std::numeric_limits<float>::denorm_min()).bits, 0x0000);
  EXPECT_EQ(Float16(-std::numeric_limits<float>::denorm_min()).bits, 0x8000);
}

#ifdef __FLT16_MAX__
TEST(Float16, AgreesWithTheCompiler) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<float>(std::bit_cast<_Float16>(static_cast<std::uint16_t>(bits)));
    if (std::isnan(value)) continue;
    ASSERT_EQ(static_cast<float>(half_of(bits)), value) << bits;
  }
  std::uint64_t random = 1;
  for (int n = 0; n < 1000000; ++n) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random >> 32));
    if (std::isnan(value)) continue;
    ASSERT_EQ(Float16(value).bits, std::bit_cast<std::uint16_t>(static_cast<_Float16>(value))) << value;
  }
}
#endif

TEST(ElementType, SizesNamesAndTheHostsTypes) {
  EXPECT_EQ(size_of(DType::f32), 4);
  EXPECT_EQ(size_of(DType::bf16), 2);
  EXPECT_EQ(size_of(DType::f16), 2);
  EXPECT_EQ(size_of(DType::u8), 1);
  EXPECT_EQ(to_string(DType::f16), "f16");
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    EXPECT_EQ(with_element_type(dtype, [](auto x) { return static_cast<std::int64_t>(sizeof(x)); }),
              size_of(dtype));
  }
  EXPECT_THROW(with_element_type(DType::u8, [](auto) {}), UnsupportedError);
}

}  // namespace
}  // namespace halotile
