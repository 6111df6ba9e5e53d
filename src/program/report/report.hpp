// From a store to the page, and what the page says as text and as JSON.
#pragma once

#include <filesystem>

#include "program/report/summary.hpp"

namespace halotile {

struct Report {
  StoreContents contents;
  Axes axes;
  std::vector<Group> groups;       ///< by the number of their points, the largest first
  std::vector<Summary> summaries;  ///< of the groups
};

/// Throws StoreError when the store cannot be read or has no points.
[[nodiscard]] Report read_report(const std::filesystem::path& store);

/// Writes the page; a trace's timeline is drawn on it, where there is one (empty: none). Throws FormatError
/// for a file that cannot be written or is no trace.
void write_report(const Report& report, const std::filesystem::path& store,
                  const std::filesystem::path& trace, const std::filesystem::path& output);

void print_report(const Report& report, const std::filesystem::path& output);

[[nodiscard]] nlohmann::json report_json(const Report& report, const std::filesystem::path& output);

}  // namespace halotile
