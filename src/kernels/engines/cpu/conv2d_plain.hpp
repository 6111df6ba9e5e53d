// Convolution of any window on the CPU, for layers that a library's kernels do not compute in one order of
// sums.
#pragma once

#include <memory>

#include "kernels/devices/device.hpp"
#include "kernels/engines/engine.hpp"
#include "kernels/engines/op.hpp"

namespace halotile {

/// The layer's weight as plain_conv2d reads it, f32.
[[nodiscard]] Buffer plain_conv2d_weight(const Conv2d& layer, Device& device);

/// The convolution of maps of out.dtype, f32 or bf16, by `threads` threads that share the rows of outputs.
/// `weight` is plain_conv2d_weight's and must outlive the operation. Every sum is in the order of
/// reference.hpp, in f32; f32 maps get its bits.
[[nodiscard]] std::unique_ptr<Operation> plain_conv2d(const Conv2d& layer, const Buffer& weight,
                                                      const MapGeometry& out, int threads);

}  // namespace halotile
