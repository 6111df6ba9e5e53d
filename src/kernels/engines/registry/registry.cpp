#include "kernels/engines/registry/registry.hpp"

#include <algorithm>
#include <array>

#include "kernels/engines/cpu/cpu_operations.hpp"
#include "kernels/engines/cuda/op_support.hpp"

namespace halotile {
namespace {

constexpr std::array fp32_alone{Precision::fp32};
constexpr std::array fp32_and_bf16{Precision::fp32, Precision::bf16};
constexpr std::array every_precision{Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16};

std::string never() { return {}; }
std::string without_cuda() { return built_with_cuda() ? std::string() : gpu_obstacle(0); }
std::string without_cudnn() { return cudnn_state().obstacle; }

std::unique_ptr<Engine> make_onednn(const EngineOptions& options) {
  return make_onednn_engine(options.precision == Precision::bf16 ? DType::bf16 : DType::f32, options.threads);
}
std::unique_ptr<Engine> make_reference(const EngineOptions&) { return make_reference_engine(); }
std::unique_ptr<Engine> make_direct(const EngineOptions& options) {
  return make_direct_engine(options.gpu, options.direct_stage);
}
std::unique_ptr<Engine> make_tensor_core(const EngineOptions& options) {
  return make_tensor_core_engine(options.gpu, options.precision);
}
std::unique_ptr<Engine> make_cudnn(const EngineOptions& options) {
  return make_cudnn_engine(options.gpu, options.precision);
}

// docs/engines.md says each at length.
constexpr std::array<EngineEntry, words_of<EngineKind>.size()> engines{{
    {EngineKind::onednn, DeviceKind::cpu, fp32_and_bf16, false,
     "oneDNN promises no order of its sums; the kernels asked for gave a tile the bits of the whole in every "
     "shape tried",
     cpu_obstacle, never, make_onednn},
    {EngineKind::reference, DeviceKind::cpu, fp32_alone, true,
     "every sum is of fused multiply-adds in an order that depends on the layer alone", cpu_obstacle, never,
     make_reference},
    {EngineKind::direct, DeviceKind::cuda, fp32_alone, true,
     "every sum is in the order of engine reference, so that its bits are those too, up to the logits",
     cuda::direct_obstacle, without_cuda, make_direct},
    {EngineKind::tensor_core, DeviceKind::cuda, every_precision, true,
     "every sum is in f32, in an order that depends on the layer alone; that the instructions' shapes do not "
     "change it is measured",
     cuda::tensor_core_obstacle, without_cuda, make_tensor_core},
    {EngineKind::cudnn, DeviceKind::cuda, every_precision, false,
     "cuDNN chooses the order of its sums for each extent, batch and alignment, and patchings were measured "
     "to "
     "differ or not",
     cuda::cudnn_obstacle, without_cudnn, make_cudnn},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < engines.size(); ++i) {
    if (static_cast<std::size_t>(engines[i].kind) != i) return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

bool EngineEntry::has(Precision precision) const {
  return std::ranges::find(precisions, precision) != precisions.end();
}

std::span<const EngineEntry> all_engines() { return engines; }

const EngineEntry& entry_of(EngineKind kind) { return engines.at(static_cast<std::size_t>(kind)); }

const EngineEntry* find_engine(std::string_view name) {
  const auto kind = choice_of<EngineKind>(name);
  return kind ? &entry_of(*kind) : nullptr;
}

const EngineEntry& default_engine(DeviceKind device, Precision precision) {
  const auto fits = [&](const EngineEntry& e) { return e.device == device && e.has(precision); };
  if (const auto found = std::ranges::find_if(engines, fits); found != engines.end()) return *found;
  return *std::ranges::find(engines, device, &EngineEntry::device);
}

std::string bits_statement(const EngineEntry& engine) {
  return std::string("Equal bits are ") + (engine.promises_bits ? "promised" : "measured, not promised,") +
         " by engine " + std::string(engine.name()) + ": " + std::string(engine.bits) + ".";
}

}  // namespace halotile
