// Winograd convolution of 3x3 kernels on the CPU, for engines that share the CPU's operations.
#pragma once

#include <memory>

#include "kernels/devices/device.hpp"
#include "kernels/engines/engine.hpp"
#include "kernels/engines/op.hpp"

namespace halotile {

/// True for layers that run faster this way: 3x3, stride 1, dilation 1, many channels a group; and a CPU with
/// AVX-512, for bf16 maps with AVX512_BF16. Depends on nothing else, so that a tile is computed as the whole
/// map is.
[[nodiscard]] bool winograd_suits(const Conv2d& layer, DType type);

/// The layer's weight transformed and packed, as winograd_conv2d reads it for maps of `type`.
[[nodiscard]] Buffer winograd_weight(const Conv2d& layer, DType type, Device& device);

/// The convolution of maps of out.dtype, f32 or bf16, by `threads` threads. `weight` is winograd_weight's for
/// that type and must outlive the operation. The bits of an output depend neither on the tile it lies in nor
/// on the batch or the threads.
[[nodiscard]] std::unique_ptr<Operation> winograd_conv2d(const Conv2d& layer, const Buffer& weight,
                                                         const MapGeometry& out, int threads);

}  // namespace halotile
