// What follows from the table of keys.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "pipeline/experiment/config_keys.hpp"

namespace halotile {
namespace config {
namespace {

using Json = nlohmann::json;

std::string_view section_of(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? "" : name.substr(0, dot);
}

bool is_or_is_in(std::string_view name, std::string_view other) {
  return name == other || (name.starts_with(other) && name[other.size()] == '.');
}

std::string_view first_alternative(const Key& key) {
  if (!key.instead_of.empty()) return key.instead_of;
  return alternatives(key).empty() ? "" : key.name;
}

// The key that a name is or is in, of those that have alternatives.
const Key* alternative(std::string_view name) {
  for (const Key& key : keys()) {
    if (is_or_is_in(name, key.name) && !first_alternative(key).empty()) return &key;
  }
  return nullptr;
}

const Key* find(std::string_view name) {
  const auto found = std::find_if(keys().begin(), keys().end(), [&](const Key& k) { return k.name == name; });
  return found == keys().end() ? nullptr : &*found;
}

bool is_value(const Key& key) { return !std::holds_alternative<Section>(key.type); }

Json json_of(const Experiment& experiment, bool deciding_only) {
  Json json;
  for (const Key& key : keys()) {
    if (key.get == nullptr || (deciding_only && !key.decides_result)) continue;
    Json value = key.get(experiment);
    if (!value.is_null()) json[place_in_json(key.name)] = std::move(value);
  }
  return json;
}

// As the table shows it: in words, or the value.
std::string shown_default(const Key& key) {
  if (!key.fallback.empty()) return std::string(key.fallback);
  const Json value = default_of(key);
  if (value.is_null()) return {};
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::vector<const Key*> keys_of(std::string_view section) {
  std::vector<const Key*> found;
  for (const Key& key : keys()) {
    if (section_of(key.name) == section) found.push_back(&key);
  }
  return found;
}

std::vector<const Key*> alternatives(const Key& first) {
  std::vector<const Key*> group{&first};
  for (const Key& key : keys()) {
    if (key.instead_of == first.name) group.push_back(&key);
  }
  return group.size() == 1 ? std::vector<const Key*>{} : group;
}

std::string last_name(std::string_view name) { return std::string(name.substr(name.rfind('.') + 1)); }

Json::json_pointer place_in_json(std::string_view name) {
  std::string place = "/" + std::string(name);
  std::replace(place.begin(), place.end(), '.', '/');
  return Json::json_pointer(place);
}

Json default_of(const Key& key) { return key.get == nullptr ? Json() : key.get(Experiment{}); }

bool names_files(std::string_view name) {
  const Key* const key = find(name);
  return key != nullptr && std::holds_alternative<Path>(key->type);
}

bool names_paths(std::string_view name) {
  const Key* const key = find(name);
  return names_files(name) || (key != nullptr && std::holds_alternative<Folder>(key->type));
}

bool is_required(std::string_view name) {
  const Key* const key = find(name);
  return key != nullptr && key->required;
}

bool exclude_each_other(std::string_view name, std::string_view other) {
  const Key* const a = alternative(name);
  const Key* const b = alternative(other);
  return a != nullptr && b != nullptr && a != b && first_alternative(*a) == first_alternative(*b);
}

std::vector<std::string> dropped_by(std::string_view name) {
  std::vector<std::string> dropped;
  for (const Key& key : keys()) {
    const bool loses_what_it_needs = !key.needs.empty() && exclude_each_other(name, key.needs);
    if (exclude_each_other(name, key.name) || (loses_what_it_needs && !key.decides_result))
      dropped.emplace_back(key.name);
  }
  return dropped;
}

bool decides_result(std::string_view name) {
  bool known = false;
  for (const Key& key : keys()) {
    if (!is_value(key) || (!is_or_is_in(name, key.name) && !is_or_is_in(key.name, name))) continue;
    if (key.decides_result) return true;
    known = true;
  }
  return !known;
}

Json deciding_json(const Experiment& experiment) { return json_of(experiment, true); }

Experiment unpatched(Experiment experiment) {
  for (const Key& key : keys()) {
    const Json value = key.patching ? default_of(key) : Json();
    if (!value.is_null()) key.set(experiment, value);
  }
  return experiment;
}

bool is_unpatched(const Json& config) {
  return std::all_of(keys().begin(), keys().end(), [&](const Key& key) {
    const Json::json_pointer place = place_in_json(key.name);
    return !key.patching || !config.contains(place) || config[place] == default_of(key);
  });
}

Json without_patching(Json config) {
  for (const Key& key : keys()) {
    const Json::json_pointer place = place_in_json(key.name);
    if ((!key.patching && key.decides_result) || !config.contains(place)) continue;
    Json& section = config[place.parent_pointer()];
    section.erase(place.back());
    if (section.empty() && !place.parent_pointer().empty()) config.erase(std::string(section_of(key.name)));
  }
  return config;
}

std::string key_table() {
  std::string table = "| key | values | default | meaning |\n|---|---|---|---|\n";
  for (const Key& key : keys()) {
    if (!is_value(key)) continue;
    table +=
        fmt::format("| `{}` | {} | {} | {} |\n", key.name, told(key.type), shown_default(key), key.meaning);
  }
  return table;
}

Json key_list() {
  Json list = Json::array();
  for (const Key& key : keys()) {
    if (!is_value(key)) continue;
    list.push_back({{"key", key.name},
                    {"values", told(key.type)},
                    {"default", key.required ? Json() : default_of(key)},
                    {"meaning", key.meaning}});
  }
  return list;
}

}  // namespace config

nlohmann::json to_json(const Experiment& experiment) { return config::json_of(experiment, false); }

Experiment experiment_of(const nlohmann::json& json) {
  Experiment experiment;
  for (const config::Key& key : config::keys()) {
    const nlohmann::json::json_pointer place = config::place_in_json(key.name);
    if (key.set == nullptr) continue;
    if (json.contains(place)) {
      key.set(experiment, json[place]);
    } else if (!key.before.empty()) {
      key.set(experiment, std::string(key.before));
    }
  }
  return experiment;
}

}  // namespace halotile
