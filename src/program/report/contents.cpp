#include "program/report/contents.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

namespace halotile {
namespace {

using nlohmann::json;

std::string text_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() && value.size() == 2 && value[0].is_number())
    return value[0] == value[1] ? value[0].dump() : value[0].dump() + "x" + value[1].dump();
  return value.dump();
}

// The value at a dotted path; null when there is none.
json at_path(const json& config, std::string_view path) {
  const json* at = &config;
  while (!path.empty()) {
    const std::size_t dot = path.find('.');
    const auto found = at->is_object() ? at->find(std::string(path.substr(0, dot))) : at->end();
    if (!at->is_object() || found == at->end()) return nullptr;
    at = &*found;
    path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
  }
  return *at;
}

std::string all_when_zero(const json& value) { return value.is_null() || value == 0 ? "all" : value.dump(); }

std::string patch_of(const json& config) {
  const json grid = at_path(config, "patch.grid");
  if (grid.is_array() && grid.size() == 2) return fmt::format("grid {}x{}", grid[0].dump(), grid[1].dump());
  const json size = at_path(config, "patch.size");
  return size.is_null() ? "whole" : text_of(size);
}

std::string input_of(const json& config) {
  const json height = at_path(config, "input.height");
  return height.is_null() ? "the network's" : height.dump() + "x" + at_path(config, "input.width").dump();
}

std::string network_of(const json& config) {
  return std::filesystem::path(text_of(at_path(config, "model"))).stem().string();
}

struct KnownAxis {
  const char* key;
  const char* label;
  std::string (*value)(const json& config);
};

// In the order of the page's choices; the last two are the heat map's.
constexpr std::array known_axes{
    KnownAxis{"model", "network", network_of},
    KnownAxis{"input.height", "input", input_of},
    KnownAxis{"input.batch", "batch", [](const json& c) { return all_when_zero(at_path(c, "input.batch")); }},
    KnownAxis{"device", "device", [](const json& c) { return text_of(at_path(c, "device")); }},
    KnownAxis{"engine", "engine", [](const json& c) { return text_of(at_path(c, "engine")); }},
    KnownAxis{"precision", "precision", [](const json& c) { return text_of(at_path(c, "precision")); }},
    KnownAxis{"patch.stages", "stages", [](const json& c) { return text_of(at_path(c, "patch.stages")); }},
    KnownAxis{"patch.storage", "storage", [](const json& c) { return text_of(at_path(c, "patch.storage")); }},
    KnownAxis{"dispatch", "dispatch", [](const json& c) { return text_of(at_path(c, "dispatch")); }},
    KnownAxis{"sub_batch", "sub-batch", [](const json& c) { return all_when_zero(at_path(c, "sub_batch")); }},
    KnownAxis{"memory", "memory", [](const json& c) { return text_of(at_path(c, "memory")); }},
    KnownAxis{"patch.size", "patch", patch_of},
    KnownAxis{"streams", "streams", [](const json& c) { return text_of(at_path(c, "streams")); }},
};

// Keys that the known axes speak for.
const std::set<std::string>& covered_keys() {
  static const std::set<std::string> keys = [] {
    std::set<std::string> all{"patch.grid", "patch", "input.width"};
    for (const KnownAxis& axis : known_axes) all.insert(axis.key);
    return all;
  }();
  return keys;
}

std::string machine_of(const MachineRecord& machine) {
  const auto word = [&](const char* key) { return machine.provenance.value(key, std::string()); };
  return fmt::format("{} ({}{})", word("cpu"), word("git_commit").substr(0, 8),
                     machine.provenance.value("git_dirty", false) ? ", changed" : "");
}

std::optional<double> leading_number(const std::string& text) {
  const std::size_t begin = text.starts_with("grid ") ? 5 : 0;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

bool comes_before(const std::string& a, const std::string& b) {
  const auto rank = [](const std::string& text) {
    if (text == "whole" || text == "all") return 2;
    return leading_number(text) ? 0 : 1;
  };
  if (rank(a) != rank(b)) return rank(a) < rank(b);
  const std::optional<double> x = leading_number(a);
  const std::optional<double> y = leading_number(b);
  if (x && y && *x != *y) return *x < *y;
  return a < b;
}

// One column: an axis and each point's value.
struct Column {
  std::string key;
  std::string label;
  std::vector<std::string> values;
};

std::vector<Column> columns_of(const StoreContents& contents) {
  std::map<std::int64_t, std::string> machines;
  for (const MachineRecord& m : contents.machines) machines[m.id] = machine_of(m);
  std::set<std::string> others;
  for (const PointRecord& p : contents.points) {
    for (const auto& [key, value] : p.settings.items()) {
      if (!covered_keys().contains(key)) others.insert(key);
    }
  }
  std::vector<Column> columns;
  const auto add = [&](const std::string& key, const std::string& label, const auto& value) {
    Column column{key, label, {}};
    for (const PointRecord& p : contents.points) column.values.push_back(value(p));
    columns.push_back(std::move(column));
  };
  add("machine", "machine", [&](const PointRecord& p) { return machines[p.machine]; });
  for (const std::string& key : others)
    add(key, key, [&](const PointRecord& p) { return text_of(at_path(p.config, key)); });
  for (const KnownAxis& axis : known_axes)
    add(axis.key, axis.label, [&](const PointRecord& p) { return axis.value(p.config); });
  return columns;
}

// What the points of a group have in common.
std::string experiment_of(const PointRecord& point) {
  json config = point.config;
  for (const char* key : {"patch", "streams", "sub_batch", "dispatch", "output", "measure"})
    config.erase(key);
  return fmt::format("{} {}", point.machine, config.dump());
}

// The group's points have different values on the axis.
bool differ(const Axes& axes, const Group& group, std::size_t axis) {
  return std::any_of(group.points.begin(), group.points.end(), [&](std::size_t p) {
    return axes.places[p][axis] != axes.places[group.points.front()][axis];
  });
}

// One point stands for all: the unpatched run is the same for every point of a group.
const PointRecord* whole_of(const Group& group, const StoreContents& contents) {
  std::vector<PointRecord> points;
  for (const std::size_t p : group.points) points.push_back(contents.points[p]);
  const PointRecord* const whole = unpatched(points.front(), points);
  return whole == nullptr ? nullptr
                          : &contents.points[group.points[static_cast<std::size_t>(whole - points.data())]];
}

const Ceiling* ceiling_of_group(const Group& group, const StoreContents& contents) {
  for (const std::size_t p : group.points) {
    // A point that could not be run does not know its device.
    if (!contents.points[p].device.empty()) return ceiling_of(contents.points[p], contents.ceilings);
  }
  return nullptr;
}

}  // namespace

Axes make_axes(const StoreContents& contents) {
  Axes axes;
  axes.places.resize(contents.points.size());
  for (Column& column : columns_of(contents)) {
    std::vector<std::string> values = column.values;
    std::sort(values.begin(), values.end(), comes_before);
    values.erase(std::unique(values.begin(), values.end()), values.end());
    if (values.size() < 2 && column.key != "patch.size" && column.key != "streams") continue;
    for (std::size_t p = 0; p < column.values.size(); ++p) {
      const auto place = std::find(values.begin(), values.end(), column.values[p]);
      axes.places[p].push_back(static_cast<std::size_t>(place - values.begin()));
    }
    axes.all.push_back({std::move(column.key), std::move(column.label), std::move(values)});
  }
  return axes;
}

std::string setting_name(const Axes& axes, const Group& group, std::size_t point) {
  std::string patch;
  std::string rest;
  for (std::size_t a = 0; a < axes.all.size(); ++a) {
    const ChartAxis& axis = axes.all[a];
    const std::string& value = axis.values[axes.places[point][a]];
    if (axis.key == "patch.size") {
      if (value == "whole") {
        patch = "whole maps";
      } else if (value.starts_with("grid ")) {
        patch = "a " + value.substr(5) + " grid";
      } else {
        patch = "patches of " + value + " pixels";
      }
    } else if (axis.key == "streams") {
      patch += fmt::format(", {} stream{}", value, value == "1" ? "" : "s");
    } else if (differ(axes, group, a)) {
      rest += ", " + axis.label + " " + value;
    }
  }
  return patch + rest;
}

std::string group_name(const Axes& axes, const Group& group) {
  std::string name;
  for (std::size_t a = 0; a < axes.all.size(); ++a) {
    const ChartAxis& axis = axes.all[a];
    if (axis.values.size() < 2 || differ(axes, group, a)) continue;
    name += (name.empty() ? "" : ", ") + axis.label + " " + axis.values[axes.places[group.points.front()][a]];
  }
  return name;
}

std::vector<Group> make_groups(const StoreContents& contents) {
  std::map<std::string, std::size_t> found;
  std::vector<Group> groups;
  for (std::size_t p = 0; p < contents.points.size(); ++p) {
    const auto [at, is_new] = found.emplace(experiment_of(contents.points[p]), groups.size());
    if (is_new) groups.emplace_back();
    groups[at->second].points.push_back(p);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.points.size() > b.points.size(); });
  for (Group& group : groups) {
    group.whole = whole_of(group, contents);
    group.ceiling = ceiling_of_group(group, contents);
  }
  return groups;
}

}  // namespace halotile
