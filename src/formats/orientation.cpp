#include "formats/orientation.hpp"

#include <libexif/exif-data.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace halotile {
namespace {

struct ExifDelete {
  void operator()(ExifData* data) const { exif_data_unref(data); }
};

/// The tag's value, sensible or not; nothing when the tag is missing or no single whole number.
std::optional<int> exif_orientation(std::span<const std::byte> exif) {
  const std::unique_ptr<ExifData, ExifDelete> data(exif_data_new());
  if (!data || exif.empty()) return std::nullopt;
  // By default libexif repairs what it reads and may invent tags.
  exif_data_unset_option(data.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
  std::vector<std::byte> block;  // libexif wants the prefix that JPEG puts before the block
  for (const char c : std::array{'E', 'x', 'i', 'f', '\0', '\0'}) block.push_back(static_cast<std::byte>(c));
  block.insert(block.end(), exif.begin(), exif.end());
  exif_data_load_data(data.get(), reinterpret_cast<const unsigned char*>(block.data()),
                      static_cast<unsigned>(block.size()));

  const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr || entry->components != 1) return std::nullopt;
  if (entry->size < exif_format_get_size(entry->format)) return std::nullopt;
  const ExifByteOrder order = exif_data_get_byte_order(data.get());
  switch (entry->format) {
    case EXIF_FORMAT_BYTE:
      return entry->data[0];
    case EXIF_FORMAT_SHORT:
      return exif_get_short(entry->data, order);
    case EXIF_FORMAT_LONG:
      return static_cast<int>(std::min<ExifLong>(exif_get_long(entry->data, order), 0xffff));
    default:
      return std::nullopt;
  }
}

/// XMP writes it as an attribute, tiff:Orientation="6", or as an element, <tiff:Orientation>6</...>.
std::optional<int> xmp_orientation(std::string_view xmp) {
  constexpr std::string_view kTag = "tiff:Orientation";
  for (std::size_t at = xmp.find(kTag); at != std::string_view::npos; at = xmp.find(kTag, at + 1)) {
    std::string_view rest = xmp.substr(at + kTag.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') return rest.front() - '0';
  }
  return std::nullopt;
}

}  // namespace

int find_orientation(std::span<const std::byte> exif, std::string_view xmp) {
  std::optional<int> orientation = exif_orientation(exif);
  if (!orientation) orientation = xmp_orientation(xmp);
  return orientation && *orientation >= 1 && *orientation <= 8 ? *orientation : 1;
}

Image turn_upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  // Orientations 5 to 8 exchange rows and columns; in terms of the stored image, walking the upright image's
  // row or column goes forward or backward.
  const bool exchanged = orientation >= 5;
  const bool rows_backward = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const bool cols_backward = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;

  Image upright{image.height, image.width, std::vector<std::uint8_t>(image.rgb.size())};
  if (exchanged) std::swap(upright.height, upright.width);
  const std::int64_t stored_row = image.width * 3;
  const std::int64_t row_step = exchanged ? 3 : stored_row;
  const std::int64_t col_step = exchanged ? stored_row : 3;
  // Square blocks keep both images' lines in the cache when rows become columns.
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t top = 0; top < upright.height; top += kBlock) {
    for (std::int64_t left = 0; left < upright.width; left += kBlock) {
      const std::int64_t right = std::min(left + kBlock, upright.width);
      for (std::int64_t row = top; row < std::min(top + kBlock, upright.height); ++row) {
        const std::int64_t from_row = rows_backward ? upright.height - 1 - row : row;
        std::uint8_t* out = upright.rgb.data() + (row * upright.width + left) * 3;
        for (std::int64_t col = left; col < right; ++col, out += 3) {
          const std::int64_t from_col = cols_backward ? upright.width - 1 - col : col;
          std::copy_n(image.rgb.data() + from_row * row_step + from_col * col_step, 3, out);
        }
      }
    }
  }
  return upright;
}

}  // namespace halotile
