#include "program/command_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "formats/atomic_file.hpp"
#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/harvest.hpp"
#include "pipeline/experiment/measure.hpp"
#include "pipeline/experiment/prefetch.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "pipeline/running/trace.hpp"
#include "program/progress.hpp"
#include "program/replaced_files.hpp"
#include "sweeping/measuring.hpp"
#include "sweeping/point.hpp"
#include "sweeping/statistics.hpp"

namespace halotile {
namespace {

struct KindTotal {
  double milliseconds = 0;
  double flops = 0;
};

// A pass over all batches.
struct StreamResult {
  std::int64_t images = 0;
  double seconds = 0;          // from the first image's decoding to the last batch's end
  double decode_seconds = 0;   // summed over the decoders
  double compute_seconds = 0;  // in forward passes and taking what they leave
  double wait_seconds = 0;     // in which compute waited for images
};

struct RunResult {
  std::int64_t batch = 0;              // images of the batch that was measured
  std::optional<StreamResult> stream;  // when there are several batches
  std::vector<SkippedImage> skipped;
  BatchMeasurement measured;
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

nlohmann::json to_json(const RunResult& r, const Session& session, const Harvest& harvest) {
  const BatchMeasurement& m = r.measured;
  const Timing& t = m.timing;
  nlohmann::json json{{"command", "run"},
                      {"network", session.network().name},
                      {"engine", session.engine().name()},
                      {"device", session.engine().device().name()},
                      {"device_note", nullptr},
                      {"engine_note", session.engine().note()},
                      {"images", harvest.images()},
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
                      {"peak_memory_bytes", peak_memory()},
                      {"layers", nlohmann::json::array()},
                      {"kinds", nlohmann::json::object()},
                      {"components", components_json(r)},
                      {"predictions", harvest.predictions().json()},
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
  if (harvest.predictions().wanted()) json["nan_images"] = harvest.predictions().nan_images();
  const nlohmann::json accuracy = harvest.predictions().accuracy_json();
  if (!accuracy.is_null()) json["accuracy"] = accuracy;
  if (!session.experiment().input.labels.empty())
    json["unused_labels"] = harvest.predictions().unused_labels_json();
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
  json["random_weights"] = session.experiment().weights.file.empty();
  json["provenance"] = provenance_json(session);
  return json;
}

void print_result(const RunResult& r, const Session& session) {
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
             bytes_text(peak_memory()));
  std::string busy;
  for (const double share : m.stream_busy_share) busy += fmt::format(" {}", percent(share));
  print_text("streams at work:{}\n", busy);
}

std::filesystem::path result_file(const Experiment& experiment) {
  return experiment.output.directory / (experiment.name + ".run.json");
}

// No result may take the place of what the run reads.
void check_outputs(const std::filesystem::path& config, const Experiment& experiment) {
  const auto check = [&](std::string_view key, const std::filesystem::path& output) {
    refuse_to_replace(files_of_config(config, experiment, output), key, output);
  };
  const std::filesystem::path& directory = experiment.output.directory;
  check("output.directory", result_file(experiment));
  if (!experiment.trace.empty()) check("measure.trace", directory / experiment.trace);
  for (const auto& [layer, name] : experiment.output.save) check("output.save." + layer, directory / name);
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

// Runs all there is: measures the first batch, then passes over all of them if there are several.
class Run {
 public:
  explicit Run(const Session& session) : session_(session), harvest_(session) {}

  void all() {
    const std::vector<std::int64_t> maps = measure_first();
    if (session_.input().count() <= session_.batch()) {
      Progress progress(0, false);
      for (const SkippedImage& s : result_.skipped) tell_skipped(progress, s);
      finish_batch(maps);
    } else {
      stream();
    }
    executor_.reset();  // its memory is not needed for what follows
  }

  [[nodiscard]] const RunResult& result() const { return result_; }
  [[nodiscard]] Harvest& harvest() { return harvest_; }

 private:
  [[nodiscard]] std::unique_ptr<Prefetcher> prefetch() const {
    const PrefetchSettings settings{session_.batch(), session_.decoders(),
                                    session_.experiment().input.on_error};
    return std::make_unique<Prefetcher>(session_.input(), session_.network().input, session_.input_type(),
                                        settings);
  }

  Executor& executor_for(std::int64_t maps) {
    if (executor_ == nullptr || maps != made_for_) {
      executor_.reset();  // before the other takes memory
      executor_ = session_.make_executor(maps, harvest_.keep());
      made_for_ = maps;
    }
    return *executor_;
  }

  // The first batch, in the executor's input; the numbers of its maps.
  std::vector<std::int64_t> fill_first() {
    if (!std::holds_alternative<ImageInput>(session_.experiment().input.source)) {
      // Nothing to decode: no memory to read ahead into either.
      std::vector<std::int64_t> maps(static_cast<std::size_t>(session_.batch()));
      std::iota(maps.begin(), maps.end(), 0);
      session_.input().fill({0, session_.batch()}, executor_for(session_.batch()).input());
      return maps;
    }
    const std::unique_ptr<Prefetcher> source = prefetch();
    const std::span<const std::int64_t> next = source->next();
    std::vector<std::int64_t> maps(next.begin(), next.end());
    result_.skipped = source->skipped();
    if (maps.empty()) {
      throw FormatError(fmt::format("none of the {} images can be read; the first: {}",
                                    result_.skipped.size(), result_.skipped.front().error));
    }
    source->take(executor_for(static_cast<std::int64_t>(maps.size())).input());
    return maps;  // no decoder works while the batch is timed
  }

  std::vector<std::int64_t> measure_first() {
    std::vector<std::int64_t> maps = fill_first();
    result_.batch = static_cast<std::int64_t>(maps.size()) / session_.input().views();
    Executor& executor = *executor_;
    executor.load_input();
    executor.set_dropout(0, maps);
    result_.measured = measure_batch(session_, executor);
    const Experiment& experiment = session_.experiment();
    if (!experiment.trace.empty()) {
      write_trace(experiment.output.directory / experiment.trace, session_.engine().device(),
                  [&] { executor.run(); });
    }
    return maps;
  }

  // Takes the run that was made (of the first dropout sample), then runs the other samples.
  void finish_batch(std::span<const std::int64_t> maps) {
    harvest_.take(*executor_);
    for (int sample = 1; sample < session_.experiment().dropout.samples; ++sample) {
      executor_->set_dropout(sample, maps);
      executor_->run();
      harvest_.take(*executor_);
    }
    harvest_.finish_batch(maps);
  }

  void stream() {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const Clock::time_point begin = Clock::now();
    StreamResult& s = result_.stream.emplace();
    Progress progress(session_.input().count() / session_.input().views(), true);
    const std::unique_ptr<Prefetcher> source = prefetch();
    std::size_t told = 0;
    for (;;) {
      const Clock::time_point waiting = Clock::now();
      const std::span<const std::int64_t> maps = source->next();
      s.wait_seconds += since(waiting);
      for (; told < source->skipped().size(); ++told) tell_skipped(progress, source->skipped()[told]);
      if (maps.empty()) break;
      Executor& executor = executor_for(static_cast<std::int64_t>(maps.size()));
      source->take(executor.input());
      executor.load_input();
      const Clock::time_point computing = Clock::now();
      executor.set_dropout(0, maps);
      executor.run();
      finish_batch(maps);
      s.compute_seconds += since(computing);
      progress.update(harvest_.images() + static_cast<std::int64_t>(told));
    }
    s.images = harvest_.images();
    s.seconds = since(begin);
    s.decode_seconds = source->decode_seconds();
    result_.skipped = source->skipped();
  }

  static void tell_skipped(Progress& progress, const SkippedImage& skipped) {
    progress.note("skipped: " + skipped.error);
  }

  const Session& session_;
  Harvest harvest_;
  RunResult result_;
  std::unique_ptr<Executor> executor_;
  std::int64_t made_for_ = 0;
};

}  // namespace

void CommandRun::set_up(Options& options) {
  add_json(options);
  arguments_.add_to(options);
}

int CommandRun::run() {
  const Experiment experiment = arguments_.experiment();
  check_outputs(arguments_.config, experiment);
  prepare_directory(experiment.output.directory);
  const Session session(experiment);
  print_note(session.device_note());
  Run run(session);
  if (!as_json()) print_note(run.harvest().predictions().labels_note());
  run.all();
  const RunResult& result = run.result();
  const Harvest& harvest = run.harvest();

  run.harvest().finish();
  throw_if_stopped();
  std::optional<Unstoppable> placing(std::in_place);  // all results appear, or none
  std::vector<std::string> written = run.harvest().commit();
  nlohmann::json json = to_json(result, session, harvest);
  json["saved"] = written;
  if (!experiment.trace.empty()) {
    written.push_back((experiment.output.directory / experiment.trace).string());
    json["trace"] = written.back();
  }
  const std::filesystem::path file = result_file(experiment);
  json["result_file"] = file.string();
  write_file_atomically(file, json_text(json));
  placing.reset();
  if (as_json()) {
    print_json(json);
    return exit_fine;
  }
  if (const std::string note = session.engine().note(); !note.empty()) print_text("{}\n", note);
  print_text("{}: {} images, engine {} on {}, {}, {} stream{} of {} thread{}\n\n", session.network().name,
             harvest.images(), session.engine().name(), session.engine().device().name(),
             word(experiment.precision), experiment.streams, experiment.streams == 1 ? "" : "s",
             session.threads(), session.threads() == 1 ? "" : "s");
  harvest.predictions().print();
  print_result(result, session);
  written.push_back(file.string());
  for (const std::string& path : written) print_text("written: {}\n", path);
  return exit_fine;
}

}  // namespace halotile
