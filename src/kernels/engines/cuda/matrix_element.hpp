// Element types of tensor cores. For any compiler.
#pragma once

#include <cstdint>

#include "kernels/maps/map.hpp"

namespace halotile::cuda {

/// What tensor cores multiply; sums are f32. tf32: f32 in memory, 10 bits of mantissa used. f32: split into
/// two tf32 values.
enum class Element : std::uint8_t { bf16, f16, tf32, f32 };

[[nodiscard]] constexpr DType map_type(Element element) {
  return element == Element::bf16 ? DType::bf16 : element == Element::f16 ? DType::f16 : DType::f32;
}
[[nodiscard]] constexpr std::int64_t size_of(Element element) { return halotile::size_of(map_type(element)); }

}  // namespace halotile::cuda
