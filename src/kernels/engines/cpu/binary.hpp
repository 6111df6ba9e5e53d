// Sums, differences and products of two maps, element by element, on the CPU.
#pragma once

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile {

/// out.rect of the layer, computed in f32 and rounded once when stored. All three maps have one element type.
/// An input has the output's channels, or one for all of them; along each axis its map has the output's size,
/// or one position for all of them. Throws ShapeError otherwise. `a` or `b` may be `out`.
void binary(const Binary& layer, const ConstMapView& a, const ConstMapView& b, const MapView& out);

}  // namespace halotile
