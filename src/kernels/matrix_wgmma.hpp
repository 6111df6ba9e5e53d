// Products of matrices on Hopper's own instructions.
#pragma once

#include "kernels/matrix_kernels.hpp"

namespace halotile::tensor_core {

/// The shape for layers of several segments whose blocks add these themselves.
[[nodiscard]] BlockShape totals_shape();

/// As multiply_mma (matrix_kernels.hpp), on GPUs that have_wgmma. `shape` is one of wgmma_shapes(). Several
/// segments without call.partial: added by the blocks, of totals_shape(), with bias and ReLU into `output`.
void multiply_wgmma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream);

}  // namespace halotile::tensor_core
