#include "formats/image.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>
#include <string_view>
#include <utility>

#include "formats/image_codecs.hpp"
#include "formats/input_file.hpp"
#include "formats/orientation.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using namespace std::string_view_literals;

enum class Kind { jpeg, png, other };

/// First bytes by which kinds of files are known; `what` completes "... is".
struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view what;
};
constexpr std::array kOtherKinds{
    Magic{8, "WEBP"sv, "a WebP image"},
    Magic{0, "GIF8"sv, "a GIF image"},
    Magic{0, "BM"sv, "a BMP image"},
    Magic{0, "II*\0"sv, "a TIFF (or raw camera) image"},
    Magic{0, "MM\0*"sv, "a TIFF (or raw camera) image"},
    Magic{4, "ftypavif"sv, "an AVIF image"},
    Magic{4, "ftyphei"sv, "a HEIC image"},
    Magic{4, "ftyphev"sv, "a HEIC image"},
    Magic{4, "ftypmif1"sv, "a HEIF image"},
    Magic{4, "ftyp"sv, "a video (MP4 family)"},
    Magic{0, "\0\0\0\x0cjP  "sv, "a JPEG 2000 image"},
    Magic{0, "\xff\x0a"sv, "a JPEG XL image"},
    Magic{0, "\0\0\0\x0cJXL "sv, "a JPEG XL image"},
    Magic{0, "8BPS"sv, "a Photoshop image"},
    Magic{0, "%PDF"sv, "a PDF document"},
    Magic{0, "\x93NUMPY"sv, "a NumPy array"},
    Magic{0, "PK\x03\x04"sv, "a ZIP archive"},
    Magic{0, "\x1f\x8b"sv, "a gzip archive"},
};

constexpr std::size_t kMagicBytes = 32;

bool is_text(std::string_view bytes) {
  // Bytes from 0x80 on may be UTF-8; control characters other than white space are not text.
  return std::ranges::all_of(bytes, [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u >= 0x20 && u != 0x7f) || u == '\t' || u == '\n' || u == '\r' || u == '\f';
  });
}

/// JPEG or PNG; throws FormatError saying what else the file is.
Kind recognise(std::string_view start, const std::string& name) {
  if (start.empty()) throw FormatError(fmt::format("{} is empty; fetch or export the image again", name));
  if (start.starts_with("\xff\xd8\xff"sv)) return Kind::jpeg;
  if (start.starts_with("\x89PNG\r\n\x1a\n"sv)) return Kind::png;
  for (const Magic& magic : kOtherKinds) {
    if (start.size() > magic.offset && start.substr(magic.offset).starts_with(magic.bytes)) {
      throw FormatError(
          fmt::format("{} is {}, which is not supported; convert it to JPEG or PNG", name, magic.what));
    }
  }
  if (is_text(start))
    throw FormatError(fmt::format("{} is text, not an image; name JPEG or PNG files", name));
  std::string hex;
  for (const char c : start.substr(0, 8)) hex += fmt::format(" {:02x}", static_cast<unsigned char>(c));
  throw FormatError(
      fmt::format("{} is neither JPEG nor PNG (its first bytes are{}); name JPEG or PNG files", name, hex));
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Image make_image(std::int64_t height, std::int64_t width, const std::string& name) {
  if (height <= 0 || width <= 0) {
    throw FormatError(fmt::format("{} has no pixels ({}x{}); fetch or export it again", name, height, width));
  }
  if (height > kMaxPixels / width) {
    throw FormatError(
        fmt::format("{} announces {}x{} pixels, more than the limit of {} (2^30); make it smaller", name,
                    height, width, kMaxPixels));
  }
  return {height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3))};
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name) {
  const Kind kind = recognise(as_text(bytes.first(std::min(bytes.size(), kMagicBytes))), name);
  try {
    StoredImage stored = kind == Kind::jpeg ? decode_jpeg(bytes, name) : decode_png(bytes, name);
    return turn_upright(std::move(stored.image), stored.orientation);
  } catch (const std::bad_alloc&) {
    throw FormatError(fmt::format("{} needs more memory than there is; make the image smaller", name));
  }
}

Image read_image(const std::filesystem::path& path) {
  const InputFile file(path);
  // A huge file of another kind is recognised by its start, before it is read.
  std::array<std::byte, kMagicBytes> start{};
  const auto known = static_cast<std::size_t>(std::min<std::int64_t>(file.size(), kMagicBytes));
  file.read(0, std::span(start).first(known));
  recognise(as_text(std::span(start).first(known)), shown_path(path));
  return decode_image(read_all(file), shown_path(path));
}

}  // namespace halotile
