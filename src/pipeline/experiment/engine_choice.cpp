#include "pipeline/experiment/engine_choice.hpp"

#include <fmt/format.h>

#include <string_view>

#include "kernels/engines/registry/cuda_engines.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

void require_fp32(const Experiment& experiment, std::string_view engine) {
  if (experiment.precision == Precision::fp32) return;
  throw UnsupportedError(
      fmt::format("precision: {}: engine {} computes in fp32 only", word(experiment.precision), engine));
}

std::unique_ptr<Engine> make_cpu_engine(const Experiment& experiment, int threads) {
  if (experiment.engine == EngineKind::reference) {
    require_fp32(experiment, "reference");
    return make_reference_engine();
  }
  const bool bf16 = experiment.precision == Precision::bf16;
  if (experiment.precision != Precision::fp32 && !bf16) {
    throw UnsupportedError(
        fmt::format("precision: {}: engine onednn has fp32 and bf16", word(experiment.precision)));
  }
  return make_onednn_engine(bf16 ? DType::bf16 : DType::f32, threads);
}

std::unique_ptr<Engine> make_gpu_engine(const Experiment& experiment, int index) {
  const Precision precision = experiment.precision;
  if (experiment.engine == EngineKind::cudnn) {
    return make_cudnn_engine(index, precision == Precision::fp32   ? CudnnPrecision::fp32
                                    : precision == Precision::tf32 ? CudnnPrecision::tf32
                                    : precision == Precision::bf16 ? CudnnPrecision::bf16
                                                                   : CudnnPrecision::fp16);
  }
  // fp32 is for the plain engine, the shorter types are what tensor cores multiply.
  const bool direct =
      experiment.engine == EngineKind::direct || (!experiment.engine && precision == Precision::fp32);
  if (!direct) {
    return make_tensor_core_engine(index, precision == Precision::bf16   ? cuda::Element::bf16
                                          : precision == Precision::fp16 ? cuda::Element::f16
                                          : precision == Precision::tf32 ? cuda::Element::tf32
                                                                         : cuda::Element::f32);
  }
  require_fp32(experiment, "direct");
  return make_direct_engine(index, experiment.direct_stage);
}

}  // namespace

EngineChoice choose_engine(const Experiment& experiment, int threads) {
  const std::optional<DeviceKind> kind = experiment.device.kind;
  const std::string device = to_string(experiment.device);
  const std::string_view engine = experiment.engine ? word(*experiment.engine) : "auto";
  const bool cpu_engine =
      experiment.engine == EngineKind::onednn || experiment.engine == EngineKind::reference;
  const bool gpu_engine = experiment.engine && !cpu_engine;
  if (kind == DeviceKind::cpu) {
    if (gpu_engine) {
      throw UnsupportedError(
          fmt::format("engine: {}: runs on CUDA GPUs, but device is cpu; set device: auto or cuda", engine));
    }
    return {make_cpu_engine(experiment, threads), {}};
  }
  if (!kind && cpu_engine) return {make_cpu_engine(experiment, threads), {}};
  if (cpu_engine) {
    throw UnsupportedError(fmt::format(
        "engine: {}: runs on the CPU, but device is {}; use engine: direct or tensor_core, or device: cpu",
        engine, device));
  }
  const bool required = kind || gpu_engine;
  const int index = experiment.device.index.value_or(0);
  std::string obstacle = gpu_obstacle(index);
  if (required && !obstacle.empty()) {
    throw UnsupportedError(kind ? fmt::format("device: {}: {}", device, obstacle)
                                : fmt::format("engine: {}: {}", engine, obstacle));
  }
  if (!required && !obstacle.empty()) {
    return {make_cpu_engine(experiment, threads),
            fmt::format("device: auto: the CPU takes over: {}", obstacle)};
  }
  return {make_gpu_engine(experiment, index), {}};
}

}  // namespace halotile
