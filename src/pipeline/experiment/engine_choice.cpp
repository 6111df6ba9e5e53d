#include "pipeline/experiment/engine_choice.hpp"

#include <fmt/format.h>

#include <string_view>

#include "kernels/engines/registry/cuda_engines.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

void require_fp32(const Experiment& experiment, std::string_view engine) {
  if (experiment.precision == "fp32") return;
  throw UnsupportedError(
      fmt::format("precision: {}: engine {} computes in fp32 only", experiment.precision, engine));
}

std::unique_ptr<Engine> make_cpu_engine(const Experiment& experiment, int threads) {
  if (experiment.engine == "reference") {
    require_fp32(experiment, "reference");
    return make_reference_engine();
  }
  const bool bf16 = experiment.precision == "bf16";
  if (experiment.precision != "fp32" && !bf16) {
    throw UnsupportedError(
        fmt::format("precision: {}: engine onednn has fp32 and bf16", experiment.precision));
  }
  return make_onednn_engine(bf16 ? DType::bf16 : DType::f32, threads);
}

std::unique_ptr<Engine> make_gpu_engine(const Experiment& experiment, int index) {
  const std::string& precision = experiment.precision;
  if (experiment.engine == "cudnn") {
    return make_cudnn_engine(index, precision == "fp32"   ? CudnnPrecision::fp32
                                    : precision == "tf32" ? CudnnPrecision::tf32
                                    : precision == "bf16" ? CudnnPrecision::bf16
                                                          : CudnnPrecision::fp16);
  }
  // fp32 is for the plain engine, the shorter types are what tensor cores multiply.
  const bool direct = experiment.engine == "direct" || (experiment.engine == "auto" && precision == "fp32");
  if (!direct) {
    return make_tensor_core_engine(index, precision == "bf16"   ? cuda::Element::bf16
                                          : precision == "fp16" ? cuda::Element::f16
                                          : precision == "tf32" ? cuda::Element::tf32
                                                                : cuda::Element::f32);
  }
  require_fp32(experiment, "direct");
  const DirectStage stage = experiment.direct_stage == "input"    ? DirectStage::input
                            : experiment.direct_stage == "filter" ? DirectStage::filter
                                                                  : DirectStage::automatic;
  return make_direct_engine(index, stage);
}

}  // namespace

EngineChoice choose_engine(const Experiment& experiment, int threads) {
  const std::string& device = experiment.device;
  const std::string& engine = experiment.engine;
  const bool cpu_engine = engine == "onednn" || engine == "reference";
  const bool gpu_engine = engine == "direct" || engine == "tensor_core" || engine == "cudnn";
  if (device == "cpu") {
    if (gpu_engine) {
      throw UnsupportedError(
          fmt::format("engine: {}: runs on CUDA GPUs, but device is cpu; set device: auto or cuda", engine));
    }
    return {make_cpu_engine(experiment, threads), {}};
  }
  if (device == "auto" && cpu_engine) return {make_cpu_engine(experiment, threads), {}};
  if (cpu_engine) {
    throw UnsupportedError(fmt::format(
        "engine: {}: runs on the CPU, but device is {}; use engine: direct or tensor_core, or device: cpu",
        engine, device));
  }
  const bool required = device != "auto" || gpu_engine;
  const int index = device.starts_with("cuda:") ? std::stoi(device.substr(5)) : 0;
  std::string obstacle = gpu_obstacle(index);
  if (required && !obstacle.empty()) {
    throw UnsupportedError(device != "auto" ? fmt::format("device: {}: {}", device, obstacle)
                                            : fmt::format("engine: {}: {}", engine, obstacle));
  }
  if (!required && !obstacle.empty()) {
    return {make_cpu_engine(experiment, threads),
            fmt::format("device: auto: the CPU takes over: {}", obstacle)};
  }
  return {make_gpu_engine(experiment, index), {}};
}

}  // namespace halotile
