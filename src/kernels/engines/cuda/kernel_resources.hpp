// What each kernel of the `direct` engine takes of a multiprocessor. No CUDA headers needed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace halotile {

struct KernelResources {
  std::string family;   ///< "conv", "fully_connected", "pool", "lrn", "lrn_pool", "pointwise", "softmax"
  std::string name;     ///< "patch 128x96": kernel, and outputs of a block where it has register tiles
  int threads = 0;      ///< of a block, as launched
  int max_threads = 0;  ///< of a block, at most
  int registers = 0;    ///< per thread
  std::size_t static_shared = 0;      ///< bytes per block
  std::size_t dynamic_shared = 0;     ///< bytes per block; patch kernels add their input patch
  std::size_t constant = 0;           ///< bytes of constant memory that its module declares
  std::size_t local = 0;              ///< bytes per thread: registers spilled, arrays indexed at run time
  int blocks_per_multiprocessor = 0;  ///< resident, with that much shared memory
};

/// All kernels, on the current CUDA device. Empty in a build without CUDA; throws CudaError without a GPU.
[[nodiscard]] std::vector<KernelResources> kernel_resources();

}  // namespace halotile
