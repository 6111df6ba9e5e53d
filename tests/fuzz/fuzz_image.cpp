// Any bytes as a JPEG or PNG file: decoded, or a FormatError.
#include "formats/image.hpp"
#include "memory_file.hpp"
#include "patching/error.hpp"

namespace {

/// A JPEG may truly announce millions of pixels in few bytes; decoding them would only slow the search. Looks
/// at every place that could be a frame header (marker 0xC0 to 0xCF).
bool is_huge_jpeg(const std::uint8_t* data, std::size_t size) {
  for (std::size_t i = 0; i + 9 <= size; ++i) {
    if (data[i] != 0xff || (data[i + 1] & 0xf0) != 0xc0) continue;
    const std::int64_t height = data[i + 5] * 256 + data[i + 6];
    const std::int64_t width = data[i + 7] * 256 + data[i + 8];
    if (height * width > 1 << 18) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  if (is_huge_jpeg(data, size)) return 0;
  try {
    const Image image = decode_image({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    if (static_cast<std::int64_t>(image.rgb.size()) != image.height * image.width * 3) std::abort();
  } catch (const FormatError& e) {
    fuzz::check_message(e);
  }
  return 0;
}
