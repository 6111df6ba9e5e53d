// The `cudnn` engine, for comparison: convolutions and fully connected layers by cuDNN, everything else by
// the kernels of the other CUDA engines. It does not promise equal bits for different patchings.
#pragma once

#include <memory>

#include "kernels/cuda_engine.hpp"
#include "kernels/engine_cuda.hpp"

namespace halotile {

struct CudnnOptions {
  int device = 0;  ///< index of the GPU
  CudnnPrecision precision = CudnnPrecision::fp32;
};

/// Throws CudaError as CudaDevice does, and UnsupportedError where cuDNN is missing.
[[nodiscard]] std::unique_ptr<CudaEngine> make_cudnn_engine(const CudnnOptions& options);

}  // namespace halotile
