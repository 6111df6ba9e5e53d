#include "sweeping/measured_points.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "sweeping/store.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using MachineFilter = std::function<bool(const MachineRecord&)>;

bool is_run(const fs::path& file) { return file.string().ends_with(".run.json"); }

std::vector<fs::path> files_of(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw ConfigError(fmt::format(
        "{}: there is no such file; name a result of `halotile run` (*.run.json), a store, a folder of them, "
        "or a commit with --store",
        shown_path(path)));
  }
  if (!fs::is_directory(status)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    std::error_code unknown_kind;
    if (entry.is_regular_file(unknown_kind) && (is_run(entry.path()) || is_store(entry.path())))
      files.push_back(entry.path());
  }
  if (error)
    throw FormatError(fmt::format("{}: cannot read this folder ({})", shown_path(path), error.message()));
  if (files.empty()) {
    throw ConfigError(
        fmt::format("{}: this folder holds neither a result of `halotile run` (*.run.json) nor a store",
                    shown_path(path)));
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string short_commit(const json& provenance) {
  return provenance.value("git_commit", "unknown").substr(0, 9) +
         (provenance.value("git_dirty", false) ? "-dirty" : "");
}

std::string build_of(const json& provenance) {
  return fmt::format("commit {} on {}", short_commit(provenance), provenance.value("cpu", "an unknown CPU"));
}

std::string settings_text(const json& settings) {
  std::string text;
  for (const auto& [key, value] : settings.items()) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key,
                        value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

// What a sweep would vary first, where it is not the default.
std::string short_name(const json& config) {
  const json usual{{"engine", "auto"}, {"dispatch", "streams"}, {"stages", "per_conv"}, {"storage", "view"}};
  json shown;
  const auto show = [&](const json& from, const char* key, const std::string& prefix) {
    if (from.contains(key) && from[key] != usual.value(key, json())) shown[prefix + key] = from[key];
  };
  for (const char* key : {"engine", "precision", "dispatch", "streams"}) show(config, key, "");
  for (const char* key : {"size", "grid", "stages", "storage"})
    show(config.value("patch", json::object()), key, "patch.");
  return settings_text(shown);
}

// A resolved config without what does not change a run's time: outputs, and how long is measured.
json comparable_config(json config) {
  config.erase("output");
  if (config.contains("measure")) {
    for (const char* key : {"warmup", "min_runs", "max_seconds", "trace"}) config["measure"].erase(key);
  }
  return config;
}

class Collector {
 public:
  void add_run(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    const json run = json::parse(in, nullptr, false);
    try {
      if (run.value("command", "") != "run") not_a_run(file);
      const json& provenance = run.at("provenance");
      MeasuredRound round;
      round.samples = run.at("samples_ms").get<std::vector<double>>();
      round.logits_hash = run.value("logits_hash", "");
      round.disturbances = run.value("disturbances", std::vector<std::string>{});
      const json& config = provenance.at("config");
      check(round, file);
      add_build(provenance);
      MeasuredPoint& point = point_of(
          {run.value("config_hash", ""), config_key(config, provenance.value("weights_hash", "")), ""},
          short_name(config));
      point.rounds.push_back(std::move(round));
    } catch (const json::exception&) {
      not_a_run(file);
    }
  }

  // `wanted` chooses among the store's builds.
  void add_store(const fs::path& file, const MachineFilter& wanted) {
    const Store store(file, Store::Mode::read_only);
    std::map<std::int64_t, MachineRecord> machines;
    for (const MachineRecord& m : store.machines()) {
      if (wanted(m)) machines.emplace(m.id, m);
    }
    std::map<std::int64_t, std::vector<double>> drift;
    for (const DriftSample& d : store.drift()) {
      if (d.median_ms > 0) drift[d.sweep].push_back(std::log(d.median_ms));
    }
    std::map<std::string, std::int64_t> seen;
    for (const PointRecord& p : store.points()) {
      const auto machine = machines.find(p.machine);
      if (machine == machines.end()) continue;
      if (const auto [other, is_new] = seen.emplace(p.config_hash, p.machine);
          !is_new && other->second != p.machine) {
        throw ConfigError(fmt::format(
            "{}: the same point was measured by several builds ({}; {}); choose with --store {} and a commit",
            shown_path(file), build_of(machines.at(other->second).provenance),
            build_of(machine->second.provenance), shown_path(file)));
      }
      add_build(machine->second.provenance);
      add_point(p, drift[p.sweep]);
    }
  }

  [[nodiscard]] MeasuredSide take() { return std::move(side_); }

 private:
  [[noreturn]] static void not_a_run(const fs::path& file) {
    throw FormatError(fmt::format(
        "{}: is neither a store nor a whole result of `halotile run` (with samples_ms and provenance); make "
        "it again",
        shown_path(file)));
  }

  static void check(const MeasuredRound& round, const fs::path& file) {
    const bool fine =
        !round.samples.empty() && std::all_of(round.samples.begin(), round.samples.end(),
                                              [](double x) { return std::isfinite(x) && x > 0; });
    if (!fine) not_a_run(file);
  }

  static std::string config_key(const json& config, const std::string& weights) {
    return comparable_config(config).dump() + weights;
  }

  void add_build(const json& provenance) {
    const std::string build = build_of(provenance);
    if (std::find(side_.builds.begin(), side_.builds.end(), build) == side_.builds.end())
      side_.builds.push_back(build);
  }

  void add_point(const PointRecord& p, const std::vector<double>& drift) {
    const std::string settings = settings_text(p.settings);
    MeasuredPoint& point = point_of({p.config_hash, config_key(p.config, p.weights_hash), settings},
                                    settings.empty() ? short_name(p.config) : settings);
    if (p.status != PointStatus::ok || p.timing.samples.empty()) {
      point.failure = p.message.empty() ? "no times were kept" : p.message;
      return;
    }
    point.rounds.push_back({p.timing.samples, standard_deviation(drift), drift.size(), p.logits_hash,
                            p.input_hash, p.disturbances});
  }

  MeasuredPoint& point_of(const std::array<std::string, 3>& keys, const std::string& name) {
    const std::string& surest = keys[0].empty() ? keys[1] : keys[0];
    const auto [place, is_new] = places_.emplace(surest, side_.points.size());
    if (is_new) side_.points.push_back({name, keys, {}, {}});
    return side_.points[place->second];
  }

  MeasuredSide side_;
  std::map<std::string, std::size_t> places_;
};

// The full commit of a name that git knows in the current folder, or nothing.
std::string ask_git(const std::string& name) {
  const bool plain =
      !name.empty() && name.front() != '-' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 ||
               std::string_view("._/-~^@").find(static_cast<char>(c)) != std::string_view::npos;
      });
  if (!plain) return {};
  const std::string command = fmt::format("git rev-parse --verify --quiet '{}^{{commit}}' 2>/dev/null", name);
  const auto close = [](std::FILE* pipe) { pclose(pipe); };
  const std::unique_ptr<std::FILE, decltype(close)> pipe(popen(command.c_str(), "r"), close);
  if (pipe == nullptr) return {};
  std::string commit(64, '\0');
  commit.resize(std::fread(commit.data(), 1, commit.size(), pipe.get()));
  return commit.substr(0, commit.find('\n'));
}

// The recorded build, as short_commit names it, that `name` means. A clean tree comes before a dirty one.
std::string choose_commit(const std::set<std::string>& recorded, const std::string& name) {
  constexpr std::size_t fewest_digits = 4;
  constexpr std::string_view dirty = "-dirty";
  const auto find = [&](const std::string& commit, bool changed) {
    std::vector<std::string> found;
    for (const std::string& r : recorded) {
      if (r.starts_with(commit) && r.ends_with(dirty) == changed) found.push_back(r);
    }
    return found;
  };
  const bool wants_dirty = name.ends_with(dirty);
  const std::string plain = wants_dirty ? name.substr(0, name.size() - dirty.size()) : name;
  for (const std::string& commit : {plain.substr(0, 9), ask_git(plain).substr(0, 9)}) {
    if (commit.size() < fewest_digits) continue;
    std::vector<std::string> found = find(commit, wants_dirty);
    if (found.empty() && !wants_dirty) found = find(commit, true);
    if (found.size() > 1)
      throw ConfigError(
          fmt::format("commit {}: may be any of {}; write more digits", name, fmt::join(found, ", ")));
    if (found.size() == 1) return found.front();
  }
  throw ConfigError(fmt::format("commit {}: the store has no points of it, only of {}", name,
                                recorded.empty() ? "none" : fmt::format("{}", fmt::join(recorded, ", "))));
}

}  // namespace

bool is_store(const std::filesystem::path& file) {
  constexpr std::string_view magic = "SQLite format 3";
  std::string begin(magic.size(), '\0');
  std::ifstream(file, std::ios::binary).read(begin.data(), static_cast<std::streamsize>(begin.size()));
  return begin == magic;
}

MeasuredSide read_side(const fs::path& path) {
  Collector collector;
  const std::vector<fs::path> files = files_of(path);
  for (const fs::path& file : files) {
    if (is_store(file)) {
      collector.add_store(file, [](const MachineRecord&) { return true; });
    } else {
      collector.add_run(file);
    }
  }
  MeasuredSide side = collector.take();
  if (side.points.empty()) throw ConfigError(fmt::format("{}: holds no points", shown_path(path)));
  side.single_run = side.points.size() == 1 && std::none_of(files.begin(), files.end(), is_store);
  return side;
}

MeasuredSide read_commit(const fs::path& store, const std::string& commit) {
  std::vector<fs::path> stores = files_of(store);
  std::erase_if(stores, [](const fs::path& file) { return !is_store(file); });
  if (stores.empty()) throw ConfigError(fmt::format("--store {}: is no store", shown_path(store)));
  std::set<std::string> recorded;
  for (const fs::path& file : stores) {
    for (const MachineRecord& m : Store(file, Store::Mode::read_only).machines())
      recorded.insert(short_commit(m.provenance));
  }
  const std::string chosen = choose_commit(recorded, commit);
  Collector collector;
  for (const fs::path& file : stores) {
    collector.add_store(file, [&](const MachineRecord& m) { return short_commit(m.provenance) == chosen; });
  }
  MeasuredSide side = collector.take();
  if (side.points.empty())
    throw ConfigError(fmt::format("commit {}: the store has no points of it yet", commit));
  return side;
}

}  // namespace halotile
