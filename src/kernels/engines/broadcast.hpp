// Inputs that have one of what the output has many: positions, or channels.
#pragma once

#include <string>

#include "kernels/maps/map.hpp"
#include "patching/error.hpp"

namespace halotile {

/// `in` as a view of the rectangle of `out`: along an axis of which its map has one position, the stride is
/// 0. Throws ShapeError, beginning with `what`, when images, element types, channels (the same, or 1),
/// extents (likewise) or rectangles do not fit.
[[nodiscard]] inline ConstMapView broadcast(const char* what, const ConstMapView& in,
                                            const MapGeometry& out) {
  const auto refuse = [&](const std::string& why) { throw ShapeError(std::string(what) + ": " + why); };
  if (in.dtype != out.dtype) refuse("in and out must have the same element type");
  if (in.images != out.images) refuse("in and out must have the same images");
  if (in.channels != out.channels && in.channels != 1)
    refuse("an input must have the output's channels, or one");
  const bool one_row = in.whole.height == 1 && out.whole.height > 1;
  const bool one_col = in.whole.width == 1 && out.whole.width > 1;
  if ((!one_row && in.whole.height != out.whole.height) || (!one_col && in.whole.width != out.whole.width))
    refuse("an input's map must have the output's extent, or one position along an axis");
  const Rect wanted{one_row ? Interval{0, 1} : out.rect.rows, one_col ? Interval{0, 1} : out.rect.cols};
  if (out.rect.empty()) return {in};
  if (!in.rect.contains(wanted))
    refuse("the outputs " + to_string(out.rect) + " need " + to_string(wanted) + " of an input that shows " +
           to_string(in.rect));
  ConstMapView view = subview(in, {0, in.images}, wanted);
  view.rect = out.rect;
  view.whole = out.whole;
  if (one_row) view.row_stride = 0;
  if (one_col) view.col_stride = 0;
  return view;
}

}  // namespace halotile
