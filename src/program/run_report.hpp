// What came of a run, for people and as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "pipeline/experiment/run.hpp"

namespace halotile {

/// What `NAME.run.json` holds, but for the files that were written beside it.
[[nodiscard]] nlohmann::json run_json(const RunResult& result, const Session& session);

/// Predictions and times on standard output.
void print_run(const RunResult& result, const Session& session);

}  // namespace halotile
