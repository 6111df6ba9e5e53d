// NumPy's types of elements that floats can stand for, in every spelling that numpy.dtype() takes on a 64-bit
// Linux: <f4, =f4, |f4, f4, >f4, float32, single, f.
// Source: numpy.dtype of NumPy 2.4, tried on each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace halotile {

enum class NpyKind : std::uint8_t { boolean, signed_integer, unsigned_integer, floating };

struct NpyType {
  NpyKind kind;
  std::uint8_t size;  ///< bytes: 1 (boolean), 1, 2, 4, 8 (integers), 2, 4, 8 (floating)
  bool big_endian = false;

  friend bool operator==(const NpyType&, const NpyType&) = default;
};

/// Nothing for a type that is another (complex numbers, text, long double, structures) or none.
[[nodiscard]] std::optional<NpyType> npy_type(std::string_view spelling);

/// Rounds `count` elements at `bytes` (any alignment) to the nearest floats, true to 1; returns how many,
/// fewer when the next one is a finite number too large for a float.
[[nodiscard]] std::size_t to_floats(NpyType type, const std::byte* bytes, std::size_t count, float* out);

}  // namespace halotile
