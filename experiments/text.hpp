// Text for people: tables and numbers with units.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace halotile {

/// Rows of cells as aligned columns, the first row as the head; numbers (cells that begin with a digit, sign
/// or dot) to the right.
[[nodiscard]] std::string table(const std::vector<std::vector<std::string>>& rows);

/// Indented, with a line's end. File names that are no UTF-8 get replacement characters: JSON must be UTF-8.
[[nodiscard]] std::string json_text(const nlohmann::json& json);

/// One line on standard error; nothing for an empty note.
void print_note(const std::string& note);

/// "726.3 MiB".
[[nodiscard]] std::string bytes_text(std::size_t bytes);
/// "1.43 GFLOP".
[[nodiscard]] std::string flops_text(double flops);
/// "3 min 20 s".
[[nodiscard]] std::string duration_text(double seconds);
/// "12.5%".
[[nodiscard]] std::string percent(double share);

}  // namespace halotile
