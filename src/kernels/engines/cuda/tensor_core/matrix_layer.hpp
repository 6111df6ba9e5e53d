// Convolutions and fully connected layers as products of matrices for tensor cores: what depends on the
// layer alone.
//
// Rows are output positions (image, row, column), columns output channels; the sum runs over the kernel's
// taps (ky, kx) and, in each, the channels of the group in ascending order, 32 bytes of them (16 bf16 or f16,
// 8 tf32) an instruction. Channels come in chunks of 128 bytes, a tap's rest in one of 64 and one of 32:
//
//   stage   what is multiplied between two waits: a chunk of 128 bytes, or a tap's rest (96, 64 or 32)
//   segment fully connected layers cut their sum into `segments` runs of stages, each a chain of its own,
//           added in ascending order. Convolutions have one.
//
// Layers whose positions hold too few channels, or a number that the copy engine cannot address, are packed
// first: block.height x block.width positions become one, channels (dy, dx, c) of each group filled with
// zeros. Blocks begin where windows begin, `step` apart, so the packed layer needs no padding: with a stride,
// blocks of that size side by side (fewer taps of more channels); without, one block for each window. The
// blocks of a window's row lie side by side in memory, so that they count as one tap of all their channels.
//
// f32 (split): inputs and filters are the sums of two tf32 values, high and low, and three products
// make up for one: low x high + high x low + high x high, in this order for each stage. The sum of a stage is
// added to the total as plain f32, because the instructions truncate what they add. The input is packed
// always: its low values are further images behind the high ones.
//
// An infinity or NaN that is multiplied by a zero, or split, makes NaN where there should be none: beside a
// window whose blocks reach further than it does, and in split layers everywhere. Such layers' infinities and
// NaN go *apart*: packing makes zeros of them, and behind the sums spread_non_finite (non_finite.cuh) writes
// what they make.
//
// Everything here is a function of the layer and the element type: the bits of an output depend on nothing
// else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/engines/cuda/matrix_element.hpp"
#include "kernels/engines/op.hpp"
#include "kernels/engines/rounding.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::tensor_core {

using namespace cuda;  // the engine stands on what all CUDA engines share

struct NonFiniteAccount;  // matrix_kernels.hpp

/// Where the filters' elements lie (matrix_filters). For any compiler, and inside kernels too.
struct FilterPlaces {
  std::int64_t channels = 0;  ///< of an unpacked group
  std::int64_t block_rows = 1;
  std::int64_t block_cols = 1;
  std::int64_t position_channels = 0;
  std::int64_t taps = 1;
  std::int64_t tap_cols = 1;  ///< taps of a row of the packed kernel
  std::int64_t rows = 0;
  std::int64_t in_bytes = 0;
  std::int64_t element_bytes = 0;

  /// Byte offset of the unpacked layer's weight (out, channel, y, x) of a group.
  [[nodiscard]] HALOTILE_HOST_AND_DEVICE constexpr std::int64_t at(std::int64_t group, std::int64_t out,
                                                                   std::int64_t channel, std::int64_t y,
                                                                   std::int64_t x) const {
    const std::int64_t block = x / block_cols;
    const std::int64_t tap = y / block_rows * tap_cols + (tap_cols > 1 ? block : 0);
    const std::int64_t in_block = y % block_rows * block_cols + x % block_cols;
    const std::int64_t beside = tap_cols > 1 ? 0 : block * position_channels;
    const std::int64_t byte = (beside + in_block * channels + channel) * element_bytes;
    const std::int64_t chunk = byte / 128;
    const std::int64_t begin = (group * taps + tap) * rows * in_bytes + chunk * rows * 128;
    if (chunk < in_bytes / 128) return begin + place(out, byte % 128, 128);
    const std::int64_t in_rest = byte % 128;
    if (in_bytes % 128 < 64) return begin + place(out, in_rest, 32);
    if (in_rest < 64) return begin + place(out, in_rest, 64);
    return begin + rows * 64 + place(out, in_rest - 64, 32);
  }

 private:
  static HALOTILE_HOST_AND_DEVICE constexpr std::int64_t place(std::int64_t row, std::int64_t byte,
                                                               std::int64_t pitch) {
    const std::int64_t exchange = pitch == 128 ? row % 8 : pitch == 64 ? row / 2 % 4 : row / 4 % 2;
    return row * pitch + ((byte / 16) ^ exchange) * 16 + byte % 16;
  }
};

struct MatrixLayer {
  Element element = Element::bf16;
  std::int64_t groups = 1;
  std::int64_t in = 0;   ///< channels of a group that a tap reads
  std::int64_t out = 0;  ///< channels of a group
  Extent2 kernel{1, 1};  ///< of the packed layer, as are the next two
  Extent2 stride{1, 1};
  Extent2 dilation{1, 1};
  bool relu = false;
  bool packed = false;
  Extent2 block{1, 1};
  Extent2 step{1, 1};
  std::int64_t position_channels = 0;  ///< packed: channels of a group at one position
  std::int64_t segments = 1;
  Window window;              ///< of the unpacked layer, as is the next
  std::int64_t channels = 0;  ///< of a group
  bool apart = false;         ///< infinities and NaN of the input are

  [[nodiscard]] bool split() const { return element == Element::f32; }
  /// Bytes of a group's channels at one position, filled up to whole instructions.
  [[nodiscard]] std::int64_t in_bytes() const { return (in * size_of(element) + 31) / 32 * 32; }
  [[nodiscard]] std::int64_t whole_chunks() const { return in_bytes() / 128; }  ///< of a tap
  [[nodiscard]] std::int64_t rest_bytes() const { return in_bytes() % 128; }    ///< of a tap: 0, 32, 64, 96
  /// Packed positions, one after the other, that a tap reads.
  [[nodiscard]] std::int64_t tap_positions() const { return packed ? in / position_channels : 1; }
  [[nodiscard]] std::int64_t stages_of_tap() const { return whole_chunks() + (rest_bytes() > 0 ? 1 : 0); }
  [[nodiscard]] std::int64_t stages() const { return kernel.area() * stages_of_tap(); }
  /// First stage of a segment.
  [[nodiscard]] std::int64_t segment_begin(std::int64_t segment) const {
    return segment * stages() / segments;
  }
  /// Positions of the packed input that `outputs` read.
  [[nodiscard]] Extent2 packed_extent(Extent2 outputs) const {
    return {(outputs.height - 1) * stride.height + (kernel.height - 1) * dilation.height + 1,
            (outputs.width - 1) * stride.width + (kernel.width - 1) * dilation.width + tap_positions()};
  }
  /// Output channels of a group as the filters hold them.
  [[nodiscard]] std::int64_t filter_rows() const { return (out + 7) / 8 * 8; }
  [[nodiscard]] FilterPlaces filter_places() const {
    return {channels,     block.height,  block.width, position_channels, kernel.area(),
            kernel.width, filter_rows(), in_bytes(),  size_of(element)};
  }
  /// Bytes of all filters; where they are split, of the high values, which the low ones follow.
  [[nodiscard]] std::int64_t filter_bytes() const {
    return groups * kernel.area() * filter_rows() * in_bytes();
  }
};

/// Nothing for layers that the matrix kernels do not compute: very wide kernels, paddings or strides, groups
/// of few channels.
[[nodiscard]] std::optional<MatrixLayer> matrix_layer(const Conv2d& layer, Element element);
[[nodiscard]] MatrixLayer matrix_layer(const FullyConnected& layer, Element element);

/// The weight as the kernels read it: (group, ky, kx, stage of the tap, filter row, bytes of the stage),
/// rounded to nearest even. Within a stage the 16-byte units of 8 rows are exchanged the way the copy
/// engine writes input into shared memory: unit u of row r lies at u ^ (r % 8) for 128 bytes, u ^ (r / 2 % 4)
/// for 64, u ^ (r / 4 % 2) for 32; a rest of 96 is all rows' 64, then all rows' 32. 256 rows of zeros
/// follow, since blocks of columns may reach beyond the last.
[[nodiscard]] std::vector<std::byte> matrix_filters(const Conv2d& layer, const MatrixLayer& matrix);
[[nodiscard]] std::vector<std::byte> matrix_filters(const FullyConnected& layer, const MatrixLayer& matrix);

/// The input of a layer before it is packed, as the windows of a call's outputs see it.
struct UnpackedInput {
  const void* data = nullptr;  ///< (image 0, first row and column of the view)
  DType type = DType::f32;
  std::int64_t image_stride = 0;  ///< in elements
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
  std::int64_t first_row = 0;  ///< where the first output's window begins, from the view's first
  std::int64_t first_col = 0;
  std::int64_t row_begin = 0;  ///< what may be read, likewise; all else is padding
  std::int64_t row_end = 0;
  std::int64_t col_begin = 0;
  std::int64_t col_end = 0;
};
[[nodiscard]] UnpackedInput unpacked_input(const Window& window, const ConstMapView& in, const Rect& out);

/// One product: a layer on maps. Positions of the input that lie outside `rows` x `cols` read as zero.
struct MatrixCall {
  /// (image 0, row 0, column 0, channel 0), 16-byte aligned, as are its strides.
  const void* input = nullptr;
  std::int64_t images = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t image_stride = 0;  ///< in elements
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
  std::int64_t first_row = 0;  ///< where the first output's window begins: not positive
  std::int64_t first_col = 0;

  void* output = nullptr;  ///< (image 0, output row 0, column 0, channel 0)
  DType output_type = DType::f32;
  Extent2 outputs;
  std::int64_t output_image_stride = 0;
  std::int64_t output_row_stride = 0;
  std::int64_t output_col_stride = 0;

  const std::byte* filters = nullptr;  ///< as matrix_filters made them, on the device
  const float* bias = nullptr;         ///< groups * out values on the device, or null
  float* partial = nullptr;  ///< several segments: (segments, output positions, groups * out), on the device

  /// What layers whose infinities and NaN go apart need besides. Without an account those are multiplied.
  UnpackedInput unpacked;
  NonFiniteAccount* account = nullptr;  ///< on the device; the one that the input was packed with
  const float* unfit = nullptr;  ///< for each output NaN where its filter holds one or an infinity, or null

  /// Rows of the product.
  [[nodiscard]] std::int64_t positions() const { return images * outputs.area(); }
};

/// The product that makes `out` of `in`, without filters, bias, partial, account and unfit. `window` is the
/// unpacked layer's, `packed` where pack_input has packed the input of a layer that wants that. Where the
/// outputs see nothing but padding there is no input: rows or cols are 0.
[[nodiscard]] MatrixCall matrix_call(const MatrixLayer& layer, const Window& window, const ConstMapView& in,
                                     const MapView& out, const void* packed);

}  // namespace halotile::tensor_core
