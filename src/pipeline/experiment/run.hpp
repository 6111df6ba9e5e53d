// Running an experiment: its first batch is measured, then all of its batches go through the network. Results
// are values. With a Session from values no file is read or written but the system's own, which tell of
// machine and memory:
//
//   Experiment experiment;                       // defaults; experiment.patch, streams, ... as one likes
//   experiment.output.save["conv1"] = "";        // layers whose outputs are wanted
//   const Session session(experiment, network, weights, map_input(maps, network.input()));
//   const RunResult result = run_experiment(session);
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pipeline/experiment/batch_measurement.hpp"
#include "pipeline/experiment/harvest.hpp"
#include "pipeline/experiment/predictions.hpp"
#include "pipeline/experiment/prefetch.hpp"
#include "pipeline/experiment/session.hpp"

namespace halotile {

/// A pass over all batches.
struct StreamResult {
  std::int64_t images = 0;
  double seconds = 0;          ///< from the first image's decoding to the last batch's end
  double decode_seconds = 0;   ///< summed over the decoders
  double compute_seconds = 0;  ///< in forward passes and taking what they leave
  double wait_seconds = 0;     ///< in which compute waited for images
};

struct RunResult {
  Predictions predictions;
  std::int64_t images = 0;  ///< that went through the network: photographs, random images or arrays
  std::int64_t batch = 0;   ///< of them in the batch that was measured
  BatchMeasurement measured;
  std::optional<StreamResult> stream;  ///< when there are several batches
  std::vector<SkippedImage> skipped;   ///< images that could not be read, with input.on_error: skip
  std::vector<LayerOutput> outputs;   ///< of output.save's layers, in the order of their names; of all images
  std::size_t peak_memory_bytes = 0;  ///< of the process
  nlohmann::json provenance;          ///< see provenance_json()
};

/// Is told how a run goes, on the thread that runs it. What it throws ends the run.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// Before anything runs: the outputs that will come, without values yet; and what is odd about the labels,
  /// or nothing.
  virtual void begin(std::span<const LayerOutput> /*outputs*/, const std::string& /*labels_note*/) {}
  /// The first batch was measured; `run` runs it once more, for a trace of it.
  virtual void measured(const std::function<void()>& /*run*/) {}
  /// A pass over all of `images` begins.
  virtual void begin_stream(std::int64_t /*images*/) {}
  /// An image is left out.
  virtual void skipped(const SkippedImage& /*image*/) {}
  /// What a batch left behind; in the order of the input, every batch once.
  virtual void outputs(std::span<const LayerOutput> /*of_batch*/) {}
  /// So many images of the pass are done, those that were left out too.
  virtual void progress(std::int64_t /*images*/) {}
};

struct RunSettings {
  bool keep_outputs = true;  ///< false: RunResult has none, for outputs that fit no memory
};

/// Throws what Executor::run() does, FormatError when an image (or, with input.on_error: skip, every image)
/// cannot be read, ConfigError for labels that do not fit, and Interrupted when told to stop.
[[nodiscard]] RunResult run_experiment(const Session& session, RunObserver& observer,
                                       const RunSettings& settings = {});
[[nodiscard]] RunResult run_experiment(const Session& session, const RunSettings& settings = {});

}  // namespace halotile
