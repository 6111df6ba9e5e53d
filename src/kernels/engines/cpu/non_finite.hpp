// Infinities and NaN on their way through a convolution whose kernel multiplies what lies beside a window by
// zero filters: there they would make NaN, as 0 * infinity is. How to set that right, once it has happened.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile {

/// True when an element of a map of f32 or bf16 is NaN.
[[nodiscard]] bool holds_nan(const ConstMapView& map);

/// Elements of f32 or bf16 that are no finite numbers become 0.
void clear_non_finite(DType type, std::span<std::byte> elements);

/// Overwrites the outputs whose windows hold infinities or NaN with what these make: every finite term is
/// nothing beside them. The layer's weights are finite.
void spread_non_finite(const Conv2d& layer, const ConstMapView& in, const MapView& out);

}  // namespace halotile
