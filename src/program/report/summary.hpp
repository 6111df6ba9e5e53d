// What a sweep shows, in plain words.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "program/report/contents.hpp"

namespace halotile {

struct Statement {
  std::string topic;  ///< best, patches, memory, halos, drift, checks, progress, disturbance
  std::string text;
};

struct Summary {
  std::vector<Statement> statements;
  // Places in StoreContents::points.
  std::optional<std::size_t> best;          ///< the fastest
  std::optional<std::size_t> best_patched;  ///< the fastest that is cut
  std::optional<std::size_t> least_memory;  ///< of maps and tiles in flight
};

/// The maps are cut: the point is not the whole one.
[[nodiscard]] bool is_patched(const PointRecord& point);

[[nodiscard]] Summary summarize(const Group& group, const StoreContents& contents, const Axes& axes);

/// "12.3 ms", "1.45 s".
[[nodiscard]] std::string milliseconds_text(double milliseconds);

}  // namespace halotile
