// Kernels that are launched while the kernel before them in the stream still runs, so that its last blocks
// hide what a launch takes. Such a kernel calls follow_previous() first, or its two parts, the second before
// it needs anything. For nvcc only. Source: CUDA C++ Programming Guide, programmatic dependent launch. On
// cards before Hopper it is an ordinary launch.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "kernels/devices/cuda/cuda_error.hpp"

namespace halotile {

/// The next kernel may be launched.
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// All that the kernels before have written is there. Before any access to memory that they share.
__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Both, one behind the other.
__device__ __forceinline__ void follow_previous() {
  let_next_start();
  wait_for_previous();
}

/// Launches a kernel that calls follow_previous() or wait_for_previous(). `doing` as in check_cuda.
template <typename... Parameters, typename... Arguments>
void launch_early(void (*kernel)(Parameters...), dim3 grid, unsigned threads, std::size_t shared_bytes,
                  cudaStream_t stream, const char* doing, const Arguments&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = can_launch_early() ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), doing);
}

}  // namespace halotile
