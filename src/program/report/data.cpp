#include "program/report/data.hpp"

#include <cmath>
#include <map>

#include "kernels/engines/registry/registry.hpp"

namespace halotile {
namespace {

using nlohmann::json;

// Five digits are more than pictures show, and keep the file small.
double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const int exponent = static_cast<int>(std::floor(std::log10(std::abs(value)))) - 4;
  const double unit = std::pow(10.0, std::abs(exponent));
  return exponent >= 0 ? std::round(value / unit) * unit : std::round(value * unit) / unit;
}

json rounded(const std::vector<double>& values) {
  json array = json::array();
  for (const double v : values) array.push_back(rounded(v));
  return array;
}

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

const char* status_name(PointStatus status) {
  switch (status) {
    case PointStatus::ok:
      return "ok";
    case PointStatus::different:
      return "different";
    case PointStatus::error:
      break;
  }
  return "error";
}

// Names that many points repeat, said once.
class Words {
 public:
  std::size_t place(const json& word) {
    const auto [at, is_new] = places_.emplace(word.dump(), words_.size());
    if (is_new) words_.push_back(word);
    return at->second;
  }
  [[nodiscard]] const json& all() const { return words_; }

 private:
  std::map<std::string, std::size_t> places_;
  json words_ = json::array();
};

class PointWriter {
 public:
  json write(const PointRecord& p) {
    json point{{"status", status_name(p.status)},
               {"machine", p.machine},
               {"sweep", p.sweep},
               {"sequence", p.sequence},
               {"hash", p.config_hash},
               {"started", p.started},
               {"seconds", rounded(p.seconds)},
               {"message", p.message},
               {"network", p.network},
               {"engine", p.engine},
               {"device", p.device},
               {"images", p.images},
               {"stages", json::array()}};
    for (const StageRecord& s : p.stages) {
      point["stages"].push_back({words_.place(s.name), s.rows, s.columns, rounded(1e-9 * s.flops),
                                 rounded(1e-9 * s.recomputed_flops)});
    }
    if (p.status == PointStatus::different) point["different"] = {p.different_elements, p.verified_elements};
    if (p.status == PointStatus::ok) add_measured(p, point);
    return point;
  }

  [[nodiscard]] const json& words() const { return words_.all(); }

 private:
  void add_measured(const PointRecord& p, json& point) {
    point["median"] = rounded(p.timing.median);
    point["q1"] = rounded(p.timing.q1);
    point["q3"] = rounded(p.timing.q3);
    point["low"] = rounded(p.timing.low);
    point["high"] = rounded(p.timing.high);
    point["stop"] = p.timing.stop == StopReason::tight ? "tight" : "time";
    point["samples"] = rounded(p.timing.samples);
    point["halo"] = rounded(p.halo_flops_share);
    point["busy"] = rounded(p.stream_busy_share);
    point["idle"] = rounded(p.host_idle_ms);
    point["maps"] = p.map_bytes;
    point["scratch"] = p.scratch_bytes;
    point["peak"] = p.peak_memory_bytes;
    point["disturbances"] = p.disturbances;
    point["verified"] = p.verified_elements;
    point["layers"] = json::array();
    for (const LayerRecord& l : p.layers) {
      point["layers"].push_back({words_.place({l.name, l.kind}), rounded(l.milliseconds),
                                 rounded(1e-9 * l.flops), rounded(1e-6 * l.bytes), l.launches});
    }
  }

  Words words_;
};

json axes_json(const Axes& axes) {
  json all = json::array();
  for (const ChartAxis& axis : axes.all)
    all.push_back({{"key", axis.key}, {"label", axis.label}, {"values", axis.values}});
  return all;
}

json ceiling_json(const Ceiling* ceiling) {
  if (ceiling == nullptr) return nullptr;
  return {{"device", ceiling->device},
          {"precision", ceiling->precision},
          {"flops", rounded(ceiling->flops_per_second)},
          {"bytes", rounded(ceiling->bytes_per_second)},
          {"copy", rounded(ceiling->copy_bytes_per_second)}};
}

json group_json(const Group& group, const Summary& summary, const StoreContents& contents) {
  json json_group{{"summary", nlohmann::json::array()},
                  {"best", or_null(summary.best)},
                  {"best_patched", or_null(summary.best_patched)},
                  {"least_memory", or_null(summary.least_memory)},
                  {"whole", nullptr},
                  {"ceiling", ceiling_json(group.ceiling)},
                  {"config", contents.points[group.points.front()].config}};
  if (group.whole != nullptr) json_group["whole"] = group.whole - contents.points.data();
  for (const Statement& s : summary.statements) json_group["summary"].push_back({s.topic, s.text});
  return json_group;
}

json records_json(const StoreContents& contents) {
  json records{{"machines", json::array()}, {"sweeps", json::array()}, {"drift", json::array()}};
  for (const MachineRecord& m : contents.machines)
    records["machines"].push_back({{"id", m.id}, {"hash", m.hash}, {"provenance", m.provenance}});
  for (const SweepRecord& s : contents.sweeps) {
    records["sweeps"].push_back({{"id", s.id},
                                 {"name", s.name},
                                 {"axes", s.axes},
                                 {"started", s.started},
                                 {"finished", s.finished},
                                 {"points", s.points}});
  }
  for (const DriftSample& d : contents.drift) {
    records["drift"].push_back(
        {d.sweep, d.sequence, d.time, rounded(d.median_ms), rounded(d.low_ms), rounded(d.high_ms)});
  }
  return records;
}

}  // namespace

json report_data(const StoreContents& contents, const Axes& axes, const std::vector<Group>& groups,
                 const std::vector<Summary>& summaries) {
  json data = records_json(contents);
  data["axes"] = axes_json(axes);
  data["groups"] = json::array();
  data["points"] = json::array();
  PointWriter writer;
  for (const PointRecord& p : contents.points) data["points"].push_back(writer.write(p));
  for (std::size_t p = 0; p < contents.points.size(); ++p) data["points"][p]["at"] = axes.places[p];
  for (std::size_t g = 0; g < groups.size(); ++g) {
    data["groups"].push_back(group_json(groups[g], summaries[g], contents));
    for (const std::size_t p : groups[g].points) {
      json& point = data["points"][p];
      point["group"] = g;
      point["findings"] = json::array();
      if (contents.points[p].status != PointStatus::ok) continue;
      for (const Finding& f : explain(contents.points[p], groups[g].whole, groups[g].ceiling))
        point["findings"].push_back({f.topic, f.text, rounded(f.cost)});
    }
  }
  data["words"] = writer.words();
  data["engines"] = json::object();
  for (const PointRecord& p : contents.points) {
    const EngineEntry* const engine = find_engine(p.engine);
    if (engine != nullptr) data["engines"][p.engine] = bits_statement(*engine);
  }
  return data;
}

}  // namespace halotile
