#include "sweeping/sweep.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/batch_measurement.hpp"
#include "pipeline/experiment/provenance.hpp"

namespace halotile {
namespace {

using Clock = std::chrono::steady_clock;

// The reference point is measured again after as much as one of these.
constexpr int points_between_gauges = 8;
constexpr std::chrono::seconds time_between_gauges{60};

class Runner {
 public:
  Runner(const SweepPlan& plan, Store& store, std::int64_t machine, const SweepSettings& settings,
         SweepWatcher& watcher)
      : plan_(plan), store_(store), machine_(machine), settings_(settings), watcher_(watcher) {}

  SweepOutcome run() {
    SweepRecord record;
    record.name = plan_.name;
    record.axes = plan_.axes;
    record.config = to_json(plan_.points.front().experiment);
    record.started = utc_now();
    record.points = static_cast<std::int64_t>(plan_.points.size());
    std::vector<std::size_t> left = missing();
    watcher_.begin(plan_.points.size(), plan_.points.size() - left.size());
    if (left.empty()) return outcome();
    sweep_ = store_.add_sweep(record, machine_);
    if (left.front() != 0) gauge(left.front());
    while (!left.empty() && !ended_) {
      const bool any = pass(left);
      left = missing();
      if (!any && !left.empty() && !ended_) wait(left.size());
    }
    if (since_gauge_ > 0) gauge(plan_.points.size());
    if (left.empty()) store_.finish_sweep(sweep_, utc_now());
    return outcome();
  }

 private:
  [[nodiscard]] std::vector<std::size_t> missing() const {
    const std::set<std::string> finished = store_.finished(machine_);
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < plan_.points.size(); ++i) {
      if (!finished.contains(plan_.points[i].hash)) left.push_back(i);
    }
    return left;
  }

  // Measures what nobody else has; tells whether there was anything.
  bool pass(const std::vector<std::size_t>& left) {
    bool any = false;
    for (const std::size_t i : left) {
      throw_if_stopped();
      if (ended_) break;
      if (!store_.claim(plan_.points[i].hash, machine_)) continue;
      any = true;
      measure(i);
      const bool due = since_gauge_ >= points_between_gauges || Clock::now() - gauged_ > time_between_gauges;
      if (due && i != left.back()) gauge(i + 1);
    }
    return any;
  }

  void measure(std::size_t index) {
    const PlannedPoint& planned = plan_.points[index];
    watcher_.measuring(planned);
    PointRecord point = measure_point(planned.experiment, settings_.verifier);
    point.config_hash = planned.hash;
    point.settings = planned.settings;
    point.input_hash = planned.input_hash;
    point.machine = machine_;
    point.sweep = sweep_;
    point.sequence = static_cast<std::int64_t>(index);
    store_.add_point(point);
    ++outcome_.measured;
    if (point.status == PointStatus::ok) note_ceiling(planned.experiment, point.device);
    if (index == 0 && point.status == PointStatus::ok) {
      keep_gauge(point.timing, 0);
    } else {
      ++since_gauge_;
    }
    watcher_.measured(point, plan_.points.size() - missing().size());
    if (settings_.fail_fast && point.status != PointStatus::ok) ended_ = true;
  }

  void note_ceiling(const Experiment& experiment, const std::string& device) {
    const std::string precision(word(experiment.precision));
    if (!settings_.ceiling || !limits_.emplace(device, precision).second) return;
    for (const Ceiling& known : store_.ceilings()) {
      if (known.machine == machine_ && known.device == device && known.precision == precision) return;
    }
    try {
      Ceiling ceiling = settings_.ceiling(Session(experiment));
      ceiling.machine = machine_;
      store_.set_ceiling(ceiling);
    } catch (const UnsupportedError&) {
      // Explanations do without.
    }
  }

  // A reference that cannot be run has told so as a point.
  void gauge(std::size_t next) {
    try {
      keep_gauge(time_batch(Session(plan_.points.front().experiment)), next);
    } catch (const Interrupted&) {
      throw;
    } catch (const StoreError&) {
      throw;
    } catch (const Error&) {
      gauged_ = Clock::now();
      since_gauge_ = 0;
    }
  }

  void keep_gauge(const Timing& timing, std::size_t next) {
    store_.add_drift(
        {sweep_, static_cast<std::int64_t>(next), utc_now(), timing.median, timing.low, timing.high});
    gauged_ = Clock::now();
    since_gauge_ = 0;
  }

  void wait(std::size_t points) {
    watcher_.waiting(points);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    throw_if_stopped();
  }

  SweepOutcome outcome() {
    std::map<std::string, PointRecord> stored;
    for (PointRecord& point : store_.points()) {
      if (point.machine == machine_) stored.emplace(point.config_hash, std::move(point));
    }
    for (const PlannedPoint& planned : plan_.points) {
      const auto found = stored.find(planned.hash);
      if (found != stored.end()) outcome_.points.push_back(found->second);
    }
    outcome_.complete = outcome_.points.size() == plan_.points.size();
    // Of a sweep that had nothing left to do: that of the one which measured the points.
    const std::int64_t sweep = sweep_ != 0 || outcome_.points.empty() ? sweep_ : outcome_.points.back().sweep;
    for (const DriftSample& sample : store_.drift()) {
      if (sample.sweep == sweep) outcome_.drift.push_back(sample);
    }
    return std::move(outcome_);
  }

  const SweepPlan& plan_;
  Store& store_;
  const std::int64_t machine_;
  const SweepSettings& settings_;
  SweepWatcher& watcher_;
  std::int64_t sweep_ = 0;
  bool ended_ = false;
  std::set<std::pair<std::string, std::string>> limits_;  // of devices and precisions, seen to
  int since_gauge_ = 0;                                   // points
  Clock::time_point gauged_ = Clock::now();
  SweepOutcome outcome_;
};

}  // namespace

SweepOutcome run_sweep(const SweepPlan& plan, Store& store, std::int64_t machine,
                       const SweepSettings& settings, SweepWatcher& watcher) {
  return Runner(plan, store, machine, settings, watcher).run();
}

double drift_of(const std::vector<DriftSample>& samples) {
  double largest = 0;
  for (const DriftSample& s : samples) {
    const DriftSample& first = samples.front();
    const bool apart = s.low_ms > first.high_ms || s.high_ms < first.low_ms;
    const double change = s.median_ms / first.median_ms - 1;
    if (apart && std::abs(change) > std::abs(largest)) largest = change;
  }
  return largest;
}

}  // namespace halotile
