// The account of packed tiles on a CUDA device, by key.
#pragma once

#include <memory>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/tile_batch.hpp"

namespace halotile::cuda {

/// Throws TileError when a key of `tiles` does not fit its bits, ShapeError when there are too many.
[[nodiscard]] std::unique_ptr<TileLedger> make_tile_ledger(CudaDevice& device, const TileSet& tiles);

}  // namespace halotile::cuda
