// Any bytes as the chunks of a PNG file, and as an EXIF block: read, or passed over. Apart from fuzz_image,
// whose PNG files have to be decoded first, checksums and all.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "formats/exif.hpp"
#include "formats/orientation.hpp"
#include "formats/png_texts.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  (void)exif_orientation(bytes);
  const PngTexts texts = read_png_texts(bytes);
  const int orientation = find_orientation(texts.exif, texts.xmp);
  if (orientation < 1 || orientation > 8) std::abort();
  return 0;
}
