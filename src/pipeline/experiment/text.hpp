// Text for people: tables and numbers with units.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace halotile {

/// Rows of cells as aligned columns, the first row as the head; numbers (cells that begin with a digit, sign
/// or dot) to the right.
[[nodiscard]] std::string table(const std::vector<std::vector<std::string>>& rows);

/// Indented, with a line's end. File names that are no UTF-8 get replacement characters: JSON must be UTF-8.
[[nodiscard]] std::string json_text(const nlohmann::json& json);

void print_error_text(fmt::string_view format, fmt::format_args values) noexcept;

/// Text on standard error. What that does not take (a full disk, a closed terminal) is lost and nothing else:
/// whatever goes there goes through this.
template <typename... Values>
void print_error(fmt::format_string<const Values&...> format, const Values&... values) noexcept {
  print_error_text(format, fmt::make_format_args(values...));
}

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
