// Convolution of the `direct` engine: CUDA cores, fp32, the bits of reference.hpp. A layer can be computed by
// several variants (kernel and tile), which differ in speed alone: every output is one chain of fused
// multiply-adds in the order (ky, kx, c), whatever the tile.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/engines/cuda/direct/constant_space.hpp"
#include "kernels/engines/kinds.hpp"
#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::direct {

enum class Conv2dKernel : std::uint8_t {
  patch,   ///< input: the patch of the input with its halo, all channels, once; filters in slices
  slice,   ///< input: slices of the patch, tap by tap, 16 channels at a time, along with the filters'
  filter,  ///< filter: slices of the filters; the input is read through the L1 cache
};

/// Outputs of a block: pixels x channels.
struct TileShape {
  int pixels = 0;
  int channels = 0;
  int threads = 0;
  std::size_t shared_bytes = 0;  ///< dynamic shared memory besides the input
  std::size_t slice_bytes = 0;   ///< and for the slices of input
};

/// The register tiles there are; a variant names one by its index.
[[nodiscard]] std::span<const TileShape> conv2d_tiles();

/// One way of computing a layer for one geometry.
struct Conv2dVariant {
  Conv2dKernel kernel = Conv2dKernel::slice;
  int tile = 0;                  ///< index in conv2d_tiles()
  bool merged = false;           ///< filters in the merged layout, see conv2d_filters
  Extent2 outputs;               ///< patch: rows and columns of outputs of a block
  std::size_t shared_bytes = 0;  ///< dynamic shared memory of a block
  std::int64_t blocks = 0;       ///< blocks of the grid
  int resident = 0;              ///< blocks that fit on a multiprocessor
  double cost = 0;               ///< estimated time in nanoseconds, for ordering alone
};

/// The input that `outputs` (rows, columns) read, in shared memory: `input` positions, pitches in floats.
struct PatchLayout {
  Extent2 input;
  std::int64_t row_pitch = 0;
  std::int64_t col_pitch = 0;
};
[[nodiscard]] PatchLayout patch_layout(const Conv2d& layer, Extent2 outputs, bool merged);

/// "patch 128x96 (11x11)".
[[nodiscard]] std::string to_string(const Conv2dVariant& variant);

/// Throws ShapeError for maps that do not fit the layer, UnsupportedError for other element types than f32.
void check_conv2d(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out);

/// Every variant with this stage (a block stages the input that its outputs read, or only the filters) that
/// can run on the current device, cheapest first; never empty for automatic and input. Throws ShapeError for
/// maps that do not fit the layer or one launch.
[[nodiscard]] std::vector<Conv2dVariant> conv2d_variants(const Conv2d& layer, const MapGeometry& in,
                                                         const MapGeometry& out, DirectStage stage);

/// The layer's weight as the kernels read it: (group, k, output channel of the group), output channels padded
/// to a multiple of 4. k runs over (ky, kx, c) with c padded to a multiple of 4 by -0, or merged: over
/// (ky, [kx, c]) with each ky's kx and c together padded so. 16 rows that are read, but not used, follow.
[[nodiscard]] std::vector<float> conv2d_filters(const Conv2d& layer, bool merged);

/// Where a bias lies on the device: in the module's constant memory, in global memory, or nowhere.
struct BiasPlace {
  int constant = -1;              ///< offset in constant memory, or -1
  const float* global = nullptr;  ///< or in global memory
  [[nodiscard]] bool present() const { return constant >= 0 || global != nullptr; }
};

/// Constant memory of this family's module.
[[nodiscard]] ConstantSpace& conv2d_constants();

/// Launches `variant`, which was made for the geometry of `in` and `out`. `filters` as made by
/// conv2d_filters, on the device. Does nothing for an empty `out`.
void conv2d(const Conv2d& layer, const Conv2dVariant& variant, const float* filters, const BiasPlace& bias,
            const ConstMapView& in, const MapView& out, cudaStream_t stream);

/// Blocks of `kernel` with `tile` that fit on a multiprocessor of the current device with this much dynamic
/// shared memory; 0 when there is no such kernel or too little memory. Raises the kernel's limit.
[[nodiscard]] int conv2d_resident_blocks(Conv2dKernel kernel, int tile, std::size_t shared_bytes);

}  // namespace halotile::direct
