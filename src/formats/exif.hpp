// The one tag of EXIF that pixels depend on: how the camera was held.
// Source: TIFF 6.0, section 2 (header, directory, field types); BigTIFF's LONG8; CIPA DC-008 (Exif 2.32).
// Written files are often not quite so, and this reads them as Pillow 13 does, which people compare with.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace halotile {

/// The value of tag 0x0112 in the first directory of an EXIF block (with or without "Exif\0\0" before it,
/// once or twice; may be empty). Any integer, rational or floating type counts, of several values the first.
/// 0 when the tag is there with a type that holds no number; nothing when it is not there.
[[nodiscard]] std::optional<double> exif_orientation(std::span<const std::byte> exif);

}  // namespace halotile
