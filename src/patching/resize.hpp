// Resizing along one axis, by nearest neighbours or linearly: which inputs an output is made of, in whole
// numbers. Kernels compute from the same numbers, so that what a plan gives a tile is what its kernels read.
//
// Output o of O stands at the input coordinate x, with S input positions for an output position (H / O, or
// what the network says; for align_corners (H - 1) / (O - 1)):
//
//   half_pixel            x = (o + 1/2) S - 1/2
//   pytorch_half_pixel    the same; 0 for O = 1
//   align_corners         x = o S; 0 for O = 1
//   asymmetric            x = o S
//   tf_half_pixel_for_nn  x = (o + 1/2) S
//
// Nearest reads the position that x is rounded to; linear reads floor(x) and, unless x is whole, the position
// behind it. Positions before the first or behind the last are the first or last. Sources: ONNX's Resize;
// PyTorch's interpolate is asymmetric with floor (nearest), tf_half_pixel_for_nn with floor (nearest-exact),
// half_pixel or align_corners (bilinear). PyTorch computes x in fp32: where it is a whole number or nearly
// so, nearest may read the position before (from 2 to 82, output 41 is input 0; here it is 1).
#pragma once

#include <optional>

#include "patching/geometry.hpp"
#include "patching/ratio.hpp"

namespace halotile {

enum class ResizeMode : std::uint8_t { nearest, linear };
enum class ResizeCoordinates : std::uint8_t {
  half_pixel,
  pytorch_half_pixel,
  align_corners,
  asymmetric,
  tf_half_pixel_for_nn
};
enum class NearestRounding : std::uint8_t { floor, ceil, round_prefer_floor, round_prefer_ceil };

struct AxisResize {
  std::int64_t outputs = 1;
  ResizeMode mode = ResizeMode::nearest;
  ResizeCoordinates coordinates = ResizeCoordinates::asymmetric;
  NearestRounding rounding = NearestRounding::floor;  ///< of `nearest`
  /// Input positions for an output position where they are not those of the sizes: one over the scale factor
  /// that the network was given. Unused for align_corners.
  std::optional<Ratio> step{};

  bool operator==(const AxisResize&) const = default;
};

/// Input coordinates in whole numbers: x = (scale * o + offset) / unit, unit at least 1.
struct ResizeLine {
  std::int64_t scale = 1;
  std::int64_t offset = 0;
  std::int64_t unit = 1;
};

/// What an output is made of: (1 - w) x[first] + w x[second], w = weight / unit of the line. Where it is one
/// position, second is first and weight 0.
struct ResizeSource {
  std::int64_t first = 0;
  std::int64_t second = 0;
  std::int64_t weight = 0;

  bool operator==(const ResizeSource&) const = default;
};

/// Throws ShapeError for an input or output size below 1, or sizes whose coordinates overflow.
[[nodiscard]] ResizeLine resize_line(const AxisResize& resize, std::int64_t input);
/// `line` is that of `resize` and `input`; `output` in [0, outputs).
[[nodiscard]] ResizeSource resize_source(const AxisResize& resize, const ResizeLine& line, std::int64_t input,
                                         std::int64_t output);

}  // namespace halotile
