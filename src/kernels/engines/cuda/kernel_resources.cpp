#include "kernels/engines/cuda/kernel_resources.hpp"

#ifdef HALOTILE_HAS_CUDA
#include <cuda_runtime_api.h>

#include <algorithm>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/kernel_list.hpp"
#endif

namespace halotile {

#ifdef HALOTILE_HAS_CUDA
namespace {

KernelResources resources_of(const cuda::KernelEntry& kernel) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel.function), "asking for a kernel's resources");
  // More than 48 KiB a block must be asked for.
  const auto dynamic = static_cast<int>(kernel.dynamic_shared);
  check_cuda(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  std::max(dynamic, attributes.maxDynamicSharedSizeBytes)),
             "asking for shared memory");
  int blocks = 0;
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel.function, kernel.threads,
                                                           kernel.dynamic_shared),
             "asking for the occupancy");
  return {kernel.family,
          kernel.name,
          kernel.threads,
          attributes.maxThreadsPerBlock,
          attributes.numRegs,
          attributes.sharedSizeBytes,
          kernel.dynamic_shared,
          attributes.constSizeBytes,
          attributes.localSizeBytes,
          blocks};
}

}  // namespace

std::vector<KernelResources> kernel_resources() {
  std::vector<KernelResources> all;
  for (const auto list :
       {direct::conv2d_kernels, direct::fully_connected_kernels, cuda::pool2d_kernels, cuda::lrn_kernels,
        cuda::lrn_pool_kernels, cuda::pointwise_kernels, cuda::binary_kernels}) {
    for (const cuda::KernelEntry& kernel : list()) all.push_back(resources_of(kernel));
  }
  return all;
}

#else

std::vector<KernelResources> kernel_resources() { return {}; }

#endif

}  // namespace halotile
