// Text for people: tables and numbers with units.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <exception>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "formats/printable.hpp"

namespace halotile {

/// Text whose line feeds and colours are meant, where a name's would be escaped.
struct Verbatim {
  std::string text;
};

/// Rows of cells, made printable, as aligned columns, the first row as the head; numbers (cells that begin
/// with a digit, sign or dot) to the right.
[[nodiscard]] Verbatim table(std::vector<std::vector<std::string>> rows);

/// Indented, with a line's end. File names that are no UTF-8 get replacement characters: JSON must be UTF-8.
/// No control characters stand in it but as escapes.
[[nodiscard]] std::string json_text(const nlohmann::json& json);

/// A value as it is printed: text printable, so that no name commands the terminal; all else as it is.
template <typename Value>
[[nodiscard]] decltype(auto) shown_value(const Value& value) {
  if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
    return printable(value);
  } else {
    return (value);
  }
}

/// Text on standard output: whatever goes there goes through this.
template <typename... Values>
void print_text(fmt::format_string<const Values&...> format, const Values&... values) {
  [&](const auto&... shown) { fmt::vprint(format, fmt::make_format_args(shown...)); }(shown_value(values)...);
}

/// json_text() on standard output.
void print_json(const nlohmann::json& json);

void print_error_text(const std::string& text) noexcept;

/// Text on standard error. What that does not take (a full disk, a closed terminal) is lost and nothing else:
/// whatever goes there goes through this.
template <typename... Values>
void print_error(fmt::format_string<const Values&...> format, const Values&... values) noexcept {
  try {
    [&](const auto&... shown) {
      print_error_text(fmt::vformat(format, fmt::make_format_args(shown...)));
    }(shown_value(values)...);
  } catch (...) {  // no memory for the text
  }
}

/// What an error says, on as many lines as it has.
[[nodiscard]] Verbatim message_of(const std::exception& error);

/// One line on standard error; nothing for an empty note.
void print_note(std::string_view note) noexcept;

/// "726.3 MiB".
[[nodiscard]] std::string bytes_text(std::size_t bytes);
/// "1.43 GFLOP".
[[nodiscard]] std::string flops_text(double flops);
/// "3 min 20 s".
[[nodiscard]] std::string duration_text(double seconds);
/// "12.5%".
[[nodiscard]] std::string percent(double share);

}  // namespace halotile

template <>
struct fmt::formatter<halotile::Verbatim> : fmt::formatter<std::string> {
  auto format(const halotile::Verbatim& verbatim, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(verbatim.text, context);
  }
};
