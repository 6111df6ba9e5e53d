// The way to the CUDA engines for those who do not see CUDA's headers. Always there: a build without CUDA has
// no GPUs and says so.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/engines/cuda/cudnn/cudnn_engine.hpp"
#include "kernels/engines/engine.hpp"
#include "kernels/engines/kinds.hpp"

namespace halotile {

struct GpuInfo {
  std::string device;      ///< "cuda:0"
  std::string name;        ///< "NVIDIA H200"
  std::string capability;  ///< compute capability, "9.0"
  int multiprocessors = 0;
  std::size_t memory = 0;       ///< bytes
  std::size_t free_memory = 0;  ///< bytes, now
  std::string driver;           ///< newest CUDA the driver knows, "13.0"
  std::string runtime;          ///< CUDA of this build
};

/// True when this build holds CUDA engines.
[[nodiscard]] bool built_with_cuda();
/// GPUs that the engines can use.
[[nodiscard]] std::vector<GpuInfo> usable_gpus();
/// Why GPU `index` cannot be used: no CUDA in this build, no GPU, an old driver, an unsupported architecture.
/// Empty when it can.
[[nodiscard]] std::string gpu_obstacle(int index);

/// The `direct` engine on GPU `index`. Throws UnsupportedError saying what gpu_obstacle says.
[[nodiscard]] std::unique_ptr<Engine> make_direct_engine(int index, DirectStage stage);
/// The `tensor_core` engine on GPU `index`; throws as above.
[[nodiscard]] std::unique_ptr<Engine> make_tensor_core_engine(int index, Precision precision);

}  // namespace halotile
