#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "commands.hpp"
#include "formats/atomic_file.hpp"
#include "formats/npy.hpp"
#include "kernels/pointwise.hpp"
#include "patching/error.hpp"
#include "pipeline/measure.hpp"
#include "pipeline/trace.hpp"
#include "provenance.hpp"
#include "text.hpp"

namespace halotile {
namespace {

constexpr std::size_t top_count = 5;
constexpr int profiled_runs = 5;

struct Prediction {
  std::string image;
  std::vector<std::pair<std::int64_t, double>> top;  // class, probability; most probable first
};

// The map as float32 in PyTorch's order (N, C, H, W).
std::vector<float> to_nchw(const ConstMapView& map, const MapShape& memory) {
  const std::int64_t area = memory.extent.area();
  const std::int64_t per_image = memory.elements();
  std::vector<float> nhwc(static_cast<std::size_t>(map.images * per_image));
  copy_map(map, {dense_geometry(DType::f32, map.images, map.channels, map.rect, map.whole), nhwc.data()});
  if (area == 1) return nhwc;
  std::vector<float> nchw(nhwc.size());
  for (std::int64_t n = 0; n < map.images; ++n) {
    for (std::int64_t p = 0; p < area; ++p) {
      for (std::int64_t c = 0; c < memory.channels; ++c) {
        nchw[static_cast<std::size_t>(n * per_image + c * area + p)] =
            nhwc[static_cast<std::size_t>(n * per_image + p * memory.channels + c)];
      }
    }
  }
  return nchw;
}

// Collects what runs leave: predictions and the maps to save.
class Harvest {
 public:
  explicit Harvest(const Session& session)
      : session_(session), network_(session.network()), logits_(network_.logits_layer()) {
    for (const auto& [layer, file] : session.experiment().output.save) {
      const std::size_t index = layer == "logits" ? logits_ : network_.index_of(layer);
      saved_.push_back({index, file, {}});
    }
  }

  [[nodiscard]] std::set<std::size_t> keep() const { return {logits_}; }

  void take(Executor& executor, Interval images) {
    for (Saved& s : saved_) {
      const std::vector<float> values = to_nchw(executor.output(s.layer), network_.layers[s.layer].memory);
      s.values.insert(s.values.end(), values.begin(), values.end());
    }
    const Layer& layer = network_.layers[logits_];
    if (layer.spatial || layer.out.channels < 2) return;
    const std::vector<float> logits = to_nchw(executor.output(logits_), layer.memory);
    const auto classes = static_cast<std::size_t>(layer.out.channels);
    for (std::int64_t n = 0; n < images.size(); ++n) {
      predictions_.push_back(
          predict(session_.input().name(images.begin + n),
                  std::span(logits).subspan(static_cast<std::size_t>(n) * classes, classes)));
    }
  }

  // Writes the saved maps; returns their paths.
  [[nodiscard]] std::vector<std::string> write(const std::filesystem::path& directory) const {
    std::vector<std::string> paths;
    for (const Saved& s : saved_) {
      const Layer& layer = network_.layers[s.layer];
      const std::int64_t images = static_cast<std::int64_t>(s.values.size()) / layer.out.elements();
      std::vector<std::int64_t> shape{images, layer.out.channels};
      if (layer.spatial) shape.insert(shape.end(), {layer.out.extent.height, layer.out.extent.width});
      write_npy(directory / s.file, shape, s.values);
      paths.push_back((directory / s.file).string());
    }
    return paths;
  }

  [[nodiscard]] const std::vector<Prediction>& predictions() const { return predictions_; }

 private:
  struct Saved {
    std::size_t layer;
    std::string file;
    std::vector<float> values;
  };

  static Prediction predict(const std::string& image, std::span<const float> logits) {
    std::vector<std::int64_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const std::size_t count = std::min(top_count, order.size());
    const auto value = [&](std::int64_t c) {
      return static_cast<double>(logits[static_cast<std::size_t>(c)]);
    };
    std::partial_sort(
        order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
        [&](std::int64_t a, std::int64_t b) { return value(a) != value(b) ? value(a) > value(b) : a < b; });
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - value(order[0]));
    Prediction p{image, {}};
    for (std::size_t i = 0; i < count; ++i)
      p.top.emplace_back(order[i], std::exp(value(order[i]) - value(order[0])) / sum);
    return p;
  }

  const Session& session_;
  const Network& network_;
  std::size_t logits_;
  std::vector<Saved> saved_;
  std::vector<Prediction> predictions_;
};

struct KindTotal {
  double milliseconds = 0;
  double flops = 0;
};

struct RunResult {
  Samples samples;
  std::vector<LayerTime> layers;  // per run
  std::vector<double> busy_share;
  double halo_flops_share = 0;
  MemoryUse memory;
  double idle_seconds = 0;  // per run
};

// Where a run's time goes, in milliseconds of streams' time; host_idle_ms is the host's.
nlohmann::json components_json(const RunResult& r) {
  nlohmann::json json{{"allocation_ms", 0.0},
                      {"host_to_device_ms", 0.0},
                      {"device_to_host_ms", 0.0},
                      {"kernels_ms", nlohmann::json::object()},
                      {"pack_ms", 0.0},
                      {"place_ms", 0.0},
                      {"host_idle_ms", 1e3 * r.idle_seconds}};
  for (const LayerTime& l : r.layers) {
    const std::string key = l.kind + "_ms";
    nlohmann::json& sum = json.contains(key) ? json[key] : json["kernels_ms"][l.kind];
    sum = (sum.is_null() ? 0.0 : sum.get<double>()) + 1e3 * l.seconds;
  }
  return json;
}

nlohmann::json to_json(const RunResult& r, const Session& session, const Harvest& harvest) {
  const double median = r.samples.median();
  nlohmann::json json{{"command", "run"},
                      {"network", session.network().name},
                      {"engine", session.engine().name()},
                      {"device", session.engine().device().name()},
                      {"device_note", nullptr},
                      {"engine_note", session.engine().note()},
                      {"images", session.input().count()},
                      {"batch", session.batch()},
                      {"median_ms", median},
                      {"min_ms", r.samples.min()},
                      {"p90_ms", r.samples.quantile(0.9)},
                      {"images_per_second", 1e3 * static_cast<double>(session.batch()) / median},
                      {"runs", r.samples.milliseconds.size()},
                      {"samples_ms", r.samples.milliseconds},
                      {"halo_flops_share", r.halo_flops_share},
                      {"stream_busy_share", r.busy_share},
                      {"map_bytes", r.memory.maps},
                      {"scratch_bytes", r.memory.scratch},
                      {"peak_memory_bytes", peak_memory()},
                      {"layers", nlohmann::json::array()},
                      {"kinds", nlohmann::json::object()},
                      {"components", components_json(r)},
                      {"predictions", nlohmann::json::array()}};
  if (!session.device_note().empty()) json["device_note"] = session.device_note();
  std::map<std::string, KindTotal> kinds;
  double flops = 0;
  for (const LayerTime& l : r.layers) {
    const double ms = 1e3 * l.seconds;
    json["layers"].push_back({{"name", l.name}, {"kind", l.kind}, {"stream_ms", ms}, {"flops", l.flops}});
    kinds[l.kind].milliseconds += ms;
    kinds[l.kind].flops += l.flops;
    flops += l.flops;
  }
  json["flops"] = flops;
  for (const auto& [kind, total] : kinds)
    json["kinds"][kind] = {{"stream_ms", total.milliseconds}, {"flops", total.flops}};
  for (const Prediction& p : harvest.predictions()) {
    nlohmann::json top = nlohmann::json::array();
    for (const auto& [index, probability] : p.top)
      top.push_back({{"class", index}, {"probability", probability}});
    json["predictions"].push_back({{"image", p.image}, {"top", top}});
  }
  json["random_weights"] = session.experiment().weights.file.empty();
  json["provenance"] = provenance_json(session);
  return json;
}

void print_predictions(const std::vector<Prediction>& predictions, bool random_weights) {
  if (predictions.empty()) return;
  constexpr std::size_t shown = 12;
  std::vector<std::vector<std::string>> rows{{"image", "top-5 classes (probability)"}};
  for (const Prediction& p : predictions) {
    if (rows.size() > shown) break;
    std::string top;
    for (const auto& [index, probability] : p.top) top += fmt::format("{:>4} ({:.3f})  ", index, probability);
    rows.push_back({std::filesystem::path(p.image).filename().string(), top});
  }
  fmt::print("{}", table(rows));
  if (predictions.size() > shown)
    fmt::print("... and {} more, all in the result file\n", predictions.size() - shown);
  if (random_weights) {
    fmt::print("The weights are random: these classes mean nothing, only the arithmetic is real.\n");
  }
  fmt::print("\n");
}

void print_result(const RunResult& r, const Session& session) {
  const double median = r.samples.median();
  double all = 0;
  for (const LayerTime& l : r.layers) all += l.seconds;
  std::vector<std::vector<std::string>> rows{{"layer", "kind", "ms", "share", "GFLOP", "GFLOP/s per stream"}};
  for (const LayerTime& l : r.layers) {
    rows.push_back({l.name, l.kind, fmt::format("{:.3f}", 1e3 * l.seconds),
                    percent(l.seconds / std::max(all, 1e-12)), fmt::format("{:.3f}", 1e-9 * l.flops),
                    l.flops > 0 && l.seconds > 0 ? fmt::format("{:.1f}", 1e-9 * l.flops / l.seconds) : "-"});
  }
  fmt::print("{}(ms: time at work, summed over streams, per run)\n\n", table(rows));
  fmt::print("batch of {}: median {:.2f} ms, min {:.2f}, p90 {:.2f} over {} runs; {:.1f} images/s\n",
             session.batch(), median, r.samples.min(), r.samples.quantile(0.9), r.samples.milliseconds.size(),
             1e3 * static_cast<double>(session.batch()) / median);
  fmt::print("halos repeat {} of the work; maps {}, tiles in flight {}, process peak {}\n",
             percent(r.halo_flops_share), bytes_text(r.memory.maps), bytes_text(r.memory.scratch),
             bytes_text(peak_memory()));
  std::string busy;
  for (const double share : r.busy_share) busy += fmt::format(" {}", percent(share));
  fmt::print("streams at work:{}\n", busy);
}

RunResult measure_batch(const Session& session, Executor& executor) {
  RunResult result;
  result.samples = measure(
      session.experiment().measure, [&] { executor.run(); }, [&] { executor.reset_times(); });
  std::vector<double> timed = result.samples.milliseconds;
  result.idle_seconds = executor.idle_seconds() / static_cast<double>(timed.size());
  if (!session.engine().device().host_memory()) {
    // Taking a device's times disturbs runs; these come behind those that count.
    const MeasureSettings profiled{0, profiled_runs, session.experiment().measure.max_seconds};
    timed = measure(
                profiled, [&] { executor.profile(); }, [&] { executor.reset_times(); })
                .milliseconds;
  }
  result.layers = executor.times();
  for (LayerTime& l : result.layers) l.seconds /= static_cast<double>(timed.size());
  const double total = 1e-3 * std::accumulate(timed.begin(), timed.end(), 0.0);
  for (const double busy : executor.busy_seconds()) result.busy_share.push_back(busy / total);
  double flops = 0;
  double recomputed = 0;
  for (const StagePlan& stage : executor.plan()) {
    flops += stage.flops();
    recomputed += stage.recomputed_flops();
  }
  result.halo_flops_share = flops > 0 ? recomputed / flops : 0;
  result.memory = executor.memory();
  return result;
}

// Fails now, not after minutes of work, if results cannot be written.
void prepare_directory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw FormatError(
        fmt::format("{}: cannot make this folder for results ({}); set output.directory to another",
                    directory.string(), error.message()));
  }
  const AtomicFile probe(directory / "probe");
}

}  // namespace

int command_run(const CommandLine& line) {
  const Experiment experiment = read_experiment(line.config, line.overrides);
  prepare_directory(experiment.output.directory);
  const Session session(experiment);
  print_note(session.device_note());
  Harvest harvest(session);
  RunResult result;
  std::unique_ptr<Executor> executor;
  for (const Interval batch : session.batches()) {
    const bool first = batch.begin == 0;
    if (first || batch.size() != session.batch())
      executor = session.make_executor(batch.size(), harvest.keep());
    session.input().fill(batch, executor->input());
    executor->load_input();
    if (first) {
      result = measure_batch(session, *executor);
      if (!experiment.trace.empty()) {
        write_trace(experiment.output.directory / experiment.trace, session.engine().device(),
                    [&] { executor->run(); });
      }
    } else {
      executor->run();
    }
    harvest.take(*executor, batch);
  }

  std::vector<std::string> written = harvest.write(experiment.output.directory);
  nlohmann::json json = to_json(result, session, harvest);
  json["saved"] = written;
  if (!experiment.trace.empty()) {
    written.push_back((experiment.output.directory / experiment.trace).string());
    json["trace"] = written.back();
  }
  const std::filesystem::path file = experiment.output.directory / (experiment.name + ".run.json");
  json["result_file"] = file.string();
  write_file_atomically(file, json_text(json));
  if (line.json) {
    fmt::print("{}", json_text(json));
    return 0;
  }
  if (const std::string note = session.engine().note(); !note.empty()) fmt::print("{}\n", note);
  fmt::print("{}: {} images, engine {} on {}, {}, {} stream{} of {} thread{}\n\n", session.network().name,
             session.input().count(), session.engine().name(), session.engine().device().name(),
             experiment.precision, experiment.streams, experiment.streams == 1 ? "" : "s", session.threads(),
             session.threads() == 1 ? "" : "s");
  print_predictions(harvest.predictions(), experiment.weights.file.empty());
  print_result(result, session);
  written.push_back(file.string());
  for (const std::string& path : written) fmt::print("written: {}\n", path);
  return 0;
}

}  // namespace halotile
