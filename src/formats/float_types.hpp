// Floating-point types of files, made floats.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace halotile {

/// IEEE binary16 to float: exact; NaNs keep their payload.
[[nodiscard]] inline float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude < 0x0400u) {  // subnormal: a multiple of 2^-24
    return std::bit_cast<float>(sign |
                                std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f));
  }
  // The exponent's bias goes from 15 to 127; the largest exponent (infinity, NaN) goes from 31 to 255.
  const std::uint32_t bias = magnitude < 0x7c00u ? 127u - 15u : 255u - 31u;
  return std::bit_cast<float>(sign | ((magnitude << 13) + (bias << 23)));
}

/// True for a finite number that would round to an infinite float.
[[nodiscard]] inline bool too_large_for_float(double value) {
  constexpr double kBeyond = 0x1.ffffffp127;  // halfway from the largest float to 2^128: rounds away
  return std::isfinite(value) && std::abs(value) >= kBeyond;
}

}  // namespace halotile
