#include "kernels/engines/registry/cuda_engines.hpp"

#include <array>

#include "kernels/engines/cuda/direct/direct_engine.hpp"
#include "kernels/engines/cuda/tensor_core/tensor_core_engine.hpp"

namespace halotile {

bool built_with_cuda() { return true; }

std::vector<GpuInfo> usable_gpus() {
  std::vector<GpuInfo> gpus;
  for (int index = 0; index < cuda_device_count(); ++index) {
    if (!gpu_obstacle(index).empty()) continue;
    const CudaDeviceInfo info = CudaDevice(index).info();
    gpus.push_back({"cuda:" + std::to_string(index), info.name,
                    std::to_string(info.capability_major) + "." + std::to_string(info.capability_minor),
                    info.multiprocessors, info.memory, info.free_memory, cuda_version(info.driver_version),
                    cuda_version(info.runtime_version)});
  }
  return gpus;
}

std::string gpu_obstacle(int index) {
  try {
    const CudaDevice device(index);
    return {};
  } catch (const CudaError& error) {
    const bool no_device = error.status() == cudaErrorNoDevice ||
                           error.status() == cudaErrorInsufficientDriver ||
                           error.status() == cudaErrorInitializationError;
    return no_device ? cuda_remedy(error.status()) : error.what();
  }
}

std::unique_ptr<Engine> make_direct_engine(int index, DirectStage stage) {
  return make_direct_engine(DirectOptions{index, stage});
}

std::unique_ptr<Engine> make_tensor_core_engine(int index, Precision precision) {
  // In the order of Precision.
  constexpr std::array elements{cuda::Element::f32, cuda::Element::tf32, cuda::Element::bf16,
                                cuda::Element::f16};
  return make_tensor_core_engine(TensorCoreOptions{index, elements.at(static_cast<std::size_t>(precision))});
}

}  // namespace halotile
