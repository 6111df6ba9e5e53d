#include "pipeline/experiment/batch_measurement.hpp"

#include <map>
#include <numeric>
#include <utility>

#include "pipeline/experiment/session.hpp"
#include "pipeline/measuring/cache_flush.hpp"
#include "pipeline/measuring/disturbance.hpp"
#include "pipeline/running/traffic.hpp"

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

MeasureHooks hooks_for(const Session& session, Executor& executor) {
  MeasureHooks hooks;
  hooks.start_counting = [&executor] { executor.reset_times(); };
  if (session.experiment().measure.cold) hooks.before_run = cache_flusher(session.engine().device());
  return hooks;
}

}  // namespace

std::unique_ptr<Executor> first_batch(const Session& session, std::set<std::size_t> keep) {
  std::unique_ptr<Executor> executor = session.make_executor(session.batch(), std::move(keep));
  session.input().fill({0, session.batch()}, executor->input());
  executor->load_input();
  std::vector<std::int64_t> maps(static_cast<std::size_t>(session.batch()));
  std::iota(maps.begin(), maps.end(), 0);
  executor->set_dropout(0, maps);
  return executor;
}

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

}  // namespace halotile
