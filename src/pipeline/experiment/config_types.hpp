// What keys of a config take: how such a value is read from YAML, and how it is told. What was read stands in
// JSON as to_json() has it, so that both ways into an experiment are one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "pipeline/network/yaml_reader.hpp"

namespace halotile::config {

/// A mapping with keys of its own; or a word that stands for all of their defaults.
struct Section {
  std::string word{};
};
/// A word stands for 0.
struct WholeNumber {
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::string word{};
};
/// One number, or several in order, the last for all that is left. A word stands for 0.
struct Sizes {
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::string word{};
};
struct Number {
  double low = 0;
  double high = 0;
};
/// Red, green and blue.
struct Channels {
  double low = 0;
  double high = 0;
};
/// One number for both, or [height, width]; or a word.
struct Extent {
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::string word{};
};
struct Choice {
  std::vector<std::string> words;
};
/// Of names; or a word.
struct Groups {
  std::vector<std::string> words;
};
struct Text {};
struct Device {};
/// To read; relative ones are meant from the config's folder.
struct Path {
  bool several = false;  ///< one, or a list of them
};
/// To write to; a relative one is meant from the current folder.
struct Folder {};
/// To write in output.directory.
struct FileName {
  std::string ending;
};
/// {name: name}
struct Names {};
/// {name: file name}
struct FileNames {
  std::string ending;
};
/// What `halotile sweep` varies; nothing of one experiment.
struct Axes {};

using Type = std::variant<Section, WholeNumber, Sizes, Number, Channels, Extent, Choice, Groups, Text, Device,
                          Path, Folder, FileName, Names, FileNames, Axes>;

/// The value, if it is of the type: what is wrong is reported. Nothing for sections and axes, which hold
/// others.
[[nodiscard]] std::optional<nlohmann::json> read(const Type& type, const YamlValue& value,
                                                 const std::filesystem::path& folder);

/// What the type allows, in Markdown.
[[nodiscard]] std::string told(const Type& type);

}  // namespace halotile::config
