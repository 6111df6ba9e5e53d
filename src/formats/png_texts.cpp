#include "formats/png_texts.hpp"

#include <zlib.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

namespace halotile {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kSignature = 8;
constexpr std::size_t kMaxText = std::size_t{1} << 20;   // unpacked, one chunk
constexpr std::size_t kMaxTexts = std::size_t{1} << 26;  // unpacked, all chunks of a file
constexpr std::string_view kRawExif = "Raw profile type exif";
constexpr std::string_view kXmp = "XML:com.adobe.xmp";

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// The part before the next zero byte, taken off `rest` with that byte; nothing when there is none.
std::optional<std::string_view> take_word(std::string_view& rest) {
  const std::size_t end = rest.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return word;
}

/// zlib's stream, as far as it goes; nothing when it is damaged or larger than kMaxText.
std::optional<std::string> unpack(std::string_view packed) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return std::nullopt;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));  // only read
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text(kMaxText + 1, '\0');
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  const int status = inflate(&stream, Z_SYNC_FLUSH);
  text.resize(stream.total_out);
  inflateEnd(&stream);
  const bool sound = status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR;
  return sound && text.size() <= kMaxText ? std::optional(std::move(text)) : std::nullopt;
}

/// The bytes that ImageMagick wrote as lines of hexadecimal digits behind three lines of head; empty when
/// they are no such digits.
std::vector<std::byte> raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::vector<std::byte> bytes;
  int high = -1;
  for (const char c : text) {
    if (" \t\n\r\f\v"sv.find(c) != std::string_view::npos) continue;
    const int value = digit(c);
    if (value < 0) return {};
    if (high < 0) {
      high = value;
    } else {
      bytes.push_back(static_cast<std::byte>(high * 16 + value));
      high = -1;
    }
  }
  return high < 0 ? bytes : std::vector<std::byte>();
}

class TextReader {
 public:
  /// Takes one chunk; false when the rest belongs to a later frame of an animation.
  bool take(std::string_view name, std::string_view body) {
    if (name == "IDAT") behind_pixels_ = true;
    if (name == "acTL") animated_ = true;
    if (name == "fcTL" && behind_pixels_ && animated_) return false;
    if (name == "eXIf") exif_ = bytes_of(body);
    if (name == "tEXt" || name == "zTXt" || name == "iTXt") take_text(name, body);
    return true;
  }

  [[nodiscard]] PngTexts texts() && {
    return {exif_ ? std::move(*exif_) : raw_profile(raw_exif_), std::move(xmp_)};
  }

 private:
  void take_text(std::string_view name, std::string_view rest) {
    const std::optional<std::string_view> key = take_word(rest);
    if (!key) return;
    if (name == "tEXt" && *key == "exif") exif_ = bytes_of(rest);  // so Pillow reads it
    if (*key != kRawExif && *key != kXmp) return;
    std::optional<std::string> text = text_of(name, rest);
    if (text) (*key == kXmp ? xmp_ : raw_exif_) = std::move(*text);
  }

  /// What stands behind the key; nothing when the chunk counts as not there.
  std::optional<std::string> text_of(std::string_view name, std::string_view rest) {
    if (name == "tEXt") return std::string(rest);
    if (name == "zTXt") {
      if (rest.empty()) return "";
      if (rest.front() != 0) return std::nullopt;
      return unpacked(rest.substr(1)).value_or("");
    }
    if (rest.size() < 2) return std::nullopt;
    const bool packed = rest[0] != 0;
    const char method = rest[1];
    rest.remove_prefix(2);
    if (!take_word(rest) || !take_word(rest)) return std::nullopt;  // language, the key in that language
    if (!packed) return std::string(rest);
    return method == 0 ? unpacked(rest) : std::nullopt;
  }

  std::optional<std::string> unpacked(std::string_view packed) {
    if (unpacked_ >= kMaxTexts) return std::nullopt;
    std::optional<std::string> text = unpack(packed);
    unpacked_ += text ? text->size() : kMaxText;
    return text;
  }

  bool behind_pixels_ = false;
  bool animated_ = false;
  std::size_t unpacked_ = 0;
  std::optional<std::vector<std::byte>> exif_;
  std::string raw_exif_;
  std::string xmp_;
};

}  // namespace

PngTexts read_png_texts(std::span<const std::byte> file) {
  constexpr std::size_t kAround = 12;  // length, name and checksum of a chunk
  std::string_view rest(reinterpret_cast<const char*>(file.data()), file.size());
  rest.remove_prefix(std::min(kSignature, rest.size()));
  TextReader reader;
  while (rest.size() >= kAround) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length * 256 + static_cast<unsigned char>(rest[i]);
    const std::string_view name = rest.substr(4, 4);
    if (length > rest.size() - kAround || name == "IEND") break;
    if (!reader.take(name, rest.substr(8, length))) break;
    rest.remove_prefix(length + kAround);
  }
  return std::move(reader).texts();
}

}  // namespace halotile
