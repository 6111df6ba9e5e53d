#include "patching/resize.hpp"

#include "patching/error.hpp"

namespace halotile {
namespace {

ResizeLine line_of(const AxisResize& resize, std::int64_t input) {
  using enum ResizeCoordinates;
  const bool one = resize.outputs == 1;
  if (resize.coordinates == align_corners) {
    if (one || input == 1) return {0, 0, 1};
    const Ratio step = ratio(input - 1, resize.outputs - 1);
    return {step.numerator, 0, step.denominator};
  }
  if (resize.coordinates == pytorch_half_pixel && one) return {0, 0, 1};
  const Ratio step =
      resize.step ? ratio(resize.step->numerator, resize.step->denominator) : ratio(input, resize.outputs);
  if (resize.coordinates == asymmetric) return {step.numerator, 0, step.denominator};
  const std::int64_t twice = checked_multiply(2, step.numerator, "a resize's step");
  const std::int64_t unit = checked_multiply(2, step.denominator, "a resize's step");
  const std::int64_t half = resize.coordinates == tf_half_pixel_for_nn ? 0 : step.denominator;
  return {twice, step.numerator - half, unit};
}

std::int64_t rounded(NearestRounding rounding, std::int64_t x, std::int64_t unit) {
  switch (rounding) {
    case NearestRounding::floor:
      return floor_div(x, unit);
    case NearestRounding::ceil:
      return ceil_div(x, unit);
    case NearestRounding::round_prefer_floor:
      return ceil_div(2 * x - unit, 2 * unit);
    case NearestRounding::round_prefer_ceil:
      return floor_div(2 * x + unit, 2 * unit);
  }
  return 0;
}

}  // namespace

ResizeLine resize_line(const AxisResize& resize, std::int64_t input) {
  if (input < 1 || resize.outputs < 1) {
    throw ShapeError("a resize from " + std::to_string(input) + " to " + std::to_string(resize.outputs) +
                     " positions: both must be at least 1");
  }
  const ResizeLine line = line_of(resize, input);
  // Coordinates, up to that of the output behind the last, are doubled to be rounded.
  constexpr std::int64_t most = std::int64_t{1} << 61;
  if (checked_multiply(line.scale, resize.outputs, "a resize's coordinate") > most / 2 ||
      checked_multiply(line.unit, input, "a resize's coordinate") > most) {
    throw ShapeError("a resize from " + std::to_string(input) + " to " + std::to_string(resize.outputs) +
                     " positions: a coordinate overflows 64 bits; use smaller sizes");
  }
  return line;
}

ResizeSource resize_source(const AxisResize& resize, const ResizeLine& line, std::int64_t input,
                           std::int64_t output) {
  const std::int64_t x = line.scale * output + line.offset;
  if (resize.mode == ResizeMode::nearest) {
    const std::int64_t at = std::clamp<std::int64_t>(rounded(resize.rounding, x, line.unit), 0, input - 1);
    return {at, at, 0};
  }
  const std::int64_t inside = std::clamp<std::int64_t>(x, 0, (input - 1) * line.unit);
  const std::int64_t first = inside / line.unit;
  const std::int64_t weight = inside % line.unit;
  return {first, weight > 0 ? first + 1 : first, weight};
}

}  // namespace halotile
