// Windows and what they read: the only halo arithmetic of the project.
//
// A sliding window with kernel K, stride S, padding P and dilation D makes output position o from the input
// positions o*S - P + k*D, k in [0, K), in true coordinates of the whole input map (negative or beyond the
// end: padding). An adaptive window makes output o of O from the input positions [floor(o*H/O),
// ceil((o+1)*H/O)). Output sizes follow PyTorch: floor division, or with ceil_mode rounding up, where the
// last window must start inside the input or its left padding.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "patching/geometry.hpp"

namespace halotile {

/// One axis of a window.
struct AxisWindow {
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
  bool ceil_mode = false;
  std::int64_t adaptive_output = 0;  ///< 0: sliding; otherwise the number of outputs

  bool operator==(const AxisWindow&) const = default;
};

/// All that geometry needs to know of a layer. The default is pointwise.
struct Window {
  Extent2 kernel{1, 1};
  Extent2 stride{1, 1};
  Extent2 padding{0, 0};
  Extent2 dilation{1, 1};
  bool ceil_mode = false;
  std::optional<Extent2> adaptive_output{};  ///< set: adaptive; the other fields are then unused

  bool operator==(const Window&) const = default;
  [[nodiscard]] AxisWindow rows() const;
  [[nodiscard]] AxisWindow cols() const;
  [[nodiscard]] bool pointwise() const;
};

/// Number of outputs along an axis of `input` positions. Throws ShapeError for an input below 1, an
/// adaptive output below 0, a kernel, stride or dilation below 1, negative padding, a dilated kernel larger
/// than the padded input, or sizes that overflow.
[[nodiscard]] std::int64_t output_size(const AxisWindow& window, std::int64_t input);
/// The same for both axes.
[[nodiscard]] Extent2 output_extent(const Window& window, Extent2 input);

/// First to last tap of the outputs `out`, unclipped: may begin below 0 or end beyond `input`. Empty for
/// empty `out`.
[[nodiscard]] Interval reach(const AxisWindow& window, std::int64_t input, Interval out);

/// One layer of a chain along one axis.
struct AxisLayer {
  AxisWindow window;
  std::int64_t input = 0;   ///< positions of the layer's whole input map
  std::int64_t output = 0;  ///< positions of its whole output map
};

/// Walks from outputs `core` of the last layer back to the input of the first. Element l of the result (size
/// chain + 1) bounds the positions of the map before layer l that `core` depends on; the last element is
/// `core`.
///
/// The dependence is exact: positions that exist only as padding do not count, nor do positions that strides
/// larger than the kernel, or dilation, step over (unless they lie between two that count). Where nothing
/// inside the map is read (all padding), the interval is empty.
[[nodiscard]] std::vector<Interval> needed_intervals(std::span<const AxisLayer> chain, Interval core);

}  // namespace halotile
