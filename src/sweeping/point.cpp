#include "sweeping/point.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>

#include "patching/error.hpp"
#include "pipeline/running/trace.hpp"
#include "pipeline/running/traffic.hpp"
#include "sweeping/cache_flush.hpp"
#include "sweeping/disturbance.hpp"
#include "sweeping/measuring.hpp"

namespace halotile {
namespace {

// Of a device whose times disturb runs: made behind those that count.
constexpr int profiled_runs = 5;

void add_layers(const Session& session, const Executor& executor, double seconds, std::size_t runs,
                BatchMeasurement& result) {
  const auto count = static_cast<std::int64_t>(runs);
  const std::map<std::string, double> traffic =
      least_bytes(session.network(), executor.plan(), session.engine(), session.batch());
  for (LayerTime& l : executor.times()) {
    // Copies know their bytes; their lines may bear a layer's name.
    if (const auto found = traffic.find(l.name);
        found != traffic.end() && l.bytes == 0 && l.kind != "allocation")
      l.bytes = found->second;
    result.layers.push_back({l.name, l.kind, 1e3 * l.seconds / static_cast<double>(count), l.flops, l.bytes,
                             (l.launches + count / 2) / count});
  }
  for (const double busy : executor.busy_seconds()) result.stream_busy_share.push_back(busy / seconds);
}

void add_stages(const Executor& executor, double images, BatchMeasurement& result) {
  double flops = 0;
  double recomputed = 0;
  for (std::size_t s = 0; s < executor.plan().size(); ++s) {
    const StagePlan& stage = executor.plan()[s];
    const StageWork work = executor.work(s);
    const Extent2 grid = stage.grid();
    result.stages.push_back(
        {stage.name(), grid.height, grid.width, images * work.flops, images * work.recomputed_flops});
    flops += work.flops;
    recomputed += work.recomputed_flops;
  }
  result.halo_flops_share = flops > 0 ? recomputed / flops : 0;
}

std::unique_ptr<Executor> first_batch(const Session& session) {
  std::unique_ptr<Executor> executor = session.make_executor(session.batch(), {});
  session.input().fill({0, session.batch()}, executor->input());
  executor->load_input();
  std::vector<std::int64_t> maps(static_cast<std::size_t>(session.batch()));
  std::iota(maps.begin(), maps.end(), 0);
  executor->set_dropout(0, maps);
  return executor;
}

MeasureHooks hooks_for(const Session& session, Executor& executor) {
  MeasureHooks hooks;
  hooks.start_counting = [&executor] { executor.reset_times(); };
  if (session.experiment().measure.cold) hooks.before_run = cache_flusher(session.engine().device());
  return hooks;
}

void describe(const Session& session, PointRecord& point) {
  point.network = session.network().name;
  point.engine = session.engine().name();
  point.device = session.engine().device().name();
  point.images = session.batch() / session.input().views();
  point.weights_hash = fmt::format("{:016x}", session.weights().hash());
}

std::string difference(const Verification& v) {
  for (const Comparison& c : v.stages) {
    if (!c.equal_bits())
      return fmt::format("{} of {} elements of {} differ from the unpatched run's", c.different, c.elements,
                         c.layer);
  }
  return fmt::format("{} of {} logits differ from the unpatched run's", v.logits.different,
                     v.logits.elements);
}

void verify_and_measure(const Experiment& experiment, const Verifier& verifier, PointRecord& point) {
  const Session session(experiment);
  describe(session, point);
  const Verification verification = verifier(session);
  point.verified_elements = verification.elements();
  point.different_elements = verification.different();
  point.logits_hash = verification.logits_hash;
  if (!verification.equal_bits()) {
    point.status = PointStatus::different;
    point.message = difference(verification);
    return;
  }
  reset_peak_memory();  // of the verification, which holds both pipelines
  const std::unique_ptr<Executor> executor = first_batch(session);
  BatchMeasurement measured = measure_batch(session, *executor);
  point.peak_memory_bytes = static_cast<std::int64_t>(peak_memory());
  point.timing = std::move(measured.timing);
  point.layers = std::move(measured.layers);
  point.stages = std::move(measured.stages);
  point.stream_busy_share = std::move(measured.stream_busy_share);
  point.host_idle_ms = measured.host_idle_ms;
  point.halo_flops_share = measured.halo_flops_share;
  point.map_bytes = static_cast<std::int64_t>(measured.memory.maps);
  point.scratch_bytes = static_cast<std::int64_t>(measured.memory.scratch);
  point.disturbances = std::move(measured.disturbances);
}

}  // namespace

BatchMeasurement measure_batch(const Session& session, Executor& executor) {
  BatchMeasurement result;
  const MeasureSettings& settings = session.experiment().measure;
  MeasureHooks hooks = hooks_for(session, executor);
  LoadCounters before;
  hooks.start_counting = [&] {
    executor.reset_times();
    before = read_load();
  };
  result.timing = measure(
      settings, [&] { executor.run(); }, hooks);
  result.disturbances = disturbances(before, read_load());
  for (std::string& seen : disturbances(result.timing.samples))
    result.disturbances.push_back(std::move(seen));
  std::vector<double> timed = result.timing.samples;
  result.host_idle_ms = 1e3 * executor.idle_seconds() / static_cast<double>(timed.size());
  if (!session.engine().device().host_memory()) {
    MeasureSettings profiled = settings;
    profiled.warmup = 0;
    profiled.min_runs = profiled_runs;
    hooks.start_counting = [&] { executor.reset_times(); };
    timed = measure(
                profiled, [&] { executor.profile(); }, hooks)
                .samples;
  }
  const double seconds = 1e-3 * std::accumulate(timed.begin(), timed.end(), 0.0);
  add_layers(session, executor, seconds, timed.size(), result);
  add_stages(executor, static_cast<double>(session.batch()), result);
  result.memory = executor.memory();
  return result;
}

Timing time_batch(const Session& session) {
  const std::unique_ptr<Executor> executor = first_batch(session);
  return measure(
      session.experiment().measure, [&] { executor->run(); }, hooks_for(session, *executor));
}

void trace_batch(const Experiment& experiment, const std::filesystem::path& file) {
  const Session session(experiment);
  const std::unique_ptr<Executor> executor = first_batch(session);
  for (int i = 0; i < experiment.measure.warmup; ++i) executor->run();
  write_trace(file, session.engine().device(), [&] { executor->run(); });
}

PointRecord measure_point(const Experiment& experiment, const Verifier& verifier) {
  PointRecord point;
  point.started = utc_now();
  point.config = to_json(experiment);
  const auto start = std::chrono::steady_clock::now();
  try {
    verify_and_measure(experiment, verifier, point);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    point.status = PointStatus::error;
    point.message = e.what();
  } catch (const std::bad_alloc&) {
    point.status = PointStatus::error;
    point.message = "out of memory; use a smaller batch or input";
  }
  point.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return point;
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace halotile
