// What chunks of a PNG file say beside the pixels: EXIF and XMP, wherever programs put them.
//   eXIf                                        an EXIF block (PNG third edition, 11.3.4.6)
//   text under "Raw profile type exif"          the same in hexadecimal, as ImageMagick writes it
//   text under "XML:com.adobe.xmp"              an XMP packet (XMP specification part 3, 1.1.5)
// Texts are tEXt, zTXt or iTXt chunks. libpng keeps the first of doubled chunks and may drop large ones;
// people compare with Pillow, for which the last one counts, before or behind the pixels, its checksum unread
// there.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace halotile {

struct PngTexts {
  std::vector<std::byte> exif;  ///< may begin with "Exif\0\0"; empty: none
  std::string xmp;              ///< empty: none
};

/// Of the bytes of a PNG file, from its signature on. What is malformed is left out; compressed texts of more
/// than 1 MiB, too.
[[nodiscard]] PngTexts read_png_texts(std::span<const std::byte> file);

}  // namespace halotile
