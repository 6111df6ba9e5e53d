// The `direct` engine: hand-written CUDA kernels in plain fp32, bit for bit the `reference` engine of the CPU
// up to the logits.
#pragma once

#include <memory>
#include <string>

#include "kernels/engines/cuda/cuda_engine.hpp"
#include "kernels/engines/cuda/direct/conv2d.hpp"

namespace halotile {

struct DirectOptions {
  int device = 0;                              ///< index of the GPU
  DirectStage stage = DirectStage::automatic;  ///< what convolutions stage in shared memory
};

/// Where the biases of a direct engine lie, for `info`.
struct ConstantBiasUse {
  int capacity = 0;         ///< floats of constant memory for each kind of layer
  int conv2d = 0;           ///< of these taken by convolutions
  int fully_connected = 0;  ///< by fully connected layers
  int fallbacks = 0;        ///< layers of this engine whose bias did not fit and lies in global memory
};

class DirectEngine : public CudaEngine {
 public:
  using CudaEngine::CudaEngine;
  [[nodiscard]] virtual ConstantBiasUse constant_bias_use() const = 0;
};

/// Throws CudaError as CudaDevice does.
[[nodiscard]] std::unique_ptr<DirectEngine> make_direct_engine(const DirectOptions& options = {});

}  // namespace halotile
