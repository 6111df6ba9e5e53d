#include "patching/window.hpp"

#include <string>

#include "patching/error.hpp"

namespace halotile {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

// Sorted, disjoint, non-touching intervals.
using Runs = std::vector<Interval>;

void merge_sorted(Runs& runs) {
  std::sort(runs.begin(), runs.end(), [](Interval a, Interval b) { return a.begin < b.begin; });
  Runs merged;
  for (const Interval run : runs) {
    if (!merged.empty() && run.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, run.end);
    } else {
      merged.push_back(run);
    }
  }
  runs = std::move(merged);
}

// The positions inside [0, input) that the outputs `out` read.
Runs read_positions(const AxisLayer& layer, const Runs& out) {
  const AxisWindow& w = layer.window;
  const Interval inside{0, layer.input};
  Runs reads;
  const auto add = [&](Interval run) {
    const Interval kept = intersect(run, inside);
    if (!kept.empty()) reads.push_back(kept);
  };
  const bool without_gaps = w.adaptive_output > 0 || (w.dilation == 1 && w.stride <= w.kernel);
  for (const Interval run : out) {
    if (without_gaps) {
      add(reach(w, layer.input, run));
      continue;
    }
    for (std::int64_t k = 0; k < w.kernel; ++k) {
      const std::int64_t shift = k * w.dilation - w.padding;
      if (w.stride == 1) {
        add({run.begin + shift, run.end + shift});
      } else {
        for (std::int64_t o = run.begin; o < run.end; ++o) {
          add({o * w.stride + shift, o * w.stride + shift + 1});
        }
      }
    }
  }
  merge_sorted(reads);
  return reads;
}

}  // namespace

AxisWindow Window::rows() const {
  return {kernel.height,   stride.height, padding.height,
          dilation.height, ceil_mode,     adaptive_output ? adaptive_output->height : 0};
}

AxisWindow Window::cols() const {
  return {kernel.width,   stride.width, padding.width,
          dilation.width, ceil_mode,    adaptive_output ? adaptive_output->width : 0};
}

bool Window::pointwise() const {
  return !adaptive_output && kernel == Extent2{1, 1} && stride == Extent2{1, 1} && padding == Extent2{0, 0};
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
  if (w.padding < 0)
    throw ShapeError("padding must not be negative (it is " + std::to_string(w.padding) + ")");
  const std::int64_t dilated = checked_multiply(w.dilation, w.kernel - 1, "the dilated kernel");
  std::int64_t padded = 0;
  if (__builtin_add_overflow(input, checked_multiply(2, w.padding, "the padding"), &padded) ||
      dilated > (std::int64_t{1} << 62)) {
    throw ShapeError("the padded input overflows 64 bits; use smaller sizes");
  }
  const std::int64_t span = padded - dilated - 1;
  if (span < 0) {
    throw ShapeError("the kernel (" + std::to_string(dilated + 1) + " positions" +
                     (w.dilation > 1 ? " with dilation" : "") + ") is larger than the padded input (" +
                     std::to_string(padded) + " positions); use a smaller kernel or a larger input");
  }
  if (!w.ceil_mode) return span / w.stride + 1;
  std::int64_t outputs = ceil_div(span, w.stride) + 1;
  if (checked_multiply(outputs - 1, w.stride, "the last window's start") >= input + w.padding) --outputs;
  return outputs;
}

Extent2 output_extent(const Window& window, Extent2 input) {
  return {output_size(window.rows(), input.height), output_size(window.cols(), input.width)};
}

Interval reach(const AxisWindow& w, std::int64_t input, Interval out) {
  if (out.empty()) return {};
  if (w.adaptive_output > 0) {
    return {out.begin * input / w.adaptive_output, ceil_div(out.end * input, w.adaptive_output)};
  }
  return {out.begin * w.stride - w.padding,
          (out.end - 1) * w.stride - w.padding + (w.kernel - 1) * w.dilation + 1};
}

std::vector<Interval> needed_intervals(std::span<const AxisLayer> chain, Interval core) {
  std::vector<Interval> needed(chain.size() + 1);
  needed.back() = core;
  Runs runs;
  if (!core.empty()) runs.push_back(core);
  for (std::size_t l = chain.size(); l-- > 0;) {
    runs = read_positions(chain[l], runs);
    needed[l] = runs.empty() ? Interval{} : Interval{runs.front().begin, runs.back().end};
  }
  return needed;
}

}  // namespace halotile
