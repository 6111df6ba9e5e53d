#include "program/command_explain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"
#include "pipeline/experiment/text.hpp"
#include "sweeping/ceiling.hpp"
#include "sweeping/explain.hpp"
#include "sweeping/measured_points.hpp"
#include "sweeping/point.hpp"
#include "sweeping/store.hpp"
#include "sweeping/sweep_plan.hpp"

namespace halotile {
namespace {

using nlohmann::json;

struct Explained {
  std::string title;
  const PointRecord* point = nullptr;
  const PointRecord* whole = nullptr;
  const Ceiling* ceiling = nullptr;
};

std::string value_text(const json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The point's value of a key: the sweep's, or the config's.
json value_of(const PointRecord& p, const std::string& key) {
  if (p.settings.contains(key)) return p.settings[key];
  json value = p.config;
  for (std::size_t begin = 0; begin <= key.size();) {
    if (!value.is_object()) return {};  // nothing stands below a plain value
    const std::size_t end = std::min(key.find('.', begin), key.size());
    value = value.value(key.substr(begin, end - begin), json());
    begin = end + 1;
  }
  return value;
}

// 64 also means [64, 64].
bool means(const json& value, const std::string& text) {
  std::string plain = text;
  std::erase(plain, ' ');
  if (value.is_null()) return false;
  if (value_text(value) == text || value.dump() == plain) return true;
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [&](const json& v) { return v.dump() == plain; });
}

std::vector<const PointRecord*> having(const std::vector<const PointRecord*>& points,
                                       const std::string& word) {
  const auto equals = word.find('=');
  if (equals == 0 || equals == std::string::npos) {
    throw ConfigError(fmt::format("'{}': is no setting; write key=value, for example patch.size=32", word));
  }
  const std::string key = word.substr(0, equals);
  std::vector<const PointRecord*> found;
  std::set<std::string> values;
  for (const PointRecord* p : points) {
    const json value = value_of(*p, key);
    if (means(value, word.substr(equals + 1))) found.push_back(p);
    if (!value.is_null()) values.insert(value_text(value));
  }
  if (found.empty()) {
    throw ConfigError(values.empty() ? fmt::format("'{}': the points have no setting '{}'", word, key)
                                     : fmt::format("'{}': no point has it; {} is one of {}", word, key,
                                                   fmt::join(values, ", ")));
  }
  return found;
}

std::string point_text(const PointRecord& p) {
  std::string text;
  for (const auto& [key, value] : p.settings.items())
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value_text(value));
  return text.empty() ? p.network : text;
}

// The points with these settings; of several the fastest and the slowest, of patched ones where there are any
// and nothing was asked for.
std::vector<const PointRecord*> choose(const std::vector<PointRecord>& all,
                                       const std::vector<std::string>& settings) {
  std::vector<const PointRecord*> points;
  for (const PointRecord& p : all) points.push_back(&p);
  for (const std::string& word : settings) points = having(points, word);
  const auto last = std::stable_partition(points.begin(), points.end(),
                                          [](const PointRecord* p) { return p->status == PointStatus::ok; });
  if (last == points.begin()) {
    throw ConfigError(points.empty() ? std::string("explain: the store has no points yet; see halotile sweep")
                                     : fmt::format("explain: no time was kept of {}: {}",
                                                   point_text(*points.front()), points.front()->message));
  }
  points.erase(last, points.end());
  if (settings.empty()) {
    std::vector<const PointRecord*> patched = points;
    std::erase_if(patched, [](const PointRecord* p) { return value_of(*p, "patch.size") == "whole"; });
    if (!patched.empty()) points = patched;
  }
  const auto [fastest, slowest] =
      std::minmax_element(points.begin(), points.end(), [](const PointRecord* a, const PointRecord* b) {
        return a->timing.median / static_cast<double>(std::max<std::int64_t>(1, a->images)) <
               b->timing.median / static_cast<double>(std::max<std::int64_t>(1, b->images));
      });
  if (fastest == slowest) return {*fastest};
  return {*fastest, *slowest};
}

void print(const Explained& e) {
  print_text("{}\n  {}\n", e.title, summarize(*e.point, e.whole));
  for (const Finding& f : explain(*e.point, e.whole, e.ceiling))
    print_text("  {:>5}  {}\n", f.cost > 0 ? percent(f.cost) : "-", f.text);
}

json to_json(const Explained& e) {
  json found{{"title", e.title},
             {"settings", e.point->settings},
             {"config_hash", e.point->config_hash},
             {"median_ms", e.point->timing.median},
             {"unpatched_ms", nullptr},
             {"summary", summarize(*e.point, e.whole)},
             {"findings", json::array()}};
  if (e.whole != nullptr) found["unpatched_ms"] = e.whole->timing.median;
  for (const Finding& f : explain(*e.point, e.whole, e.ceiling))
    found["findings"].push_back({{"topic", f.topic}, {"text", f.text}, {"cost", f.cost}});
  return found;
}

void tell(const std::vector<Explained>& explained, bool as_json) {
  if (as_json) {
    json all{{"command", "explain"}, {"points", json::array()}};
    for (const Explained& e : explained) all["points"].push_back(to_json(e));
    print_json(all);
    return;
  }
  for (const Explained& e : explained) {
    print(e);
    print_text("\n");
  }
  print_text(
      "(%: share of the streams' time that a finding explains, of a disturbance how far the quartiles are "
      "apart; shares may overlap)\n");
}

void explain_store(const std::filesystem::path& file, const std::vector<std::string>& settings,
                   bool as_json) {
  const Store store(file, Store::Mode::read_only);
  const std::vector<PointRecord> points = store.points();
  const std::vector<Ceiling> ceilings = store.ceilings();
  const std::vector<const PointRecord*> chosen = choose(points, settings);
  std::vector<Explained> explained;
  for (const PointRecord* p : chosen) {
    const char* const place = chosen.size() == 1 ? "" : explained.empty() ? "fastest: " : "slowest: ";
    explained.push_back({place + point_text(*p), p, unpatched(*p, points), ceiling_of(*p, ceilings)});
  }
  tell(explained, as_json);
}

PointRecord measured(const Experiment& experiment) {
  PointRecord point = measure_point(experiment);
  if (point.status != PointStatus::ok) {
    throw Error(fmt::format("{}: there is no time to explain: {}", experiment.name, point.message));
  }
  return point;
}

// The device's limits; without them the explanation lacks what needs them.
std::optional<Ceiling> limits(const Session& session) {
  try {
    return measure_ceiling(session);
  } catch (const UnsupportedError& error) {
    print_note(error.what());
    return std::nullopt;
  }
}

// A file that is not called a config may have been taken for a store.
Experiment config_of(const std::filesystem::path& file, const std::vector<std::string>& settings) {
  try {
    return read_experiment(file, settings);
  } catch (const ConfigError& error) {
    const std::filesystem::path extension = file.extension();
    if (extension == ".yaml" || extension == ".yml" || !std::filesystem::is_regular_file(file)) throw;
    throw ConfigError(
        fmt::format("{} is no store of halotile, nor a config that can be read ({}); name another file",
                    shown_path(file), error.what()));
  }
}

void explain_config(const Experiment& experiment, bool as_json) {
  const std::optional<Ceiling> ceiling = limits(Session(experiment));
  const Experiment plain = config::unpatched(experiment);
  const bool is_plain = to_json(plain) == to_json(experiment);
  const PointRecord point = measured(experiment);
  const PointRecord whole = is_plain ? point : measured(plain);
  tell({{experiment.name, &point, &whole, ceiling ? &*ceiling : nullptr}}, as_json);
}

}  // namespace

void CommandExplain::set_up(Options& options) {
  add_json(options);
  options.word("SOURCE", source_, "A store that a sweep filled, or a config that is measured now");
  options.words("SETTINGS", settings_,
                "key=value words that choose the store's point (without them the fastest and the slowest "
                "patched one), or replace keys of the config");
}

int CommandExplain::run() {
  if (is_store(source_)) {
    explain_store(source_, settings_, as_json());
  } else {
    explain_config(config_of(source_, settings_), as_json());
  }
  return exit_fine;
}

}  // namespace halotile
