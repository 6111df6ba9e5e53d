// One run's timeline from a trace file, as small as a picture of it needs.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace halotile {

/// The streams' tracks of a trace that measure.trace wrote. At most 20,000 slices, the longest; "left_out"
/// counts the others. Throws FormatError for what is no such trace.
[[nodiscard]] nlohmann::json read_timeline(const std::filesystem::path& trace);

}  // namespace halotile
