// Max and average pooling over windows, channel by channel.
//
//   max      y(i, r, q, c) = max of x(i, Y, X, c) over the taps (Y, X) inside the image; NaN wins;
//            -infinity if there are none
//   average  y(i, r, q, c) = (sum of x(i, Y, X, c) over the taps inside the image) / count;
//            count = taps inside the image, or with count_include_pad taps before the end of the padded
//            image; 0 if count is 0
//   taps     sliding: Y = r Sh - Ph + ky Dh, likewise X; adaptive: floor(r H / O) up to ceil((r + 1) H / O)
//
// Maps are NHWC views of f32, bf16 or f16. For each output position a list of pointers, one per tap inside
// the image in ascending (ky, kx), is folded into one accumulator per channel, several taps a pass,
// vectorized over channels.
//
// Preconditions: those of reference.hpp. A position outside in.rect counts as outside the image.
// Source: PyTorch's MaxPool2d, AvgPool2d and AdaptiveAvgPool2d.
#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/cpu/simd.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

// One axis of one output's window: positions first, first + step, ..., `count` of them, all inside the image.
struct AxisTaps {
  std::int64_t first = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;
  std::int64_t padded_count = 0;  // taps before the end of the padded image
};

AxisTaps axis_taps(const AxisWindow& window, std::int64_t input, Interval inside, std::int64_t output) {
  const Interval span = reach(window, input, {output, output + 1});
  if (window.adaptive_output > 0) {
    const Interval read = intersect(span, inside);
    return {read.begin, 1, read.size(), span.size()};
  }
  AxisTaps taps;
  taps.step = window.dilation;
  for (std::int64_t position = span.begin; position < span.end; position += window.dilation) {
    if (position < input + window.padding.end) ++taps.padded_count;
    if (inside.contains(position) && taps.count++ == 0) taps.first = position;
  }
  return taps;
}

void fill_axis_taps(const AxisWindow& window, std::int64_t input, Interval inside, Interval outputs,
                    std::vector<AxisTaps>& taps) {
  taps.clear();
  for (std::int64_t o = outputs.begin; o < outputs.end; ++o)
    taps.push_back(axis_taps(window, input, inside, o));
}

struct Max {
  static constexpr float start = -std::numeric_limits<float>::infinity();
  static HALOTILE_INLINE float step(float m, float x) { return (x > m) | (x != x) ? x : m; }
  template <typename T>
  static HALOTILE_INLINE T finish(float m, float /*divisor*/) {
    return static_cast<T>(m);
  }
};

struct Sum {
  static constexpr float start = 0.0F;
  static HALOTILE_INLINE float step(float s, float x) { return s + x; }
  template <typename T>
  static HALOTILE_INLINE T finish(float s, float divisor) {
    return static_cast<T>(s / divisor);
  }
};

// Channels folded at a time: the accumulators stay in the first-level cache.
constexpr std::int64_t channel_block = 512;

// Folds one channel of several taps, from Fold::start when `first`, otherwise from the accumulator.
template <typename Fold, bool first, typename T, std::size_t... tap>
HALOTILE_INLINE float fold_taps(const std::array<const T*, sizeof...(tap)>& x, std::int64_t c,
                                const float* accumulator, std::index_sequence<tap...>) {
  float value = first ? Fold::start : accumulator[c];
  ((value = Fold::step(value, static_cast<float>(x[tap][c]))), ...);
  return value;
}

// `taps` pointers are folded in one pass over the channels.
template <typename Fold, std::size_t taps, bool first, typename T>
HALOTILE_INLINE void fold_pass(const T* const* pointers, std::int64_t begin, std::int64_t channels,
                               float* __restrict accumulator) {
  std::array<const T*, taps> x;
  for (std::size_t tap = 0; tap < taps; ++tap) x[tap] = pointers[tap] + begin;
  for (std::int64_t c = 0; c < channels; ++c) {
    accumulator[c] = fold_taps<Fold, first>(x, c, accumulator, std::make_index_sequence<taps>());
  }
}

// The usual 3x3 window inside the image: one pass, no accumulators in memory.
template <typename Fold, typename T>
HALOTILE_INLINE void fold_position_9(const T* const* pointers, std::int64_t channels, float divisor,
                                     T* __restrict out) {
  std::array<const T*, 9> x;
  for (std::size_t tap = 0; tap < 9; ++tap) x[tap] = pointers[tap];
  for (std::int64_t c = 0; c < channels; ++c) {
    out[c] = Fold::template finish<T>(fold_taps<Fold, true>(x, c, nullptr, std::make_index_sequence<9>()),
                                      divisor);
  }
}

template <typename Fold, typename T>
HALOTILE_INLINE void fold_position(const T* const* taps, std::size_t count, std::int64_t channels,
                                   float divisor, T* __restrict out) {
  if (count == 9) {
    fold_position_9<Fold>(taps, channels, divisor, out);
    return;
  }
  std::array<float, channel_block> accumulators;
  float* accumulator = accumulators.data();
  for (std::int64_t begin = 0; begin < channels; begin += channel_block) {
    const std::int64_t n = std::min(channel_block, channels - begin);
    std::size_t done = 0;
    if (count >= 3) {
      fold_pass<Fold, 3, true>(taps, begin, n, accumulator);
      done = 3;
    } else {
      for (std::int64_t c = 0; c < n; ++c) accumulator[c] = Fold::start;
    }
    for (; done + 3 <= count; done += 3) fold_pass<Fold, 3, false>(taps + done, begin, n, accumulator);
    for (; done < count; ++done) fold_pass<Fold, 1, false>(taps + done, begin, n, accumulator);
    T* y = out + begin;
    for (std::int64_t c = 0; c < n; ++c) y[c] = Fold::template finish<T>(accumulator[c], divisor);
  }
}

// The taps of one output position, already in order.
HALOTILE_MULTIVERSION void max_position(const float* const* taps, std::size_t count, std::int64_t channels,
                                        float divisor, float* out) {
  fold_position<Max>(taps, count, channels, divisor, out);
}
HALOTILE_MULTIVERSION void max_position(const Bfloat16* const* taps, std::size_t count, std::int64_t channels,
                                        float divisor, Bfloat16* out) {
  fold_position<Max>(taps, count, channels, divisor, out);
}
HALOTILE_MULTIVERSION void max_position(const Float16* const* taps, std::size_t count, std::int64_t channels,
                                        float divisor, Float16* out) {
  fold_position<Max>(taps, count, channels, divisor, out);
}
HALOTILE_MULTIVERSION void average_position(const float* const* taps, std::size_t count,
                                            std::int64_t channels, float divisor, float* out) {
  fold_position<Sum>(taps, count, channels, divisor, out);
}
HALOTILE_MULTIVERSION void average_position(const Bfloat16* const* taps, std::size_t count,
                                            std::int64_t channels, float divisor, Bfloat16* out) {
  fold_position<Sum>(taps, count, channels, divisor, out);
}
HALOTILE_MULTIVERSION void average_position(const Float16* const* taps, std::size_t count,
                                            std::int64_t channels, float divisor, Float16* out) {
  fold_position<Sum>(taps, count, channels, divisor, out);
}

template <typename T>
void pool2d_of(const Pool2d& layer, const ConstMapView& in, const MapView& out) {
  const Rect inside = intersect(in.rect, Rect::whole(in.whole));
  // The thread's own, so that a steady state allocates nothing.
  static thread_local std::vector<AxisTaps> rows;
  static thread_local std::vector<AxisTaps> cols;
  static thread_local std::vector<const T*> taps;
  fill_axis_taps(layer.window.rows(), in.whole.height, inside.rows, out.rect.rows, rows);
  fill_axis_taps(layer.window.cols(), in.whole.width, inside.cols, out.rect.cols, cols);
  for (std::int64_t image = 0; image < out.images; ++image) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t q = 0; q < cols.size(); ++q) {
        const AxisTaps& row = rows[r];
        const AxisTaps& col = cols[q];
        taps.clear();
        for (std::int64_t y = 0; y < row.count; ++y) {
          for (std::int64_t x = 0; x < col.count; ++x) {
            taps.push_back(in.at<T>(image, row.first + y * row.step, col.first + x * col.step));
          }
        }
        T* to = out.at<T>(image, out.rect.rows.begin + static_cast<std::int64_t>(r),
                          out.rect.cols.begin + static_cast<std::int64_t>(q));
        if (layer.kind == PoolKind::max) {
          max_position(taps.data(), taps.size(), out.channels, 1.0F, to);
        } else {
          const std::int64_t count =
              layer.count_include_pad ? row.padded_count * col.padded_count : row.count * col.count;
          // Nothing to average: 0 / 1.
          average_position(taps.data(), taps.size(), out.channels, static_cast<float>(count == 0 ? 1 : count),
                           to);
        }
      }
    }
  }
}

}  // namespace

void pool2d(const Pool2d& layer, const ConstMapView& in, const MapView& out) {
  if (in.images != out.images || in.channels != out.channels || in.dtype != out.dtype) {
    throw ShapeError("pool2d: in and out must have the same images, channels and element type");
  }
  with_element_type(in.dtype, [&](auto type) { pool2d_of<decltype(type)>(layer, in, out); });
}

}  // namespace halotile
