// What one measured point of a sweep leaves behind, in memory and (see store.hpp) on disk.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/experiment/batch_measurement.hpp"

namespace halotile {

enum class PointStatus : std::uint8_t {
  ok,         ///< verified, then timed
  different,  ///< its bits differ from the unpatched run's: never timed
  error       ///< it could not be run; `message` says why
};

/// The words that stores use: "ok", ...
[[nodiscard]] const char* to_string(PointStatus status);

struct PointRecord {
  std::string config_hash;    ///< 16 hexadecimal digits: the resolved config without output, input's labels,
                              ///< on_error and decoders, and all of measure but its cache, input and
                              ///< output; with the contents of files for their names
  nlohmann::json config;      ///< resolved, as to_json(Experiment)
  nlohmann::json settings;    ///< the axes' values at this point: {"patch.size": 64, "streams": 2}
  std::int64_t machine = 0;   ///< MachineRecord::id
  std::int64_t sweep = 0;     ///< SweepRecord::id that measured it
  std::int64_t sequence = 0;  ///< place in the order of measuring
  PointStatus status = PointStatus::ok;
  std::string message;  ///< of an error or a difference; else empty
  std::string started;  ///< UTC, 2026-11-22T10:11:12Z
  double seconds = 0;   ///< of preparing, verifying and measuring
  Timing timing;        ///< empty unless ok

  std::string network;
  std::string engine;
  std::string device;       ///< as Device::name()
  std::int64_t images = 0;  ///< per run
  double halo_flops_share = 0;
  std::vector<LayerRecord> layers;
  std::vector<StageRecord> stages;
  std::vector<double> stream_busy_share;  ///< of the run's wall time, by stream
  double host_idle_ms = 0;                ///< per run
  std::int64_t map_bytes = 0;
  std::int64_t scratch_bytes = 0;
  std::int64_t peak_memory_bytes = 0;     ///< the process's largest resident set while it was measured
  std::vector<std::string> disturbances;  ///< what disturbed the measurement, in words; empty: nothing seen
  std::string weights_hash;
  std::string input_hash;
  std::string logits_hash;             ///< of the verified run's logits: equal for equal bits
  std::int64_t verified_elements = 0;  ///< compared with the unpatched run, all stages and logits
  std::int64_t different_elements = 0;

  bool operator==(const PointRecord&) const = default;
};

/// A build on a machine: results of two of them are never mixed.
struct MachineRecord {
  std::int64_t id = 0;
  std::string hash;           ///< 16 hexadecimal digits of the provenance
  nlohmann::json provenance;  ///< git commit, dirty tree, compiler, flags, CPU, GPUs, driver, libraries
};

/// What a device of a machine can do at most, measured.
struct Ceiling {
  std::int64_t machine = 0;
  std::string device;     ///< "cpu", "cuda:0"
  std::string precision;  ///< "fp32", "bf16", ...
  double flops_per_second = 0;
  double bytes_per_second = 0;       ///< the device's memory, read and written
  double copy_bytes_per_second = 0;  ///< from pinned host memory to the device; 0 on the CPU

  bool operator==(const Ceiling&) const = default;
};

/// One start of `halotile sweep`; a resumed sweep keeps its record.
struct SweepRecord {
  std::int64_t id = 0;
  std::string name;  ///< the config's
  nlohmann::json
      axes;  ///< [{"keys": ["patch.size"], "values": [[32], [64]]}, ...]; a zip group has several keys
  nlohmann::json config;    ///< resolved, of the reference point
  std::string started;      ///< UTC
  std::string finished;     ///< UTC; empty while points are missing
  std::int64_t points = 0;  ///< planned
};

/// The reference point, measured again and again through a sweep: how far the machine drifted.
struct DriftSample {
  std::int64_t sweep = 0;
  std::int64_t sequence = 0;  ///< of the point that was measured next
  std::string time;           ///< UTC
  double median_ms = 0;
  double low_ms = 0;
  double high_ms = 0;

  bool operator==(const DriftSample&) const = default;
};

}  // namespace halotile
