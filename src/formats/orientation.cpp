#include "formats/orientation.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "formats/exif.hpp"

namespace halotile {
namespace {

/// XMP writes it as an attribute, tiff:Orientation="6", or as an element, <tiff:Orientation>6</...>.
std::optional<double> xmp_orientation(std::string_view xmp) {
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
  std::optional<double> named = exif_orientation(exif);
  if (!named) named = xmp_orientation(xmp);
  for (int orientation = 2; named && orientation <= 8; ++orientation) {
    if (*named == orientation) return orientation;
  }
  return 1;
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
