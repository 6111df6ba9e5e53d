// The points of a sweep: what its axes span, each resolved and named, in the order of measuring.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "pipeline/experiment/config.hpp"

namespace halotile {

struct PlannedPoint {
  Experiment experiment;
  nlohmann::json settings;  ///< the axes' values
  std::string hash;         ///< PointRecord::config_hash
  std::string input_hash;   ///< of files' contents, or of what random input depends on
};

struct SweepPlan {
  std::string name;
  nlohmann::json axes;               ///< as SweepRecord has them
  std::vector<PlannedPoint> points;  ///< all different; the first is the reference point
};

/// Reads the config and the command line's words: overrides, and axes, which replace the config's of the same
/// key. The reference point, which is unpatched and has one stream, is added when the axes do not hold it.
/// Throws ConfigError with every problem of every point, naming its settings.
[[nodiscard]] SweepPlan plan_sweep(const std::filesystem::path& file, std::span<const std::string> words);

/// A permutation of settings (one list of step numbers for each, a number an axis) that depends on them
/// alone: neighbours differ in as many axes as possible, so that a machine that drifts does not favour any
/// setting.
[[nodiscard]] std::vector<std::size_t> interleaved(const std::vector<std::vector<std::size_t>>& settings);

}  // namespace halotile
