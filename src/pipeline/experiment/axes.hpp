// What a sweep varies: keys of a config with the values they take.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/network/yaml_reader.hpp"

namespace halotile {

/// One value of a key.
struct SweepAxisValue {
  std::string text;      ///< YAML, as an override takes it
  nlohmann::json shown;  ///< as results show it: 64, "whole", [2, 2]
};

/// Keys that change together (most axes have one), and at each step a value for each.
struct SweepAxis {
  std::vector<std::string> keys;
  std::vector<std::vector<SweepAxisValue>> steps;
  bool from_file = true;  ///< or from the command line
};

/// The axes of a config's `sweep` mapping; what is wrong is reported. Paths of files become absolute,
/// relative ones being meant from `folder`.
[[nodiscard]] std::vector<SweepAxis> read_axes(const YamlValue& sweep, const std::filesystem::path& folder);

/// The axis of a command-line word, "streams=1,2,4" or "streams=range(1, 9)"; nothing for a word with one
/// value. Commas inside brackets, braces and quotes do not separate. Throws ConfigError.
[[nodiscard]] std::optional<SweepAxis> axis_of_word(const std::string& word);

/// The words that set these keys at a step: "patch.size=64".
[[nodiscard]] std::vector<std::string> words_at(const SweepAxis& axis, std::size_t step);

/// The message of an error that such words led to, with the file's `sweep` as the place of those that stand
/// there.
[[nodiscard]] std::string at_axis(std::string message, const SweepAxis& axis, std::size_t step,
                                  const std::filesystem::path& file);

}  // namespace halotile
