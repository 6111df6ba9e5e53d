// Windows that slide, of convolutions and pools.
//
// A sliding window with kernel K, stride S, padding P before the map and dilation D makes output position o
// from the input positions o*S - P + k*D, k in [0, K), in true coordinates of the whole input map (negative
// or beyond the end: padding). An adaptive window makes output o of O from the input positions
// [floor(o*H/O), ceil((o+1)*H/O)). Output sizes follow PyTorch: floor division, or with ceil_mode rounding
// up, where the last window must start inside the input or its left padding; it may then reach beyond the
// padded input, even as the only one.
#pragma once

#include <optional>

#include "patching/geometry.hpp"

namespace halotile {

/// Positions that windows may stand on before the first and behind the last position of a map.
struct AxisPadding {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  constexpr AxisPadding() = default;
  /// The same on both sides, as most networks have it: therefore a number converts.
  constexpr AxisPadding(std::int64_t both) : begin(both), end(both) {}
  constexpr AxisPadding(std::int64_t before, std::int64_t behind) : begin(before), end(behind) {}

  bool operator==(const AxisPadding&) const = default;
};

/// One axis of a window.
struct AxisWindow {
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  AxisPadding padding{};
  std::int64_t dilation = 1;
  bool ceil_mode = false;
  std::int64_t adaptive_output = 0;  ///< 0: sliding; otherwise the number of outputs

  bool operator==(const AxisWindow&) const = default;
};

/// Padding of both axes: `begin` above and to the left of a map, `end` below and to the right.
struct Padding {
  Extent2 begin;
  Extent2 end;

  constexpr Padding() = default;
  /// The same on both sides: therefore a height and width convert.
  constexpr Padding(Extent2 both) : begin(both), end(both) {}
  constexpr Padding(std::int64_t height, std::int64_t width) : Padding(Extent2{height, width}) {}
  constexpr Padding(Extent2 before, Extent2 behind) : begin(before), end(behind) {}

  bool operator==(const Padding&) const = default;
};

/// All that geometry needs to know of a layer that slides windows. The default is pointwise.
struct Window {
  Extent2 kernel{1, 1};
  Extent2 stride{1, 1};
  Padding padding{};
  Extent2 dilation{1, 1};
  bool ceil_mode = false;
  std::optional<Extent2> adaptive_output{};  ///< set: adaptive; the other fields are then unused

  bool operator==(const Window&) const = default;
  [[nodiscard]] AxisWindow rows() const;
  [[nodiscard]] AxisWindow cols() const;
  [[nodiscard]] bool pointwise() const;
};

/// "1x2" (height x width), or "1x2 before, 0x0 behind".
[[nodiscard]] std::string to_string(const Padding& padding);

/// Number of outputs along an axis of `input` positions. Throws ShapeError for an input below 1, an
/// adaptive output below 0, a kernel, stride or dilation below 1, negative padding, a dilated kernel larger
/// than the padded input (with ceil_mode: by the stride or more), or sizes that overflow.
[[nodiscard]] std::int64_t output_size(const AxisWindow& window, std::int64_t input);
/// The same for both axes.
[[nodiscard]] Extent2 output_extent(const Window& window, Extent2 input);

/// First to last tap of the outputs `out`, unclipped: may begin below 0 or end beyond `input`. Empty for
/// empty `out`.
[[nodiscard]] Interval reach(const AxisWindow& window, std::int64_t input, Interval out);

}  // namespace halotile
