#include "program/run_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "pipeline/experiment/text.hpp"
#include "pipeline/measuring/statistics.hpp"

namespace halotile {
namespace {

struct KindTotal {
  double milliseconds = 0;
  double flops = 0;
};

// Where a run's time goes, in milliseconds of streams' time; host_idle_ms is the host's.
nlohmann::json components_json(const RunResult& r) {
  nlohmann::json json{{"allocation_ms", 0.0},
                      {"host_to_device_ms", 0.0},
                      {"device_to_host_ms", 0.0},
                      {"kernels_ms", nlohmann::json::object()},
                      {"pack_ms", 0.0},
                      {"place_ms", 0.0},
                      {"host_idle_ms", r.measured.host_idle_ms}};
  for (const LayerRecord& l : r.measured.layers) {
    const std::string key = l.kind + "_ms";
    nlohmann::json& sum = json.contains(key) ? json[key] : json["kernels_ms"][l.kind];
    sum = (sum.is_null() ? 0.0 : sum.get<double>()) + l.milliseconds;
  }
  return json;
}

std::string class_text(const Predictions& predictions, std::int64_t index) {
  const std::span<const std::string> names = predictions.class_names();
  return names.empty() ? fmt::format("{:>4}", index) : names[static_cast<std::size_t>(index)];
}

// A table of the first images, the accuracy, and what random weights mean.
void print_predictions(const Predictions& predictions, const Session& session) {
  const std::span<const Prediction> all = predictions.all();
  if (all.empty()) return;
  const bool labelled = !session.experiment().input.labels.empty();
  const bool sampled = session.experiment().dropout.samples > 0;
  constexpr std::size_t shown = 12;
  std::vector<std::vector<std::string>> rows{{"image"}};
  if (labelled) rows[0].emplace_back("label");
  rows[0].emplace_back(sampled ? "top-5 classes (probability ± deviation)" : "top-5 classes (probability)");
  for (const Prediction& p : all) {
    if (rows.size() > shown) break;
    rows.push_back({std::filesystem::path(p.image).filename().string()});
    if (labelled) rows.back().push_back(p.label ? class_text(predictions, *p.label) : "-");
    std::string top;
    for (const RankedClass& r : p.top) {
      top += sampled ? fmt::format("{} ({:.3f} ± {:.3f})  ", class_text(predictions, r.index), r.probability,
                                   r.deviation)
                     : fmt::format("{} ({:.3f})  ", class_text(predictions, r.index), r.probability);
    }
    rows.back().push_back(p.top.empty() ? "none: its outputs hold NaN" : top);
  }
  print_text("{}", table(rows));
  if (all.size() > shown) print_text("... and {} more, all in the result file\n", all.size() - shown);
  if (predictions.nan_images() > 0) {
    print_text("{} of {} images have outputs that are not numbers (NaN), and so no prediction\n",
               predictions.nan_images(), all.size());
  }
  if (const Accuracy& accuracy = predictions.accuracy(); accuracy.images > 0) {
    const auto images = static_cast<double>(accuracy.images);
    print_text("accuracy: {} of {} labelled images right ({}), {} among the first five\n", accuracy.correct,
               accuracy.images, percent(static_cast<double>(accuracy.correct) / images),
               percent(static_cast<double>(accuracy.correct_in_top) / images));
  }
  if (session.random_weights()) {
    print_text("The weights are random: these classes mean nothing, only the arithmetic is real.\n");
  }
  print_text("\n");
}

void print_times(const RunResult& r, const Session& session) {
  const BatchMeasurement& m = r.measured;
  const Timing& t = m.timing;
  double all = 0;
  for (const LayerRecord& l : m.layers) all += l.milliseconds;
  std::vector<std::vector<std::string>> rows{{"layer", "kind", "ms", "share", "GFLOP", "GFLOP/s per stream"}};
  for (const LayerRecord& l : m.layers) {
    rows.push_back(
        {l.name, l.kind, fmt::format("{:.3f}", l.milliseconds), percent(l.milliseconds / std::max(all, 1e-9)),
         fmt::format("{:.3f}", 1e-9 * l.flops),
         l.flops > 0 && l.milliseconds > 0 ? fmt::format("{:.1f}", 1e-6 * l.flops / l.milliseconds) : "-"});
  }
  print_text("{}(ms: time at work, summed over streams, per run)\n\n", table(rows));
  print_text(
      "batch of {}: median {:.2f} ms ({:.2f} to {:.2f}), quartiles {:.2f} and {:.2f}; {:.1f} images/s\n",
      r.batch, t.median, t.low, t.high, t.q1, t.q3, 1e3 * static_cast<double>(r.batch) / t.median);
  print_text("{} runs, then {}\n", t.samples.size(), reason_text(t.stop));
  for (const std::string& seen : m.disturbances) print_text("disturbed: {}\n", seen);
  if (const int samples = session.experiment().dropout.samples; samples > 0)
    print_text("each run is one of {} dropout samples\n", samples);
  if (r.stream) {
    const StreamResult& s = *r.stream;
    print_text(
        "all {} images: {:.2f} s, {:.1f} images/s; {:.2f} s of forward passes, {:.2f} s of decoding on {} "
        "thread{}, {:.2f} s waiting for images\n",
        s.images, s.seconds, static_cast<double>(s.images) / s.seconds, s.compute_seconds, s.decode_seconds,
        session.decoders(), session.decoders() == 1 ? "" : "s", s.wait_seconds);
  }
  print_text("halos repeat {} of the work; maps {}, tiles in flight {}, process peak {}\n",
             percent(m.halo_flops_share), bytes_text(m.memory.maps), bytes_text(m.memory.scratch),
             bytes_text(r.peak_memory_bytes));
  std::string busy;
  for (const double share : m.stream_busy_share) busy += fmt::format(" {}", percent(share));
  print_text("streams at work:{}\n", busy);
}

}  // namespace

nlohmann::json run_json(const RunResult& r, const Session& session) {
  const BatchMeasurement& m = r.measured;
  const Timing& t = m.timing;
  nlohmann::json json{{"command", "run"},
                      {"network", session.network().name},
                      {"engine", session.engine().name()},
                      {"device", session.engine().device().name()},
                      {"device_note", nullptr},
                      {"engine_note", session.engine().note()},
                      {"images", r.images},
                      {"batch", session.batch() / session.input().views()},
                      {"median_ms", t.median},
                      {"min_ms", quantile(t.samples, 0)},
                      {"q1_ms", t.q1},
                      {"q3_ms", t.q3},
                      {"low_ms", t.low},
                      {"high_ms", t.high},
                      {"p90_ms", quantile(t.samples, 0.9)},
                      {"images_per_second", 1e3 * static_cast<double>(r.batch) / t.median},
                      {"runs", t.samples.size()},
                      {"stopped", to_string(t.stop)},
                      {"disturbances", m.disturbances},
                      {"samples_ms", t.samples},
                      {"halo_flops_share", m.halo_flops_share},
                      {"stream_busy_share", m.stream_busy_share},
                      {"map_bytes", m.memory.maps},
                      {"scratch_bytes", m.memory.scratch},
                      {"peak_memory_bytes", r.peak_memory_bytes},
                      {"layers", nlohmann::json::array()},
                      {"kinds", nlohmann::json::object()},
                      {"components", components_json(r)},
                      {"predictions", r.predictions.json()},
                      {"nan_images", nullptr},
                      {"skipped", nlohmann::json::array()}};
  if (!session.device_note().empty()) json["device_note"] = session.device_note();
  std::map<std::string, KindTotal> kinds;
  double flops = 0;
  for (const LayerRecord& l : m.layers) {
    json["layers"].push_back({{"name", l.name},
                              {"kind", l.kind},
                              {"stream_ms", l.milliseconds},
                              {"flops", l.flops},
                              {"bytes", l.bytes},
                              {"launches", l.launches}});
    kinds[l.kind].milliseconds += l.milliseconds;
    kinds[l.kind].flops += l.flops;
    flops += l.flops;
  }
  json["flops"] = flops;
  for (const auto& [kind, total] : kinds)
    json["kinds"][kind] = {{"stream_ms", total.milliseconds}, {"flops", total.flops}};
  if (r.predictions.wanted()) json["nan_images"] = r.predictions.nan_images();
  const nlohmann::json accuracy = r.predictions.accuracy_json();
  if (!accuracy.is_null()) json["accuracy"] = accuracy;
  if (!session.experiment().input.labels.empty()) json["unused_labels"] = r.predictions.unused_labels_json();
  for (const SkippedImage& s : r.skipped) json["skipped"].push_back({{"image", s.image}, {"error", s.error}});
  if (r.stream) {
    const StreamResult& s = *r.stream;
    json["stream"] = {{"images", s.images},
                      {"seconds", s.seconds},
                      {"images_per_second", static_cast<double>(s.images) / s.seconds},
                      {"decode_seconds", s.decode_seconds},
                      {"compute_seconds", s.compute_seconds},
                      {"wait_seconds", s.wait_seconds},
                      {"decoders", session.decoders()}};
  }
  json["random_weights"] = session.random_weights();
  json["provenance"] = r.provenance;
  return json;
}

void print_run(const RunResult& r, const Session& session) {
  const Experiment& experiment = session.experiment();
  if (const std::string note = session.engine().note(); !note.empty()) print_text("{}\n", note);
  print_text("{}: {} images, engine {} on {}, {}, {} stream{} of {} thread{}\n\n", session.network().name,
             r.images, session.engine().name(), session.engine().device().name(), word(experiment.precision),
             experiment.streams, experiment.streams == 1 ? "" : "s", session.threads(),
             session.threads() == 1 ? "" : "s");
  print_predictions(r.predictions, session);
  print_times(r, session);
}

}  // namespace halotile
