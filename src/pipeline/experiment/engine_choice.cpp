#include "pipeline/experiment/engine_choice.hpp"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "patching/error.hpp"

namespace halotile {
namespace {

// What an experiment asks for; nothing: auto.
struct Request {
  std::optional<DeviceKind> device;
  int gpu = 0;
  const EngineEntry* engine = nullptr;
  Precision precision = Precision::fp32;
  DirectStage direct_stage = DirectStage::automatic;
};

Request request_of(const Experiment& experiment) {
  const std::string& device = experiment.device;
  Request request;
  if (device.starts_with("cuda")) request.device = DeviceKind::cuda;
  if (device == "cpu") request.device = DeviceKind::cpu;
  if (device.starts_with("cuda:")) request.gpu = std::stoi(device.substr(5));
  request.engine = find_engine(experiment.engine);
  request.precision = choice_of<Precision>(experiment.precision).value_or(Precision::fp32);
  if (experiment.direct_stage == "input") request.direct_stage = DirectStage::input;
  if (experiment.direct_stage == "filter") request.direct_stage = DirectStage::filter;
  return request;
}

void require_device(const Request& request, std::string_view device) {
  if (request.engine == nullptr || !request.device || request.engine->device == *request.device) return;
  if (request.device == DeviceKind::cpu) {
    throw UnsupportedError(
        fmt::format("engine: {}: runs on CUDA GPUs, but device is cpu; set device: auto or cuda",
                    request.engine->name()));
  }
  throw UnsupportedError(fmt::format(
      "engine: {}: runs on the CPU, but device is {}; use engine: direct or tensor_core, or device: cpu",
      request.engine->name(), device));
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

EngineSelection select(const Request& request) {
  EngineSelection selection{request.engine, request.gpu, {}};
  if (selection.entry == nullptr) {
    DeviceKind device = request.device.value_or(DeviceKind::cuda);
    if (!request.device) {
      const std::string obstacle = gpu_obstacle(request.gpu);
      if (!obstacle.empty()) {
        device = DeviceKind::cpu;
        selection.note = fmt::format("device: auto: the CPU takes over: {}", obstacle);
      }
    }
    selection.entry = &default_engine(device, request.precision);
  }
  require_precision(*selection.entry, request.precision);
  return selection;
}

}  // namespace

EngineSelection select_engine(const Experiment& experiment) {
  const Request request = request_of(experiment);
  require_device(request, experiment.device);
  return select(request);
}

EngineChoice choose_engine(const Experiment& experiment, int threads) {
  const Request request = request_of(experiment);
  const EngineSelection selection = select_engine(experiment);
  if (selection.entry->device == DeviceKind::cuda) {
    if (const std::string obstacle = gpu_obstacle(selection.gpu); !obstacle.empty()) {
      throw UnsupportedError(experiment.device != "auto"
                                 ? fmt::format("device: {}: {}", experiment.device, obstacle)
                                 : fmt::format("engine: {}: {}", experiment.engine, obstacle));
    }
  }
  return {selection.entry->make({request.precision, selection.gpu, threads, request.direct_stage}),
          selection.note};
}

}  // namespace halotile
