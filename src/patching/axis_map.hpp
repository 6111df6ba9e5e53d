// What outputs are made of along one axis, for every kind of layer: the only halo arithmetic of the project.
// Positions are those of whole maps; what lies outside a map, as padding, is negative or beyond its end.
#pragma once

#include <optional>
#include <variant>

#include "patching/resize.hpp"
#include "patching/runs.hpp"
#include "patching/window.hpp"

namespace halotile {

/// Transposed convolution: output o sums the inputs i and taps k with o = i*stride - padding.begin +
/// k*dilation. Sizes are PyTorch's: (input - 1)*stride - padding + dilation*(kernel - 1) + output_padding
/// + 1.
struct AxisTransposed {
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  AxisPadding padding{};
  std::int64_t output_padding = 0;
  std::int64_t dilation = 1;

  bool operator==(const AxisTransposed&) const = default;
};

/// Pixel shuffle (depth to space): output o is a channel of input floor(o / factor).
struct AxisShuffle {
  std::int64_t factor = 1;

  bool operator==(const AxisShuffle&) const = default;
};

/// Pixel unshuffle (space to depth): output o holds inputs o*factor up to (o+1)*factor. The factor divides
/// the input.
struct AxisUnshuffle {
  std::int64_t factor = 1;

  bool operator==(const AxisUnshuffle&) const = default;
};

enum class PadKind : std::uint8_t { constant, edge, reflect };

/// Output o is input o - begin; outside the map it is a constant, the nearest input, or the input as far
/// inside (the outermost input is the mirror). Negative amounts crop.
struct AxisPad {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  PadKind kind = PadKind::constant;

  bool operator==(const AxisPad&) const = default;
};

/// Output o is input offset + o*step, all of them inside the map.
struct AxisSlice {
  std::int64_t offset = 0;
  std::int64_t step = 1;
  std::int64_t outputs = 1;

  bool operator==(const AxisSlice&) const = default;
};

/// Every output is made of the whole input: global pools, norms over the map, attention; also one position
/// given to all outputs.
struct AxisGlobal {
  std::int64_t outputs = 1;

  bool operator==(const AxisGlobal&) const = default;
};

/// How a map depends on another along one axis. The default is pointwise.
using AxisMap = std::variant<AxisWindow, AxisTransposed, AxisResize, AxisShuffle, AxisUnshuffle, AxisPad,
                             AxisSlice, AxisGlobal>;

/// Number of outputs from `input` positions. Throws ShapeError for parameters that make no sense (output_size
/// of window.hpp and resize_line say which; sizes, kernels, strides, dilations, factors and steps below 1;
/// negative padding of a convolution; reflections further than the map; slices that leave the map), outputs
/// below 1, and sizes that overflow.
[[nodiscard]] std::int64_t output_size(const AxisMap& map, std::int64_t input);

/// First to last input of the outputs `out`, unclipped: where windows, transposed convolutions, constant pads
/// and shuffles go on outside the map it may begin below 0 or end beyond `input`. Empty for empty `out`, and
/// where a transposed convolution gives `out` no input.
[[nodiscard]] Interval reach(const AxisMap& map, std::int64_t input, Interval out);

/// The positions inside [0, input) that the outputs `out` are made of. Exact: positions that exist only as
/// padding do not count, nor do positions that strides larger than the kernel, or dilation, step over. But
/// where strides make a run of more than most_runs outputs step over positions, all of its reach inside the
/// map counts; and more than most_runs runs become one. So what is given is never too little.
[[nodiscard]] Runs read_positions(const AxisMap& map, std::int64_t input, const Runs& out);

/// The input that output `o` of a pad copies; nothing for a constant.
[[nodiscard]] std::optional<std::int64_t> pad_source(const AxisPad& pad, std::int64_t input, std::int64_t o);

/// Input positions that stand for one output position, far from the ends.
struct AxisScale {
  Ratio step;
  /// The ratio is one of sizes, where rounding of sizes before it (7 of 13) shows: an estimate.
  bool by_sizes = false;
};
/// The stride; one over it for transposed convolution and shuffle; input over output size for resizes without
/// a step of their own and for global maps; for adaptive windows the whole part of it, at least 1.
[[nodiscard]] AxisScale scale_of(const AxisMap& map, std::int64_t input);

/// Both axes.
struct PlaneMap {
  AxisMap rows;
  AxisMap cols;

  bool operator==(const PlaneMap&) const = default;
};
[[nodiscard]] PlaneMap plane_map(const Window& window);
[[nodiscard]] Extent2 output_extent(const PlaneMap& map, Extent2 input);

}  // namespace halotile
