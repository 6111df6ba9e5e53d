// The report's data: one JSON object that the page draws from.
#pragma once

#include <nlohmann/json.hpp>

#include "program/report/contents.hpp"
#include "program/report/summary.hpp"

namespace halotile {

/// What belongs to the whole page: axes, groups with their summaries, points with findings, machines, sweeps,
/// drift, ceilings.
[[nodiscard]] nlohmann::json report_data(const StoreContents& contents, const Axes& axes,
                                         const std::vector<Group>& groups,
                                         const std::vector<Summary>& summaries);

}  // namespace halotile
