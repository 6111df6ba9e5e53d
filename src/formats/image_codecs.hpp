// What the image decoders share. Internal to src/formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "formats/image.hpp"

namespace halotile {

/// A decoded image as stored, and how it wants to be turned (1 to 8, see orientation.hpp).
struct StoredImage {
  Image image;
  int orientation = 1;
};

/// Throw FormatError; `name` is what errors call the file.
[[nodiscard]] StoredImage decode_jpeg(std::span<const std::byte> bytes, const std::string& name);
[[nodiscard]] StoredImage decode_png(std::span<const std::byte> bytes, const std::string& name);

/// A black image of that size. Throws FormatError when it is empty or has more than kMaxPixels pixels.
[[nodiscard]] Image make_image(std::int64_t height, std::int64_t width, const std::string& name);

}  // namespace halotile
