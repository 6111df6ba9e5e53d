// Floating-point types of files, made floats.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/maps/map.hpp"

namespace halotile {

/// IEEE binary16 to float: exact; NaNs keep their payload.
[[nodiscard]] inline float half_to_float(std::uint16_t bits) {
  Float16 half;
  half.bits = bits;
  return static_cast<float>(half);
}

/// True for a finite number that would round to an infinite float.
[[nodiscard]] inline bool too_large_for_float(double value) {
  constexpr double kBeyond = 0x1.ffffffp127;  // halfway from the largest float to 2^128: rounds away
  return std::isfinite(value) && std::abs(value) >= kBeyond;
}

}  // namespace halotile
