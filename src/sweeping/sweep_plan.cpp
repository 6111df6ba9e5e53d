#include "sweeping/sweep_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"
#include "sweeping/identity.hpp"

namespace halotile {
namespace {

using Words = std::vector<std::string>;

constexpr std::size_t most_points = 100'000;

struct CommandLineWords {
  Words overrides;
  std::vector<SweepAxis> axes;
};

CommandLineWords sorted_out(std::span<const std::string> words) {
  CommandLineWords result;
  Words problems;
  for (const std::string& word : words) {
    try {
      if (std::optional<SweepAxis> axis = axis_of_word(word)) {
        result.axes.push_back(std::move(*axis));
      } else {
        result.overrides.push_back(word);
      }
    } catch (const ConfigError& e) {
      problems.emplace_back(e.what());
    }
  }
  if (!problems.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems, "\n")));
  return result;
}

bool holds(const std::string& key, const std::string& other) { return other.starts_with(key + "."); }

// Takes a key out of the config's axes: the command line says what it is.
void drop(std::vector<SweepAxis>& axes, const std::string& key) {
  for (SweepAxis& axis : axes) {
    const auto said = [&](const std::string& other) {
      return other == key || config::exclude_each_other(other, key) || holds(key, other) || holds(other, key);
    };
    for (auto found = axis.keys.begin();
         (found = std::find_if(axis.keys.begin(), axis.keys.end(), said)) != axis.keys.end();) {
      const auto place = found - axis.keys.begin();
      axis.keys.erase(found);
      for (auto& step : axis.steps) step.erase(step.begin() + place);
    }
  }
  std::erase_if(axes, [](const SweepAxis& axis) { return axis.keys.empty(); });
}

std::vector<SweepAxis> merged(std::vector<SweepAxis> axes, const CommandLineWords& line) {
  for (const std::string& word : line.overrides) drop(axes, word.substr(0, word.find('=')));
  for (const SweepAxis& axis : line.axes) drop(axes, axis.keys[0]);
  axes.insert(axes.end(), line.axes.begin(), line.axes.end());
  return axes;
}

bool any_decides_result(const std::string& key, const nlohmann::json& value) {
  if (!value.is_object() || value.empty()) return config::decides_result(key);
  for (const auto& [inner, inner_value] : value.items()) {
    if (any_decides_result(key + "." + inner, inner_value)) return true;
  }
  return false;
}

// Points that differ in nothing that is measured would be one.
void check_that_points_differ(const SweepAxis& axis) {
  for (const auto& step : axis.steps) {
    for (std::size_t k = 0; k < axis.keys.size(); ++k) {
      if (any_decides_result(axis.keys[k], step[k].shown)) return;
    }
  }
  if (axis.steps.size() > 1) {
    throw ConfigError(fmt::format(
        "{} does not change what is measured, so it cannot be swept; give it one value (key=value)",
        fmt::join(axis.keys, ", ")));
  }
}

void check(const std::vector<SweepAxis>& axes) {
  if (axes.empty()) {
    throw ConfigError(
        "there is nothing to sweep; give the config a mapping `sweep`, or values with commas on the command "
        "line: patch.size=16,32,64 streams=1,2");
  }
  Words keys;
  for (const SweepAxis& axis : axes) keys.insert(keys.end(), axis.keys.begin(), axis.keys.end());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t j = i + 1; j < keys.size(); ++j) {
      if (keys[i] == keys[j])
        throw ConfigError(fmt::format("{} is swept twice; keep one of the two", keys[i]));
      if (config::exclude_each_other(keys[i], keys[j])) {
        throw ConfigError(
            fmt::format("{} and {} exclude each other; sweep one of the two", keys[i], keys[j]));
      }
      const bool first_holds = holds(keys[i], keys[j]);
      if (first_holds || holds(keys[j], keys[i])) {
        throw ConfigError(fmt::format("{} is a part of {}; sweep one of the two", keys[first_holds ? j : i],
                                      keys[first_holds ? i : j]));
      }
    }
  }
  for (const SweepAxis& axis : axes) check_that_points_differ(axis);
  double points = 1;
  for (const SweepAxis& axis : axes) points *= static_cast<double>(axis.steps.size());
  if (points > static_cast<double>(most_points))
    throw ConfigError(
        fmt::format("the sweep has {:.0f} points, more than {}; leave out values", points, most_points));
}

// All combinations of the axes' steps.
std::vector<std::vector<std::size_t>> product(const std::vector<SweepAxis>& axes) {
  std::vector<std::vector<std::size_t>> settings{{}};
  for (const SweepAxis& axis : axes) {
    std::vector<std::vector<std::size_t>> longer;
    for (const auto& setting : settings) {
      for (std::size_t step = 0; step < axis.steps.size(); ++step) {
        longer.push_back(setting);
        longer.back().push_back(step);
      }
    }
    settings = std::move(longer);
  }
  return settings;
}

nlohmann::json axes_json(const std::vector<SweepAxis>& axes) {
  nlohmann::json json = nlohmann::json::array();
  for (const SweepAxis& axis : axes) {
    nlohmann::json values = nlohmann::json::array();
    for (const auto& step : axis.steps) {
      values.push_back(nlohmann::json::array());
      for (const SweepAxisValue& value : step) values.back().push_back(value.shown);
    }
    json.push_back({{"keys", axis.keys}, {"values", values}});
  }
  return json;
}

class Planner {
 public:
  Planner(const std::filesystem::path& file, std::span<const std::string> words)
      : file_(file), line_(sorted_out(words)), config_(file), base_(config_.experiment(line_.overrides)) {
    axes_ = merged(base_.axes, line_);
    check(axes_);
    base_.axes.clear();
    plan_.name = base_.name;
    plan_.axes = axes_json(axes_);
    const std::vector<std::vector<std::size_t>> settings = product(axes_);
    for (const std::size_t i : interleaved(settings)) {
      throw_if_stopped();
      add(settings[i]);
    }
    if (!problems_.empty()) throw ConfigError(problem_text());
    put_reference_first();
  }

  [[nodiscard]] SweepPlan take() { return std::move(plan_); }

 private:
  void add(const std::vector<std::size_t>& steps) {
    Words words = line_.overrides;
    nlohmann::json settings = nlohmann::json::object();
    for (std::size_t a = 0; a < axes_.size(); ++a) {
      for (std::string& word : words_at(axes_[a], steps[a])) words.push_back(std::move(word));
      for (std::size_t k = 0; k < axes_[a].keys.size(); ++k)
        settings[axes_[a].keys[k]] = axes_[a].steps[steps[a]][k].shown;
    }
    try {
      Experiment experiment = config_.point(words);
      add(std::move(experiment), std::move(settings));
    } catch (const ConfigError& e) {
      std::istringstream lines(e.what());
      for (std::string line; std::getline(lines, line);) {
        for (std::size_t a = 0; a < axes_.size(); ++a) line = at_axis(line, axes_[a], steps[a], file_);
        problems_[line].push_back(settings.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      }
    }
  }

  void add(Experiment experiment, nlohmann::json settings) {
    experiment.axes.clear();
    const Identities::Identity identity = identities_.of(experiment);
    if (!known_.insert(identity.config).second) return;  // the same under another spelling
    plan_.points.push_back({std::move(experiment), std::move(settings), identity.config, identity.input});
  }

  void put_reference_first() {
    Experiment reference = config::unpatched(base_);
    const std::string hash = identities_.of(reference).config;
    const auto same = [&](const PlannedPoint& p) { return p.hash == hash; };
    if (std::none_of(plan_.points.begin(), plan_.points.end(), same)) {
      const nlohmann::json config = to_json(reference);
      nlohmann::json settings = nlohmann::json::object();
      for (const SweepAxis& axis : axes_) {
        for (const std::string& key : axis.keys)
          settings[key] = config.value(config::place_in_json(key), nlohmann::json());
      }
      add(std::move(reference), std::move(settings));
    }
    const auto found = std::find_if(plan_.points.begin(), plan_.points.end(), same);
    std::rotate(plan_.points.begin(), found, found + 1);
  }

  [[nodiscard]] std::string problem_text() const {
    Words lines;
    for (const auto& [message, settings] : problems_) {
      lines.push_back(
          fmt::format("{} (at {}{})", message, settings.front(),
                      settings.size() > 1 ? fmt::format(" and {} more", settings.size() - 1) : ""));
    }
    return fmt::format("{}", fmt::join(lines, "\n"));
  }

  const std::filesystem::path file_;
  const CommandLineWords line_;
  ConfigFile config_;
  Experiment base_;
  std::vector<SweepAxis> axes_;
  Identities identities_;
  std::set<std::string> known_;
  std::map<std::string, Words> problems_;  // messages, with the settings that lead to them
  SweepPlan plan_;
};

}  // namespace

SweepPlan plan_sweep(const std::filesystem::path& file, std::span<const std::string> words) {
  return Planner(file, words).take();
}

}  // namespace halotile
