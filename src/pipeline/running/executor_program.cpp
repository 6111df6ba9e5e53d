#include "pipeline/running/executor_program.hpp"

#include <algorithm>

#include "patching/error.hpp"

namespace halotile {
namespace {

void check_tile_settings(const ExecutorSettings& settings, bool own_memory) {
  if (!own_memory && settings.memory != MemoryMode::arena)
    throw UnsupportedError("memory: pool: is for CUDA devices; on the CPU there is memory: arena only");
  const std::string dispatch = settings.batched ? "dispatch: batched: " : "dispatch: graph: ";
  if (!own_memory && (settings.graph || settings.batched)) {
    throw UnsupportedError(dispatch + "is for CUDA devices; on the CPU there is dispatch: streams only");
  }
  if ((settings.graph || settings.batched) && settings.memory != MemoryMode::arena)
    throw UnsupportedError(dispatch + "replays fixed addresses; use memory: arena");
  if (settings.batched && settings.streams > 1)
    throw UnsupportedError(dispatch + "one launch holds the tiles of a stage; use streams: 1");
}

}  // namespace

Executor::Executor(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                   const ExecutorSettings& settings) {
  ExecutorSettings resolved = settings;
  if (resolved.sub_batch <= 0 || resolved.sub_batch > resolved.batch) resolved.sub_batch = resolved.batch;
  for (std::int64_t& size : resolved.first_sub_batches)
    size = std::clamp<std::int64_t>(size, 1, resolved.batch);
  check_tile_settings(resolved, !engine.device().host_memory());
  program_ = make_tile_program(network, std::move(plan), engine, resolved);
}

Executor::~Executor() = default;
MapView Executor::input() const { return program_->input(); }
void Executor::set_dropout(std::int64_t sample, std::span<const std::int64_t> images) {
  program_->set_dropout(sample, images);
}
void Executor::load_input() { program_->load_input(); }
void Executor::run() { program_->run(false); }
void Executor::profile() { program_->run(true); }
ConstMapView Executor::output(std::size_t layer) const { return program_->output(layer); }
ConstMapView Executor::device_output(std::size_t layer) const { return program_->device_output(layer); }
const std::vector<StagePlan>& Executor::plan() const { return program_->plan(); }
StageWork Executor::work(std::size_t stage) const { return program_->work(stage); }
MemoryUse Executor::memory() const { return program_->memory(); }
std::vector<LayerTime> Executor::times() const { return program_->times().lines(); }
std::vector<double> Executor::busy_seconds() const { return program_->times().busy_seconds(); }
double Executor::idle_seconds() const { return program_->idle_seconds(); }
void Executor::reset_times() { program_->reset_times(); }

}  // namespace halotile
