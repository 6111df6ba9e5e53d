#include "formats/npy_type.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <span>
#include <type_traits>

#include "formats/float_types.hpp"

namespace halotile {
namespace {

static_assert(std::endian::native == std::endian::little, "little-endian elements are copied as they are");

using enum NpyKind;

struct Spelling {
  std::string_view word;
  NpyType type;
};

// Letters that stand alone, with or without a byte order before them.
constexpr std::array kLetters{
    Spelling{"?", {boolean, 1}},          Spelling{"b", {signed_integer, 1}},
    Spelling{"B", {unsigned_integer, 1}}, Spelling{"h", {signed_integer, 2}},
    Spelling{"H", {unsigned_integer, 2}}, Spelling{"i", {signed_integer, 4}},
    Spelling{"I", {unsigned_integer, 4}}, Spelling{"l", {signed_integer, 8}},
    Spelling{"L", {unsigned_integer, 8}}, Spelling{"q", {signed_integer, 8}},
    Spelling{"Q", {unsigned_integer, 8}}, Spelling{"n", {signed_integer, 8}},
    Spelling{"N", {unsigned_integer, 8}}, Spelling{"p", {signed_integer, 8}},
    Spelling{"P", {unsigned_integer, 8}}, Spelling{"e", {floating, 2}},
    Spelling{"f", {floating, 4}},         Spelling{"d", {floating, 8}},
};

// Words, which take no byte order.
constexpr std::array kWords{
    Spelling{"bool", {boolean, 1}},
    Spelling{"bool_", {boolean, 1}},
    Spelling{"byte", {signed_integer, 1}},
    Spelling{"ubyte", {unsigned_integer, 1}},
    Spelling{"short", {signed_integer, 2}},
    Spelling{"ushort", {unsigned_integer, 2}},
    Spelling{"intc", {signed_integer, 4}},
    Spelling{"uintc", {unsigned_integer, 4}},
    Spelling{"int", {signed_integer, 8}},
    Spelling{"uint", {unsigned_integer, 8}},
    Spelling{"int_", {signed_integer, 8}},
    Spelling{"long", {signed_integer, 8}},
    Spelling{"ulong", {unsigned_integer, 8}},
    Spelling{"longlong", {signed_integer, 8}},
    Spelling{"ulonglong", {unsigned_integer, 8}},
    Spelling{"intp", {signed_integer, 8}},
    Spelling{"uintp", {unsigned_integer, 8}},
    Spelling{"int8", {signed_integer, 1}},
    Spelling{"int16", {signed_integer, 2}},
    Spelling{"int32", {signed_integer, 4}},
    Spelling{"int64", {signed_integer, 8}},
    Spelling{"uint8", {unsigned_integer, 1}},
    Spelling{"uint16", {unsigned_integer, 2}},
    Spelling{"uint32", {unsigned_integer, 4}},
    Spelling{"uint64", {unsigned_integer, 8}},
    Spelling{"half", {floating, 2}},
    Spelling{"single", {floating, 4}},
    Spelling{"float", {floating, 8}},
    Spelling{"double", {floating, 8}},
    Spelling{"float16", {floating, 2}},
    Spelling{"float32", {floating, 4}},
    Spelling{"float64", {floating, 8}},
};

std::optional<NpyType> find(std::span<const Spelling> spellings, std::string_view word) {
  const auto found = std::ranges::find(spellings, word, &Spelling::word);
  return found == spellings.end() ? std::nullopt : std::optional(found->type);
}

/// A letter and a number of bytes: f4, i08.
std::optional<NpyType> sized_type(std::string_view word) {
  if (word.size() < 2) return std::nullopt;
  unsigned size = 0;
  const auto [end, error] = std::from_chars(word.data() + 1, word.data() + word.size(), size);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  const auto bytes = static_cast<std::uint8_t>(size);
  const bool power = size == 1 || size == 2 || size == 4 || size == 8;
  switch (word[0]) {
    case 'b':
      return word == "b1" ? std::optional(NpyType{boolean, 1}) : std::nullopt;
    case 'i':
      return power ? std::optional(NpyType{signed_integer, bytes}) : std::nullopt;
    case 'u':
      return power ? std::optional(NpyType{unsigned_integer, bytes}) : std::nullopt;
    case 'f':
      return power && size > 1 ? std::optional(NpyType{floating, bytes}) : std::nullopt;
    default:
      return std::nullopt;
  }
}

/// The unsigned integer of T's size at `bytes`.
template <typename Bits>
Bits load(const std::byte* bytes, bool big_endian) {
  std::array<std::byte, sizeof(Bits)> element;
  std::memcpy(element.data(), bytes, sizeof(Bits));
  if (big_endian) std::ranges::reverse(element);
  return std::bit_cast<Bits>(element);
}

/// `value` makes a number of an element's bits.
template <typename Bits, typename Value>
std::size_t convert(const std::byte* bytes, std::size_t count, bool big_endian, float* out,
                    const Value& value) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = value(load<Bits>(bytes + i * sizeof(Bits), big_endian));
    if constexpr (std::is_same_v<decltype(number), const double>) {
      if (too_large_for_float(number)) return i;
    }
    out[i] = static_cast<float>(number);
  }
  return count;
}

template <typename Bits>
std::size_t convert_integers(NpyType type, const std::byte* bytes, std::size_t count, float* out) {
  if (type.kind == unsigned_integer)
    return convert<Bits>(bytes, count, type.big_endian, out, [](Bits bits) { return bits; });
  return convert<Bits>(bytes, count, type.big_endian, out,
                       [](Bits bits) { return static_cast<std::make_signed_t<Bits>>(bits); });
}

}  // namespace

std::optional<NpyType> npy_type(std::string_view spelling) {
  if (const auto type = find(kWords, spelling)) return type;
  if (spelling.empty()) return std::nullopt;
  const char order = spelling.front();
  if (order == '<' || order == '>' || order == '=' || order == '|') spelling.remove_prefix(1);
  std::optional<NpyType> type = find(kLetters, spelling);
  if (!type) type = sized_type(spelling);
  if (type) type->big_endian = order == '>' && type->size > 1;
  return type;
}

std::size_t to_floats(NpyType type, const std::byte* bytes, std::size_t count, float* out) {
  if (type.kind == boolean) {
    return convert<std::uint8_t>(bytes, count, false, out,
                                 [](std::uint8_t bits) { return bits != 0 ? 1.0F : 0.0F; });
  }
  switch (type.size) {
    case 1:
      return convert_integers<std::uint8_t>(type, bytes, count, out);
    case 2:
      if (type.kind == floating)
        return convert<std::uint16_t>(bytes, count, type.big_endian, out, half_to_float);
      return convert_integers<std::uint16_t>(type, bytes, count, out);
    case 4:
      if (type.kind == floating) {
        return convert<std::uint32_t>(bytes, count, type.big_endian, out,
                                      [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
      }
      return convert_integers<std::uint32_t>(type, bytes, count, out);
    default:
      if (type.kind == floating) {
        return convert<std::uint64_t>(bytes, count, type.big_endian, out,
                                      [](std::uint64_t bits) { return std::bit_cast<double>(bits); });
      }
      return convert_integers<std::uint64_t>(type, bytes, count, out);
  }
}

}  // namespace halotile
