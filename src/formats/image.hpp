// JPEG and PNG files as 8-bit RGB, equal bit for bit to Pillow 13's
//   ImageOps.exif_transpose(Image.open(path)).convert("RGB")
// (libjpeg-turbo's accurate integer IDCT and fancy upsampling; orientation 1 to 8 from EXIF, else from XMP;
// alpha dropped, palettes and CMYK resolved, no colour management). One exception: of 16-bit grey PNGs we
// keep the high byte, as Pillow does for 16-bit colour; Pillow clips such greys at 255, which turns
// photographs white.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "patching/geometry.hpp"

namespace halotile {

/// Interleaved 8-bit RGB: rgb[(row * width + column) * 3 + channel], no gaps between rows.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> rgb;

  [[nodiscard]] Extent2 extent() const { return {height, width}; }
};

/// Images of more pixels are refused: a small file can announce a huge image.
inline constexpr std::int64_t kMaxPixels = std::int64_t{1} << 30;

/// Reads a JPEG or PNG file; its first bytes decide which, not its name. Throws FormatError when the file
/// cannot be read, is of another kind, is damaged or cut short, or has more than kMaxPixels pixels.
[[nodiscard]] Image read_image(const std::filesystem::path& path);

/// The same for a file's bytes in memory; `name` is what errors call it.
[[nodiscard]] Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// The image as a PNG file's bytes. Throws FormatError when it is empty or too large for the format.
[[nodiscard]] std::vector<std::byte> encode_png(const Image& image);

}  // namespace halotile
