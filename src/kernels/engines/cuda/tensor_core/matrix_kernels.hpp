// Tensor-core products of matrices (matrix_layer.hpp), on the device that is current. Two kernels compute
// the same sums in the same order: `wgmma` on Hopper, `mma` on every card from Ampere on; between the two the
// bits may differ, since the instructions round inside. How outputs are cut into blocks is chosen by speed
// and changes no bit.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "kernels/engines/cuda/tensor_core/matrix_layer.hpp"
#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::tensor_core {

/// How a packed map lies in memory: (images, rows, columns, channels), or (images, vectors of 16 bytes of a
/// position's channels, rows, columns, 16 bytes).
enum class PackedLayout : std::uint8_t { positions, planes };

/// Outputs of a block of threads: positions x channels, and the layout that it reads.
struct BlockShape {
  int rows = 0;
  int cols = 0;
  PackedLayout input = PackedLayout::positions;
  bool operator==(const BlockShape&) const = default;
};

/// The shapes that each kernel has.
[[nodiscard]] std::span<const BlockShape> wgmma_shapes();
[[nodiscard]] std::span<const BlockShape> mma_shapes();

/// True when GPU `device` has the instructions, and this build their machine code.
[[nodiscard]] bool has_wgmma(int device);

/// Multiplies. One segment: with bias and ReLU into `output`; several: sums of segments into `partial`, for
/// add_segments. Throws ShapeError for what does not fit one launch, UnsupportedError for f32 (wgmma has it).
/// Does nothing for no positions.
void multiply_mma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream);

/// relu?(bias + the segments' sums, added in ascending order) into `output`.
void add_segments(const MatrixLayer& layer, const MatrixCall& call, cudaStream_t stream);

/// Tells the kernel that spreads infinities and NaN whether packing has found any, without a word of the
/// host and without a step that clears a flag: runs are numbered. On the device, zeros at first, used by one
/// call (or step of several tiles) at a time.
struct alignas(16) NonFiniteAccount {
  std::uint32_t packed = 0;  ///< the latest run that was packed
  std::uint32_t found = 0;   ///< the latest run that had any
  std::uint32_t spread = 0;  ///< the latest run that is through; the next one's number is one more
};

/// Packs what the outputs `out` (a rectangle of the layer's whole output map) read of `in`: (images,
/// packed_extent rows, columns, groups * layer.position_channels) in `layout`, dense, the map type of
/// layer.element, tf32 rounded to nearest even. Split layers' low values follow as `in.images` further
/// images. `window` is the unpacked layer's. With an account (of layers whose infinities and NaN go apart)
/// zeros stand for these, and MatrixCall::account must be the same one.
void pack_input(const MatrixLayer& layer, const Window& window, PackedLayout layout, const ConstMapView& in,
                Rect out, void* packed, cudaStream_t stream, NonFiniteAccount* account = nullptr);

/// A tile's input and outputs, and where what it packs goes.
struct PackedTile {
  ConstMapView in;
  Rect out;
  void* packed = nullptr;
};
/// Of several tiles: as many in one launch as its parameters hold.
void pack_input(const MatrixLayer& layer, const Window& window, PackedLayout layout,
                std::span<const PackedTile> tiles, cudaStream_t stream, NonFiniteAccount* account = nullptr);

/// Layers that are no MatrixLayer: one thread an output, f32 fused multiply-adds in the order (ky, kx, c) of
/// input and filters as they are; maps of one element type. `weight` (out_channels, in / groups, kh, kw) and
/// `bias` (or null) f32, on the device.
void plain_conv2d(const Conv2d& layer, const float* weight, const float* bias, const ConstMapView& in,
                  const MapView& out, cudaStream_t stream);

}  // namespace halotile::tensor_core
