#include "pipeline/experiment/engine_choice.hpp"

#include <fmt/format.h>

#include <string>

#include "kernels/engines/registry/cuda_engines.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

void require_device(const EngineEntry& engine, const DeviceChoice& device) {
  if (!device.kind || engine.device == *device.kind) return;
  if (*device.kind == DeviceKind::cpu) {
    throw UnsupportedError(fmt::format(
        "engine: {}: runs on CUDA GPUs, but device is cpu; set device: auto or cuda", engine.name()));
  }
  throw UnsupportedError(fmt::format(
      "engine: {}: runs on the CPU, but device is {}; use engine: direct or tensor_core, or device: cpu",
      engine.name(), to_string(device)));
}

void require_precision(const EngineEntry& engine, Precision precision) {
  if (engine.has(precision)) return;
  std::string have;
  for (const Precision p : engine.precisions) {
    if (!have.empty()) have += p == engine.precisions.back() ? " and " : ", ";
    have += word(p);
  }
  throw UnsupportedError(
      fmt::format("precision: {}: engine {} {}", word(precision), engine.name(),
                  engine.precisions.size() == 1 ? "computes in " + have + " only" : "has " + have));
}

}  // namespace

EngineSelection select_engine(const Experiment& experiment) {
  EngineSelection selection{nullptr, experiment.device.index.value_or(0), {}};
  if (experiment.engine) {
    selection.entry = &entry_of(*experiment.engine);
    require_device(*selection.entry, experiment.device);
  } else {
    DeviceKind device = experiment.device.kind.value_or(DeviceKind::cuda);
    if (!experiment.device.kind) {
      const std::string obstacle = gpu_obstacle(selection.gpu);
      if (!obstacle.empty()) {
        device = DeviceKind::cpu;
        selection.note = fmt::format("device: auto: the CPU takes over: {}", obstacle);
      }
    }
    selection.entry = &default_engine(device, experiment.precision);
  }
  require_precision(*selection.entry, experiment.precision);
  return selection;
}

EngineChoice choose_engine(const Experiment& experiment, int threads) {
  const EngineSelection selection = select_engine(experiment);
  if (selection.entry->device == DeviceKind::cuda) {
    if (const std::string obstacle = gpu_obstacle(selection.gpu); !obstacle.empty()) {
      throw UnsupportedError(experiment.device.kind
                                 ? fmt::format("device: {}: {}", to_string(experiment.device), obstacle)
                                 : fmt::format("engine: {}: {}", selection.entry->name(), obstacle));
    }
  }
  return {selection.entry->make({experiment.precision, selection.gpu, threads, experiment.direct_stage}),
          selection.note};
}

}  // namespace halotile
