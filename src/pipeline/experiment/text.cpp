#include "pipeline/experiment/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace halotile {

Verbatim table(std::vector<std::vector<std::string>> rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
  }
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  const auto numeric = [&](std::size_t column) {
    return rows.size() > 1 && column < rows[1].size() && !rows[1][column].empty() &&
           std::string_view("0123456789-+.").find(rows[1][column].front()) != std::string_view::npos;
  };
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) line += "  ";
      line +=
          numeric(c) ? fmt::format("{:>{}}", row[c], widths[c]) : fmt::format("{:<{}}", row[c], widths[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return {text};
}

std::string json_text(const nlohmann::json& json) {
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  // The library leaves DEL and C1 (U+0080 to U+009F) as they are; they can only stand inside strings.
  std::string escaped;
  escaped.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const unsigned second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0U;
    if (byte == 0x7f) {
      escaped += "\\u007f";
    } else if (byte == 0xc2 && second >= 0x80 && second < 0xa0) {
      escaped += fmt::format("\\u{:04x}", second);
      ++at;
    } else {
      escaped += text[at];
    }
  }
  return escaped + "\n";
}

void print_json(const nlohmann::json& json) { print_text("{}", Verbatim{json_text(json)}); }

void print_error_text(const std::string& text) noexcept { std::fwrite(text.data(), 1, text.size(), stderr); }

Verbatim message_of(const std::exception& error) { return {printable_lines(error.what())}; }

void print_note(std::string_view note) noexcept {
  if (!note.empty()) print_error("halotile: {}\n", note);
}

std::string bytes_text(std::size_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes < std::size_t{1} << 20) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string flops_text(double flops) {
  static constexpr std::array<const char*, 5> units{"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"};
  std::size_t unit = 0;
  while (flops >= 1000 && unit + 1 < units.size()) {
    flops /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g} {}", flops, units[unit]);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string percent(double share) { return fmt::format("{:.1f}%", 100 * share); }

}  // namespace halotile
