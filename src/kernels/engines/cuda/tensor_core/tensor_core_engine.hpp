// The `tensor_core` engine: convolutions and fully connected layers as products of matrices on tensor cores,
// maps of bf16, fp16 or f32 (tf32 and fp32), sums in f32, in an order that depends on the layer alone.
#pragma once

#include <memory>

#include "kernels/engines/cuda/cuda_engine.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_layer.hpp"

namespace halotile {

struct TensorCoreOptions {
  int device = 0;  ///< index of the GPU
  tensor_core::Element element = tensor_core::Element::bf16;
};

/// Throws CudaError as CudaDevice does, UnsupportedError for Element::f32 on GPUs other than Hopper.
[[nodiscard]] std::unique_ptr<CudaEngine> make_tensor_core_engine(const TensorCoreOptions& options);

}  // namespace halotile
