// What is measured of one batch: its times, by layer and stage too, and its memory.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "pipeline/measuring/measuring.hpp"
#include "pipeline/running/executor.hpp"

namespace halotile {

class Session;

/// One layer's share of a run, or one kind of copy's, summed over streams and tiles.
struct LayerRecord {
  std::string name;
  std::string kind;           ///< layer type; or pack, place, host_to_device, device_to_host, allocation
  double milliseconds = 0;    ///< at work, per run
  double flops = 0;           ///< recomputed ones included
  double bytes = 0;           ///< per run, least traffic: each tile's input and output once, the weights once
  std::int64_t launches = 0;  ///< per run: pieces of work given to streams

  bool operator==(const LayerRecord&) const = default;
};

/// One stage's tiles, for the whole batch.
struct StageRecord {
  std::string name;  ///< first and last layer: conv1..pool1
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  double flops = 0;
  double recomputed_flops = 0;  ///< of them, what halos make tiles repeat

  bool operator==(const StageRecord&) const = default;
};

struct BatchMeasurement {
  Timing timing;
  std::vector<LayerRecord> layers;
  std::vector<StageRecord> stages;
  std::vector<double> stream_busy_share;  ///< of the run's wall time, by stream
  double host_idle_ms = 0;                ///< per run
  double halo_flops_share = 0;
  MemoryUse memory;
  std::vector<std::string> disturbances;  ///< in words; empty: nothing seen
};

/// The session's executor with its first batch, filled and loaded, as dropout sample 0. `keep`: layers to
/// keep besides those that the experiment saves.
[[nodiscard]] std::unique_ptr<Executor> first_batch(const Session& session, std::set<std::size_t> keep = {});

/// Measures an executor whose input is filled and loaded as the session's experiment asks for it. Throws what
/// Executor::run() does.
[[nodiscard]] BatchMeasurement measure_batch(const Session& session, Executor& executor);

/// The timing of the session's first batch alone, not verified: what gauges drift.
[[nodiscard]] Timing time_batch(const Session& session);

}  // namespace halotile
