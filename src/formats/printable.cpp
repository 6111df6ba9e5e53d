#include "formats/printable.hpp"

#include <fmt/format.h>

#include <cstddef>

namespace halotile {
namespace {

unsigned byte_at(std::string_view text, std::size_t at) { return static_cast<unsigned char>(text[at]); }

/// Bytes of the character at the start of `text`; 0 when they are no UTF-8 (Unicode 15, table 3-7).
std::size_t character_size(std::string_view text) {
  const unsigned first = byte_at(text, 0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xc2 && first < 0xe0   ? 2
                           : first >= 0xe0 && first < 0xf0 ? 3
                           : first >= 0xf0 && first < 0xf5 ? 4
                                                           : 0;
  if (size == 0 || text.size() < size) return 0;
  unsigned low = 0x80;
  unsigned high = 0xbf;
  if (first == 0xe0) low = 0xa0;   // shorter ones are no other spelling
  if (first == 0xed) high = 0x9f;  // no surrogates
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;  // nothing beyond U+10FFFF
  for (std::size_t at = 1; at < size; ++at, low = 0x80, high = 0xbf) {
    if (byte_at(text, at) < low || byte_at(text, at) > high) return 0;
  }
  return size;
}

/// Of the character at the start of `text`, which is UTF-8.
bool is_control(std::string_view text) {
  const unsigned first = byte_at(text, 0);
  return first < 0x20 || first == 0x7f || (first == 0xc2 && byte_at(text, 1) < 0xa0);
}

std::string escaped(std::string_view text, bool keep_lines) {
  std::string result;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    const std::string_view character = text.substr(0, size == 0 ? 1 : size);
    if (size > 0 && (!is_control(text) || (keep_lines && text.front() == '\n'))) {
      result += character;
    } else {
      for (std::size_t at = 0; at < character.size(); ++at)
        result += fmt::format("\\x{:02x}", byte_at(character, at));
    }
    text.remove_prefix(character.size());
  }
  return result;
}

}  // namespace

std::string printable(std::string_view text) { return escaped(text, false); }

std::string printable_lines(std::string_view text) { return escaped(text, true); }

std::string shown_path(const std::filesystem::path& path) { return printable(path.string()); }

std::string shown_name(std::string_view name) {
  constexpr std::size_t kShown = 120;
  return "'" + printable(name.substr(0, kShown)) + (name.size() > kShown ? "...'" : "'");
}

}  // namespace halotile
