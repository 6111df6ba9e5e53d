// Products of matrices on Hopper's own instructions.
#pragma once

#include <memory>
#include <span>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"

namespace halotile::tensor_core {

/// What a shape was measured to cost on an H200, in nanoseconds: for ordering shapes alone.
struct ShapeCost {
  BlockShape shape;
  std::int64_t resident = 0;  ///< blocks on a multiprocessor
  double busy = 0;            ///< 128 bytes of a sum, for each of the blocks when all are there
  double alone = 0;           ///< the same for a single block
  double item = 0;            ///< what each item costs besides
};
/// Of the shapes that layers like this one have.
[[nodiscard]] std::span<const ShapeCost> wgmma_costs(const MatrixLayer& layer);

/// The shape for layers of several segments whose blocks add these themselves.
[[nodiscard]] BlockShape totals_shape();

/// Output positions that a shape's items of work cover.
[[nodiscard]] int rows_of_item(BlockShape shape);
/// False where `shape` keeps all filters of its columns in shared memory and those of `layer` are too many,
/// where it reads planes and the layer's taps are not three packed positions of 48 channels of 2 bytes, or
/// where split layers do not have it.
[[nodiscard]] bool wgmma_fits(const MatrixLayer& layer, BlockShape shape);

/// As multiply_mma (matrix_kernels.hpp), on GPUs that have_wgmma. `shape` is one of wgmma_shapes() that fits;
/// throws ShapeError for another one. Several segments without call.partial: added by the blocks, of
/// totals_shape(), with bias and ReLU into `output`; not for split layers.
void multiply_wgmma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream);

/// Products of one layer in one launch, between fixed addresses: all tiles of a stage. None of the calls may
/// be without positions or input.
class WgmmaBatch {
 public:
  WgmmaBatch(CudaDevice& device, const MatrixLayer& layer, std::span<const MatrixCall> calls,
             BlockShape shape);
  ~WgmmaBatch();
  void run(cudaStream_t stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halotile::tensor_core
