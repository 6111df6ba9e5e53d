// Local response normalization across channels.
//
//   y(c) = x(c) / d^beta,  d = k + alpha / size * (sum of x(j)^2),
//   j in [c - size / 2, c + (size - 1) / 2] inside the map; d^0.75 = sqrt(d) sqrt(sqrt(d))
//
// Maps are NHWC views of f32, bf16 or f16; every position is on its own. A block of positions of a row is
// widened into a buffer with zero channels on both sides. Then all channels add their window in the same
// ascending order with shifted loads, vectorized over channels: a zero adds fma(0, 0, s) = s, bit for bit
// what leaving it out gives. Two square roots and a division, each correctly rounded, share one unit of the
// core and bound the speed.
//
// Preconditions: those of reference.hpp; out.rect in in.rect.
// Source: Krizhevsky et al. 2012, 3.3; PyTorch's LocalResponseNorm divides alpha by size.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/engines/cpu/pointwise.hpp"
#include "kernels/engines/cpu/simd.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

enum class Power : std::uint8_t { three_quarters, half, one, other };

Power power_of(float beta) {
  if (beta == 0.75F) return Power::three_quarters;
  if (beta == 0.5F) return Power::half;
  return beta == 1.0F ? Power::one : Power::other;
}

// Positions of a row. Buffers: `padded` has `block` slots of size / 2 + channels + (size - 1) / 2 values, the
// outer ones zero; `sums` has `channels` values.
struct Row {
  std::int64_t positions = 0;
  std::int64_t channels = 0;
  std::int64_t in_stride = 0;
  std::int64_t out_stride = 0;
  std::int64_t block = 1;
  std::int64_t size = 0;
  float scale = 0.0F;  // alpha / size
  float k = 0.0F;
  float beta = 0.0F;
  float* padded = nullptr;
  float* sums = nullptr;
};

template <Power power>
HALOTILE_INLINE float to_power(float d, float beta) {
  if constexpr (power == Power::three_quarters) {
    const float root = std::sqrt(d);
    return root * std::sqrt(root);
  } else if constexpr (power == Power::half) {
    return std::sqrt(d);
  } else if constexpr (power == Power::one) {
    return d;
  } else {
    return std::pow(d, beta);
  }
}

// The usual size, in registers. x points at the first channel of the first window.
template <Power power, typename T>
HALOTILE_INLINE void normalize_5(const Row& row, const float* __restrict x, T* __restrict y) {
  const std::int64_t channels = row.channels;
  const float scale = row.scale;
  const float k = row.k;
  const float beta = row.beta;
  for (std::int64_t c = 0; c < channels; ++c) {
    float s = std::fma(x[c], x[c], 0.0F);
    s = std::fma(x[c + 1], x[c + 1], s);
    s = std::fma(x[c + 2], x[c + 2], s);
    s = std::fma(x[c + 3], x[c + 3], s);
    s = std::fma(x[c + 4], x[c + 4], s);
    y[c] = static_cast<T>(x[c + 2] / to_power<power>(std::fma(scale, s, k), beta));
  }
}

template <Power power, typename T>
HALOTILE_INLINE void normalize_any(const Row& row, const float* __restrict x, T* __restrict y) {
  const std::int64_t channels = row.channels;
  const float scale = row.scale;
  const float k = row.k;
  const float beta = row.beta;
  float* __restrict sums = row.sums;
  for (std::int64_t c = 0; c < channels; ++c) sums[c] = 0.0F;
  for (std::int64_t j = 0; j < row.size; ++j) {
    for (std::int64_t c = 0; c < channels; ++c) sums[c] = std::fma(x[c + j], x[c + j], sums[c]);
  }
  const float* centre = x + row.size / 2;
  for (std::int64_t c = 0; c < channels; ++c) {
    y[c] = static_cast<T>(centre[c] / to_power<power>(std::fma(scale, sums[c], k), beta));
  }
}

template <Power power, typename T>
HALOTILE_INLINE void normalize(const Row& row, const float* x, T* y) {
  if (row.size == 5) {
    normalize_5<power>(row, x, y);
  } else {
    normalize_any<power>(row, x, y);
  }
}

template <typename T>
HALOTILE_INLINE void normalize_row(Power power, const Row& row, const T* in, T* out) {
  const std::int64_t slot = row.channels + row.size - 1;
  for (std::int64_t begin = 0; begin < row.positions; begin += row.block) {
    const std::int64_t positions = std::min(row.block, row.positions - begin);
    for (std::int64_t p = 0; p < positions; ++p) {
      const T* from = in + (begin + p) * row.in_stride;
      float* __restrict to = row.padded + p * slot + row.size / 2;
      for (std::int64_t c = 0; c < row.channels; ++c) to[c] = static_cast<float>(from[c]);
    }
    for (std::int64_t p = 0; p < positions; ++p) {
      const float* x = row.padded + p * slot;
      T* y = out + (begin + p) * row.out_stride;
      switch (power) {
        case Power::three_quarters:
          normalize<Power::three_quarters>(row, x, y);
          break;
        case Power::half:
          normalize<Power::half>(row, x, y);
          break;
        case Power::one:
          normalize<Power::one>(row, x, y);
          break;
        case Power::other:
          normalize<Power::other>(row, x, y);
          break;
      }
    }
  }
}

HALOTILE_MULTIVERSION void lrn_row(Power power, const Row& row, const float* in, float* out) {
  normalize_row(power, row, in, out);
}
HALOTILE_MULTIVERSION void lrn_row(Power power, const Row& row, const Bfloat16* in, Bfloat16* out) {
  normalize_row(power, row, in, out);
}
HALOTILE_MULTIVERSION void lrn_row(Power power, const Row& row, const Float16* in, Float16* out) {
  normalize_row(power, row, in, out);
}

template <typename T>
void lrn_of(const Lrn& layer, const ConstMapView& in, const MapView& out) {
  // Values of a block: far enough apart that a shifted load does not wait for the store before it, and small
  // enough for the first-level cache.
  constexpr std::int64_t block_values = 2048;
  // A window beyond all channels on both sides sums the same: zeros add nothing.
  const std::int64_t size = std::min(layer.size, 2 * out.channels + 1);
  const std::int64_t slot = out.channels + size - 1;
  Row row;
  row.positions = out.rect.cols.size();
  row.channels = out.channels;
  row.in_stride = in.col_stride;
  row.out_stride = out.col_stride;
  row.block = std::clamp<std::int64_t>(block_values / slot, 1, std::max<std::int64_t>(row.positions, 1));
  row.size = size;
  row.scale = layer.alpha / static_cast<float>(layer.size);
  row.k = layer.k;
  row.beta = layer.beta;
  // The thread's own, so that a steady state allocates nothing.
  static thread_local std::vector<float> padded;
  static thread_local std::vector<float> sums;
  padded.assign(static_cast<std::size_t>(row.block * slot), 0.0F);
  sums.resize(static_cast<std::size_t>(row.channels));
  row.padded = padded.data();
  row.sums = sums.data();
  const Power power = power_of(layer.beta);
  for (std::int64_t image = 0; image < out.images; ++image) {
    for (std::int64_t r = out.rect.rows.begin; r < out.rect.rows.end; ++r) {
      lrn_row(power, row, in.at<T>(image, r, out.rect.cols.begin), out.at<T>(image, r, out.rect.cols.begin));
    }
  }
}

}  // namespace

void lrn(const Lrn& layer, const ConstMapView& in, const MapView& out) {
  if (in.images != out.images || in.channels != out.channels || in.dtype != out.dtype) {
    throw ShapeError("lrn: in and out must have the same images, channels and element type");
  }
  if (!in.rect.contains(out.rect)) throw ShapeError("lrn: the outputs must lie in the input's rectangle");
  if (layer.size < 1)
    throw ShapeError("lrn: the size must be at least 1 (it is " + std::to_string(layer.size) + ")");
  if (out.rect.empty() || out.channels == 0) return;
  with_element_type(in.dtype, [&](auto type) { lrn_of<decltype(type)>(layer, in, out); });
}

}  // namespace halotile
