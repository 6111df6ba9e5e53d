// Products of matrices on Hopper's own instructions.
#pragma once

#include "kernels/matrix_kernels.hpp"

namespace halotile::tensor_core {

/// As multiply_mma (matrix_kernels.hpp), on GPUs that have_wgmma. `shape` is one of wgmma_shapes().
void multiply_wgmma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream);

}  // namespace halotile::tensor_core
