// Running a sweep: measures the points that a store does not have yet, and gauges the machine's drift.
#pragma once

#include "sweeping/ceiling.hpp"
#include "sweeping/point.hpp"
#include "sweeping/store.hpp"
#include "sweeping/sweep_plan.hpp"

namespace halotile {

struct SweepSettings {
  bool fail_fast = false;  ///< ends behind the first point that differs or cannot be run
  Verifier verifier = verify;
  /// Measures the limits of each device and precision that the store has none of; none: they are left out.
  std::function<Ceiling(const Session&)> ceiling = measure_ceiling;
};

/// Is told how a sweep goes.
class SweepWatcher {
 public:
  virtual ~SweepWatcher() = default;
  /// Before the first point: how many there are, and how many of them are in the store.
  virtual void begin(std::size_t points, std::size_t finished) = 0;
  /// A point begins; another process may have it first.
  virtual void measuring(const PlannedPoint& point) = 0;
  /// A point was measured here; `finished` of all are in the store now.
  virtual void measured(const PointRecord& point, std::size_t finished) = 0;
  /// Nothing is left but what others are measuring.
  virtual void waiting(std::size_t points) = 0;
};

struct SweepOutcome {
  std::size_t measured = 0;         ///< here
  bool complete = false;            ///< every point is in the store
  std::vector<PointRecord> points;  ///< of the plan, as far as they are in the store, the reference first
  std::vector<DriftSample> drift;   ///< of this sweep
};

/// Throws StoreError when the store cannot be written, and Interrupted; what is finished is in the store
/// then.
[[nodiscard]] SweepOutcome run_sweep(const SweepPlan& plan, Store& store, std::int64_t machine,
                                     const SweepSettings& settings, SweepWatcher& watcher);

/// The drift of the machine over these samples of one sweep, as a share of the first (0.1: slower by 10%),
/// where it is larger than the samples' own intervals; otherwise 0.
[[nodiscard]] double drift_of(const std::vector<DriftSample>& samples);

}  // namespace halotile
