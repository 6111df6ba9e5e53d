// What the ceilings of a GPU are measured with.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/engines/cuda/matrix_element.hpp"

namespace halotile::ceilings {

/// Launches products of matrices that stay in shared memory, on Hopper's warpgroup instructions, on `blocks`
/// multiprocessors; returns their floating-point operations. `out`: one float, not written.
double launch_warpgroup_products(cuda::Element element, int blocks, int rounds, float* out,
                                 cudaStream_t stream);

}  // namespace halotile::ceilings
