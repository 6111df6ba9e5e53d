#include "program/command_run.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "formats/atomic_file.hpp"
#include "formats/npy.hpp"
#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/run.hpp"
#include "pipeline/experiment/text.hpp"
#include "pipeline/running/trace.hpp"
#include "program/progress.hpp"
#include "program/replaced_files.hpp"
#include "program/run_report.hpp"

namespace halotile {
namespace {

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

std::filesystem::path trace_file(const Experiment& experiment) {
  return experiment.output.directory / experiment.trace;
}

// Shows how a run goes, and writes what it leaves behind: maps to .npy files that grow with the batches, and
// a trace.
class RunConsole final : public RunObserver {
 public:
  RunConsole(const Session& session, bool silent)
      : session_(session), experiment_(session.experiment()), silent_(silent) {}

  void begin(std::span<const LayerOutput> outputs, const std::string& labels_note) override {
    for (const LayerOutput& output : outputs) {
      saved_.emplace_back(experiment_.output.directory / experiment_.output.save.at(output.layer),
                          std::span(output.shape).subspan(1));
    }
    if (!silent_) print_note(labels_note);
  }
  void measured(const std::function<void()>& run) override {
    if (!experiment_.trace.empty()) write_trace(trace_file(experiment_), session_.engine().device(), run);
  }
  void begin_stream(std::int64_t images) override { progress_.emplace(images, true); }
  void skipped(const SkippedImage& image) override {
    if (progress_) progress_->clear();
    print_note("skipped: " + image.error);
  }
  void outputs(std::span<const LayerOutput> of_batch) override {
    for (std::size_t i = 0; i < saved_.size(); ++i) saved_[i].append(of_batch[i].values);
  }
  void progress(std::int64_t images) override { progress_->update(images); }

  /// The run is over: takes the progress away and forces the maps to the disk, the long part of commit().
  void finish() {
    progress_.reset();
    for (NpyWriter& file : saved_) file.finish();
  }
  /// Gives the saved maps their names; returns their paths.
  [[nodiscard]] std::vector<std::string> commit() {
    std::vector<std::string> paths;
    for (NpyWriter& file : saved_) paths.push_back(file.commit());
    return paths;
  }

 private:
  const Session& session_;
  const Experiment& experiment_;
  const bool silent_;
  std::vector<NpyWriter> saved_;  // of output.save's layers
  std::optional<Progress> progress_;
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
  RunConsole console(session, as_json());
  const RunResult result = run_experiment(session, console, {.keep_outputs = false});
  console.finish();
  throw_if_stopped();
  std::optional<Unstoppable> placing(std::in_place);  // all results appear, or none
  std::vector<std::string> written = console.commit();
  nlohmann::json json = run_json(result, session);
  json["saved"] = written;
  if (!experiment.trace.empty()) {
    written.push_back(trace_file(experiment).string());
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
  print_run(result, session);
  written.push_back(file.string());
  for (const std::string& path : written) print_text("written: {}\n", path);
  return exit_fine;
}

}  // namespace halotile
