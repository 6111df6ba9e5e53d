// How a camera was held: EXIF orientation. Internal to src/formats.
//   1 upright              2 mirrored left-right
//   3 turned by 180        4 mirrored top-bottom
//   5 transposed           6 to be turned 90 clockwise
//   7 transposed across    8 to be turned 90 counter-clockwise
// Source: CIPA DC-008 (Exif 2.32), tag 0x0112.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "formats/image.hpp"

namespace halotile {

/// The orientation named in an EXIF block (see exif.hpp; may be empty) or, if it names none, in an XMP packet
/// (may be empty). 1 when there is none or it makes no sense.
[[nodiscard]] int find_orientation(std::span<const std::byte> exif, std::string_view xmp);

/// The image turned upright.
[[nodiscard]] Image turn_upright(Image image, int orientation);

}  // namespace halotile
