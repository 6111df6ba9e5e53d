// The report's page: one HTML file with everything in it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace halotile {

/// The build found the chart library; without it the page has its tables.
[[nodiscard]] bool has_chart_library();

/// The page that draws `data` (see data.hpp; `data["title"]` is its title).
[[nodiscard]] std::string report_page(const nlohmann::json& data);

}  // namespace halotile
