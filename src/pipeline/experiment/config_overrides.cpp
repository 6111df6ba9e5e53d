// Config files under overrides: the file's tree as they change it, and as it was.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "formats/home_path.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"
#include "pipeline/experiment/misplaced_file.hpp"
#include "pipeline/network/yaml_reader.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::pair<std::string, std::string> split_override(const std::string& word) {
  const auto equals = word.find('=');
  if (equals == 0 || equals == std::string::npos) {
    throw ConfigError(fmt::format(
        "command line '{}': is no override; write key=value, for example patch.size=32", printable(word)));
  }
  return {word.substr(0, equals), word.substr(equals + 1)};
}

Words split_path(const std::string& path, const std::string& word) {
  Words parts;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    if (end == begin)
      throw ConfigError(fmt::format("command line '{}': '{}' is no key", printable(word), printable(path)));
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// The value of a mapping's key; one that is not defined when there is none.
YAML::Node entry_of(const YAML::Node& map, const std::string& key) { return map[key]; }

// Paths on the command line are relative to the current folder, not to the config's.
YAML::Node absolute_paths(const YAML::Node& value) {
  if (value.IsMap() || (value.IsScalar() && value.Scalar().empty()))
    return value;  // whoever reads it says what is wrong
  if (value.IsScalar() && begins_at_home(value.Scalar())) return value;  // the reader knows the way
  if (value.IsScalar()) return YAML::Node(fs::absolute(value.Scalar()).string());
  YAML::Node list(YAML::NodeType::Sequence);
  for (const auto& entry : value)
    list.push_back(entry.IsScalar() ? absolute_paths(entry) : YAML::Clone(entry));
  return list;
}

void check_doubled_keys(Diagnostics& diagnostics, const YAML::Node& node, const std::string& path) {
  if (!node.IsMap()) return;
  const YamlMap check(diagnostics, node, path);
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) continue;
    check_doubled_keys(diagnostics, entry.second,
                       path.empty() ? entry.first.Scalar() : path + "." + entry.first.Scalar());
  }
}

}  // namespace

ConfigFile::ConfigFile(fs::path file) : file_(std::move(file)), root_(load_config(file_)) {
  Diagnostics diagnostics(shown_path(file_));
  check_doubled_keys(diagnostics, root_, "");  // before overrides hide them
  diagnostics.throw_if_any();
}

Experiment ConfigFile::experiment(std::span<const std::string> overrides) { return read(overrides, true); }

Experiment ConfigFile::point(std::span<const std::string> overrides) { return read(overrides, false); }

Experiment ConfigFile::read(std::span<const std::string> overrides, bool with_axes) {
  take_changes_back();
  Diagnostics diagnostics(shown_path(file_));
  for (const std::string& word : overrides) apply(word, diagnostics);
  return values_of(file_, root_, std::move(diagnostics), with_axes);
}

void ConfigFile::apply(const std::string& word, Diagnostics& diagnostics) {
  const auto [path, text] = split_override(word);
  YAML::Node value;
  try {
    value.reset(parse_yaml(text));
  } catch (const YAML::Exception& e) {
    throw ConfigError(fmt::format("command line '{}': the value {}", printable(word), e.msg));
  }
  if (text == "~" && config::names_paths(path)) value.reset(YAML::Node(text));  // YAML's null elsewhere
  // Nothing stands for the default; what is required has none.
  if (config::names_files(path) && (!value.IsNull() || config::is_required(path)))
    value.reset(absolute_paths(value));
  for (const std::string& other : config::dropped_by(path)) erase(other);
  YAML::Node section = root_;
  const Words parts = split_path(path, word);
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    const YAML::Node found = entry_of(section, parts[i]);
    const bool there = found && found.IsMap();
    const YAML::Node inner = there ? found : YAML::Node(YAML::NodeType::Map);
    if (!there) put(section, parts[i], inner);
    section.reset(inner);
  }
  put(section, parts.back(), value);
  diagnostics.overridden(path, word);
}

void ConfigFile::put(YAML::Node map, const std::string& key, const YAML::Node& value) {
  keep(map);
  map.remove(key);
  map.force_insert(key, value);
}

void ConfigFile::erase(const std::string& path) {
  const std::size_t dot = path.find('.');
  YAML::Node section = entry_of(root_, path.substr(0, dot));
  const std::string key = path.substr(dot + 1);
  if (!section || !section.IsMap() || !entry_of(section, key)) return;
  keep(section);
  section.remove(key);
}

void ConfigFile::keep(const YAML::Node& map) {
  changes_.push_back({map, {}});
  for (const auto& entry : map) changes_.back().entries.emplace_back(entry.first, entry.second);
}

// yaml-cpp's copies forget where values stand, so changes are made in the file's tree. Mappings are filled
// anew as a whole: their entries keep their order.
void ConfigFile::take_changes_back() {
  for (; !changes_.empty(); changes_.pop_back()) {
    Change& change = changes_.back();
    std::vector<YAML::Node> keys;
    for (const auto& entry : change.map) keys.push_back(entry.first);
    for (const YAML::Node& key : keys) change.map.remove(key);
    for (const auto& [key, value] : change.entries) change.map.force_insert(key, value);
  }
}

Experiment read_experiment(const fs::path& file, std::span<const std::string> overrides) {
  ConfigFile config(file);
  Experiment experiment = config.experiment(overrides);
  Words problems;
  for (const SweepAxis& axis : experiment.axes) {
    for (std::size_t step = 0; step < axis.steps.size(); ++step) {
      Words words(overrides.begin(), overrides.end());
      for (std::string& word : words_at(axis, step)) words.push_back(std::move(word));
      try {
        (void)config.point(words);
      } catch (const ConfigError& e) {
        problems.push_back(at_axis(e.what(), axis, step, file));
      }
    }
  }
  if (!problems.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems, "\n")));
  return experiment;
}

}  // namespace halotile
