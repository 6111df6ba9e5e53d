#include "formats/exif.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <set>
#include <string_view>

namespace halotile {
namespace {

using namespace std::string_view_literals;

constexpr std::uint16_t kOrientation = 0x0112;
constexpr std::size_t kHeader = 8;
constexpr std::size_t kEntry = 12;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Bytes of one element; 0 for a type that Pillow leaves aside.
std::size_t element_size(std::uint16_t type) {
  //                                    BYTE ASCII SHORT LONG RATIONAL SBYTE UNDEFINED SSHORT SLONG SRATIONAL
  constexpr std::array<std::uint8_t, 17> kSizes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8,
                                                // FLOAT DOUBLE IFD, two that are not, LONG8
                                                4, 8, 4, 0, 0, 8};
  return type < kSizes.size() ? kSizes[type] : 0;
}

/// Numbers in a block of known byte order. Whoever asks has checked that they lie inside.
class TiffBlock {
 public:
  TiffBlock(std::span<const std::byte> bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

  [[nodiscard]] std::uint64_t number(std::size_t at, std::size_t size) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value = value << 8 | std::to_integer<std::uint64_t>(bytes_[at + (big_endian_ ? i : size - 1 - i)]);
    return value;
  }

  /// The first element at `at`, as a number; 0 when the type holds none.
  [[nodiscard]] double value(std::size_t at, std::uint16_t type) const {
    const auto u32 = [&](std::size_t place) { return static_cast<std::uint32_t>(number(place, 4)); };
    const auto i32 = [&](std::size_t place) { return static_cast<std::int32_t>(u32(place)); };
    switch (type) {
      case 3:
        return static_cast<double>(number(at, 2));
      case 4:
      case 13:
        return u32(at);
      case 5:
        return ratio(u32(at), u32(at + 4));
      case 6:
        return static_cast<std::int8_t>(number(at, 1));
      case 8:
        return static_cast<std::int16_t>(number(at, 2));
      case 9:
        return i32(at);
      case 10:
        return ratio(i32(at), i32(at + 4));
      case 11:
        return static_cast<double>(std::bit_cast<float>(u32(at)));
      case 12:
        return std::bit_cast<double>(number(at, 8));
      case 16:
        return static_cast<double>(number(at, 8));
      default:
        return 0;  // BYTE too: Pillow makes bytes of it, which equal no number
    }
  }

 private:
  [[nodiscard]] static double ratio(double above, double below) { return below == 0 ? 0 : above / below; }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

/// Nothing when the block begins with no TIFF header. Byte order and the number 42 may disagree: seen in
/// files.
std::optional<TiffBlock> open_block(std::span<const std::byte> bytes) {
  const std::string_view text = text_of(bytes);
  if (bytes.size() < kHeader) return std::nullopt;
  for (const std::string_view start : {"MM\0*"sv, "MM*\0"sv, "MM\0+"sv, "II*\0"sv, "II\0*"sv}) {
    if (text.starts_with(start)) return TiffBlock(bytes, start[0] == 'M');
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> exif_orientation(std::span<const std::byte> exif) {
  constexpr std::string_view kPrefix = "Exif\0\0"sv;
  for (int i = 0; i < 2 && text_of(exif).starts_with(kPrefix); ++i) exif = exif.subspan(kPrefix.size());
  const std::optional<TiffBlock> block = open_block(exif);
  if (!block) return std::nullopt;
  std::size_t at = block->number(4, 4);
  if (at > block->size() || block->size() - at < 2) return std::nullopt;
  std::set<std::uint16_t> known;
  std::uint64_t data_bytes = 0;  // announced outside the directory
  const std::uint64_t entries = block->number(at, 2);
  at += 2;
  for (std::uint64_t entry = 0; entry < entries && block->size() - at >= kEntry; ++entry, at += kEntry) {
    const auto tag = static_cast<std::uint16_t>(block->number(at, 2));
    const auto type = static_cast<std::uint16_t>(block->number(at + 2, 2));
    const std::uint64_t bytes = block->number(at + 4, 4) * element_size(type);
    if (bytes == 0 || known.contains(tag)) continue;
    std::size_t place = at + 8;
    if (bytes > 4) {
      place = block->number(at + 8, 4);
      data_bytes += bytes;
      if (data_bytes > block->size()) continue;  // more than the block can hold
      if (place > block->size() || block->size() - place < bytes) return std::nullopt;  // cut short: no more
    }
    if (tag == kOrientation) return block->value(place, type);
    known.insert(tag);
  }
  return std::nullopt;
}

}  // namespace halotile
