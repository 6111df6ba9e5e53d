#include "pipeline/experiment/config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"
#include "pipeline/network/yaml_reader.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using config::Key;
using config::last_name;
using Words = std::vector<std::string>;

const Words& all_names() {
  static const Words names = [] {
    Words all;
    for (const Key& key : config::keys()) all.emplace_back(key.name);
    return all;
  }();
  return names;
}

class ExperimentReader {
 public:
  ExperimentReader(const fs::path& file, const YAML::Node& root, Diagnostics diagnostics, bool with_axes)
      : folder_(file.parent_path()), diagnostics_(std::move(diagnostics)), with_axes_(with_axes) {
    experiment_.name = file.stem().string();
    YamlMap map(diagnostics_, root, "");
    read_section("", map);
    diagnostics_.throw_if_any();
    for (const auto& [key, value] : with_problems_) {
      if (const std::string problem = key->problem(experiment_); !problem.empty()) value.error(problem);
    }
    diagnostics_.throw_if_any();
  }

  [[nodiscard]] Experiment take() { return std::move(experiment_); }

 private:
  void read_section(std::string_view section, YamlMap& map) {
    const std::vector<const Key*> keys = config::keys_of(section);
    for (const Key* key : keys) check_alternatives(*key, map);
    for (const Key* key : keys) {
      if (const auto value = found(*key, map)) read(*key, *value, map);
    }
    map.finish(all_names());
  }

  static void check_alternatives(const Key& key, YamlMap& map) {
    const std::string name = last_name(key.name);
    const std::string other = last_name(key.together_with);
    if (!other.empty() && map.find(name) && !map.find(other)) {
      const auto [first, second] = std::minmax(name, other);
      map.error(fmt::format("has one of {} and {}; give both or neither", first, second));
    }
    Words there;
    Words examples;
    for (const Key* alternative : config::alternatives(key)) {
      examples.emplace_back(alternative->example);
      if (map.find(last_name(alternative->name))) there.push_back(last_name(alternative->name));
    }
    if (key.required && !examples.empty() && there.size() != 1) {
      map.error(fmt::format("needs exactly one of {}", fmt::join(examples, ", ")));
    } else if (there.size() > 1) {
      map.error(fmt::format("has both {}; keep one of the two", fmt::join(there, " and ")));
    }
  }

  static std::optional<YamlValue> found(const Key& key, YamlMap& map) {
    const bool alone = key.required && config::alternatives(key).empty();
    return alone ? map.require(last_name(key.name), std::string(key.example)) : map.find(last_name(key.name));
  }

  void read(const Key& key, const YamlValue& value, YamlMap& beside) {
    if (const auto* const section = std::get_if<config::Section>(&key.type)) {
      if (!section->word.empty() && value.is_word(section->word)) return;
      YamlMap map = value.map();
      read_section(key.name, map);
    } else if (std::holds_alternative<config::Axes>(key.type)) {
      if (with_axes_) experiment_.axes = read_axes(value, folder_);
    } else if (const auto json = config::read(key.type, value, folder_)) {
      key.set(experiment_, *json);
      if (!key.needs.empty() && *json != config::default_of(key) && !beside.find(last_name(key.needs)))
        value.error(std::string(key.unmet));
      if (key.problem != nullptr) with_problems_.emplace_back(&key, value);
    }
  }

  fs::path folder_;
  Diagnostics diagnostics_;
  bool with_axes_;
  Experiment experiment_;
  std::vector<std::pair<const Key*, YamlValue>> with_problems_;
};

}  // namespace

std::string to_string(const DeviceChoice& device) {
  if (!device.kind) return "auto";
  const std::string kind(word(*device.kind));
  return device.index ? fmt::format("{}:{}", kind, *device.index) : kind;
}

std::optional<DeviceChoice> device_choice(std::string_view text) {
  constexpr std::string_view numbered = "cuda:";
  if (text == "auto") return DeviceChoice{};
  if (const auto kind = choice_of<DeviceKind>(text)) return DeviceChoice{kind, {}};
  if (!text.starts_with(numbered)) return {};
  int index = 0;
  const char* const end = text.data() + text.size();
  const auto [next, failure] = std::from_chars(text.data() + numbered.size(), end, index);
  if (failure != std::errc() || next != end || index < 0 || index > 99) return {};
  return DeviceChoice{DeviceKind::cuda, index};
}

Experiment ConfigFile::values_of(const fs::path& file, const YAML::Node& root, Diagnostics diagnostics,
                                 bool with_axes) {
  return ExperimentReader(file, root, std::move(diagnostics), with_axes).take();
}

}  // namespace halotile
