// Builds without CUDA.
#include "kernels/engines/ceilings.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "patching/error.hpp"

namespace halotile {

bool built_with_cuda() { return false; }

std::vector<GpuInfo> usable_gpus() { return {}; }

std::string gpu_obstacle(int) {
  return "this build has no CUDA engines; use device: cpu, or build where nvcc is on the PATH";
}

std::unique_ptr<Engine> make_direct_engine(int index, DirectStage) {
  throw UnsupportedError(gpu_obstacle(index));
}

std::unique_ptr<Engine> make_tensor_core_engine(int index, Precision) {
  throw UnsupportedError(gpu_obstacle(index));
}

DeviceLimits measure_gpu_limits(int index, const std::string&) {
  throw UnsupportedError(gpu_obstacle(index));
}

CudnnState cudnn_state() { return {{}, gpu_obstacle(0)}; }

std::unique_ptr<Engine> make_cudnn_engine(int index, Precision) {
  throw UnsupportedError(gpu_obstacle(index));
}

}  // namespace halotile
