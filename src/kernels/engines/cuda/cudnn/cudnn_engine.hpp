// The way to the `cudnn` engine for those who do not see CUDA's headers. Always there: a build without cuDNN
// says so.
#pragma once

#include <memory>
#include <string>

#include "kernels/engines/engine.hpp"
#include "kernels/engines/kinds.hpp"

namespace halotile {

/// The cuDNN that the `cudnn` engine would use.
struct CudnnState {
  std::string version;   ///< "9.19.0"; empty where there is none
  std::string obstacle;  ///< then: why
};

[[nodiscard]] CudnnState cudnn_state();
/// The `cudnn` engine on GPU `index`: maps of bf16 or f16, or of f32 whose products may (tf32) or may not be
/// rounded. Throws UnsupportedError for a GPU that cannot be
/// used, and saying what cudnn_state says.
[[nodiscard]] std::unique_ptr<Engine> make_cudnn_engine(int index, Precision precision);

}  // namespace halotile
