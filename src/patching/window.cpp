#include "patching/window.hpp"

#include <string>

#include "patching/error.hpp"
#include "patching/ratio.hpp"

namespace halotile {

AxisWindow Window::rows() const {
  return {kernel.height,   stride.height, {padding.begin.height, padding.end.height},
          dilation.height, ceil_mode,     adaptive_output ? adaptive_output->height : 0};
}

AxisWindow Window::cols() const {
  return {kernel.width,   stride.width, {padding.begin.width, padding.end.width},
          dilation.width, ceil_mode,    adaptive_output ? adaptive_output->width : 0};
}

bool Window::pointwise() const {
  return !adaptive_output && kernel == Extent2{1, 1} && stride == Extent2{1, 1} && padding == Padding{};
}

std::string to_string(const Padding& padding) {
  if (padding.begin == padding.end) return to_string(padding.begin);
  return to_string(padding.begin) + " before, " + to_string(padding.end) + " behind";
}

std::int64_t output_size(const AxisWindow& w, std::int64_t input) {
  if (input < 1) throw ShapeError("a map of " + std::to_string(input) + " positions has no outputs");
  if (w.adaptive_output != 0) {
    if (w.adaptive_output < 0) throw ShapeError("an adaptive output size must be at least 1");
    // Coordinates are products of an output's number, up to one behind the last, and the input size.
    if (w.adaptive_output > (std::int64_t{1} << 62) / input) {
      throw ShapeError("an adaptive window's coordinate overflows: " + std::to_string(w.adaptive_output) +
                       " x " + std::to_string(input) + " does not fit in 64 bits; use smaller sizes");
    }
    return w.adaptive_output;
  }
  if (w.kernel < 1 || w.stride < 1 || w.dilation < 1) {
    throw ShapeError("kernel, stride and dilation must be at least 1 (they are " + std::to_string(w.kernel) +
                     ", " + std::to_string(w.stride) + ", " + std::to_string(w.dilation) + ")");
  }
  if (const std::int64_t least = std::min(w.padding.begin, w.padding.end); least < 0)
    throw ShapeError("padding must not be negative (it is " + std::to_string(least) + ")");
  const std::int64_t dilated = checked_multiply(w.dilation, w.kernel - 1, "the dilated kernel");
  std::int64_t padded = 0;
  if (__builtin_add_overflow(w.padding.begin, w.padding.end, &padded)) {
    throw ShapeError("the padding overflows: " + std::to_string(w.padding.begin) + " + " +
                     std::to_string(w.padding.end) + " does not fit in 64 bits; use smaller sizes");
  }
  if (__builtin_add_overflow(input, padded, &padded) || dilated > (std::int64_t{1} << 62)) {
    throw ShapeError("the padded input overflows 64 bits; use smaller sizes");
  }
  const std::int64_t span = padded - dilated - 1;
  std::int64_t outputs = (w.ceil_mode ? ceil_div(span, w.stride) : floor_div(span, w.stride)) + 1;
  if (outputs < 1) {
    throw ShapeError("the kernel (" + std::to_string(dilated + 1) + " positions" +
                     (w.dilation > 1 ? " with dilation" : "") + ") is larger than the padded input (" +
                     std::to_string(padded) + " positions)" +
                     (w.ceil_mode ? " by the stride (" + std::to_string(w.stride) + ") or more" : "") +
                     "; use a smaller kernel or a larger input");
  }
  if (!w.ceil_mode) return outputs;
  if (checked_multiply(outputs - 1, w.stride, "the last window's start") >= input + w.padding.begin)
    --outputs;
  return outputs;
}

Extent2 output_extent(const Window& window, Extent2 input) {
  return {output_size(window.rows(), input.height), output_size(window.cols(), input.width)};
}

Interval reach(const AxisWindow& w, std::int64_t input, Interval out) {
  if (out.empty()) return {};
  if (w.adaptive_output > 0) {
    return {floor_div(out.begin * input, w.adaptive_output), ceil_div(out.end * input, w.adaptive_output)};
  }
  return {out.begin * w.stride - w.padding.begin,
          (out.end - 1) * w.stride - w.padding.begin + (w.kernel - 1) * w.dilation + 1};
}

}  // namespace halotile
