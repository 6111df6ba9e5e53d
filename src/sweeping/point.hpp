// Measuring one setting: everything that a point of a sweep, or `halotile run`, tells of it.
#pragma once

#include <filesystem>
#include <functional>

#include "pipeline/experiment/session.hpp"
#include "pipeline/experiment/verify.hpp"
#include "sweeping/record.hpp"

namespace halotile {

/// What is measured of an executor whose input is filled and loaded.
struct BatchMeasurement {
  Timing timing;
  std::vector<LayerRecord> layers;
  std::vector<StageRecord> stages;
  std::vector<double> stream_busy_share;
  double host_idle_ms = 0;  ///< per run
  double halo_flops_share = 0;
  MemoryUse memory;
  std::vector<std::string> disturbances;
};

/// As the session's experiment asks for it. Throws what Executor::run() does.
[[nodiscard]] BatchMeasurement measure_batch(const Session& session, Executor& executor);

/// The timing of the session's first batch alone, not verified: what gauges drift.
[[nodiscard]] Timing time_batch(const Session& session);

/// Writes a trace of one run of the experiment's first batch, behind its warm-up. Throws what write_trace()
/// does.
void trace_batch(const Experiment& experiment, const std::filesystem::path& file);

using Verifier = std::function<Verification(const Session&)>;

/// Prepares the experiment, verifies it and, when its bits are those of the unpatched run, measures it.
/// Errors of the experiment become the record's; Interrupted is thrown. Fills everything but what places the
/// record in a store: the hash and settings, machine, sweep, sequence, and the input's hash.
[[nodiscard]] PointRecord measure_point(const Experiment& experiment, const Verifier& verifier = verify);

/// Now, in UTC: 2026-11-22T10:11:12Z.
[[nodiscard]] std::string utc_now();

}  // namespace halotile
