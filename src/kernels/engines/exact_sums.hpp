// What the plain fp32 engines of all devices agree on, so that their bits do: the order of their sums, which
// cpu/reference.hpp writes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/engines/op.hpp"

namespace halotile::reference {

/// Length of the segments of a fully connected layer's sum.
inline constexpr std::int64_t fully_connected_segment = 128;

/// Throws ShapeError unless `what` has as many values as the layer needs.
void check_size(const char* what, std::size_t size, std::int64_t expected);
/// Values of a convolution's weight. Throws ShapeError for groups that do not divide the channels.
[[nodiscard]] std::int64_t weight_size(const Conv2d& layer);

/// A convolution's weight in the order of its sum: (out, c, ky, kx) -> (out, ky, kx, c). Throws ShapeError
/// for a weight of another size.
[[nodiscard]] std::vector<float> conv2d_weight_order(const Conv2d& layer);

}  // namespace halotile::reference
