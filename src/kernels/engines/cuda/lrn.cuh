// The arithmetic of local response normalization, for the kernel of that name and the one that pools its
// results: both must round alike.
//
//   y(c) = x(c) / d^beta,  d = k + alpha / size * sum of x(j)^2,  j in [c - size / 2, c + (size - 1) / 2] of
//   the map, ascending
//
// f32 maps: d^0.75 = sqrt(d) sqrt(sqrt(d)), every step correctly rounded. Two square roots and a division
// cost more than the memory traffic of 2-byte elements, and what they give is then rounded to 8 or 11 bits.
// Such maps, and those of tf32 layers (LrnPower::fast), therefore take the device's approximations, a few
// units of fp32 off:
//
//   beta 0.75   r = rsqrt(d), y = x (r sqrt(r));   otherwise   y = x exp2(-beta log2(d))
//
// They flush subnormal numbers, so they are chosen where d is at least k and k is a normal number; else the
// exact power is taken. One instruction of one device always rounds the same way: the bits depend on x alone.
#pragma once

#include <cfloat>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/op.hpp"

namespace halotile::cuda {

enum class Power : std::uint8_t {
  three_quarters,
  half,
  one,
  other,
  fast_three_quarters,
  fast,  // any beta
};

struct LrnParameters {
  int size;
  float scale;  // alpha / size
  float k;
  float beta;
};

template <Power power>
__device__ __forceinline__ float normalize(float x, float sum, const LrnParameters& p) {
  const float d = __fmaf_rn(p.scale, sum, p.k);
  if constexpr (power == Power::fast_three_quarters) {
    float r = 0.0F;
    float root = 0.0F;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(d));
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(r));
    return __fmul_rn(x, __fmul_rn(r, root));
  } else if constexpr (power == Power::fast) {
    float exponent = 0.0F;
    float factor = 0.0F;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(exponent) : "f"(d));
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(factor) : "f"(__fmul_rn(-p.beta, exponent)));
    return __fmul_rn(x, factor);
  }
  float to_power = d;
  if constexpr (power == Power::three_quarters) {
    const float root = __fsqrt_rn(d);
    to_power = __fmul_rn(root, __fsqrt_rn(root));
  } else if constexpr (power == Power::half) {
    to_power = __fsqrt_rn(d);
  } else if constexpr (power == Power::other) {
    to_power = powf(d, p.beta);
  }
  return __fdiv_rn(x, to_power);
}

/// Size 5: what the channels c ... c + n - 1 of 16 bytes depend on, themselves and two more on both sides
/// (which neighbours read too: they meet in the L1 cache). Outside the map are zeros, which leave a sum as it
/// is.
template <typename T>
struct FiveChannels {
  Pack<T, vector_width<T>> centre;
  Pack<T, 2> before;
  Pack<T, 2> behind;
};

/// `from` points at the first of the centre's channels; which neighbours the map has.
template <typename T>
__device__ __forceinline__ FiveChannels<T> read_five(const T* from, bool has_before, bool has_behind) {
  constexpr int n = vector_width<T>;
  FiveChannels<T> x = {};
  x.centre = load_constant<T, n>(from);
  if (has_before) x.before = load_constant<T, 2>(from - 2);
  if (has_behind) x.behind = load_constant<T, 2>(from + n);
  return x;
}

template <Power power, typename T>
__device__ __forceinline__ Pack<T, vector_width<T>> lrn_five(const FiveChannels<T>& five,
                                                             const LrnParameters& p) {
  constexpr int n = vector_width<T>;
  float x[n + 4];
  widen(five.before, x);
  widen(five.centre, x + 2);
  widen(five.behind, x + 2 + n);
  float y[n];
#pragma unroll
  for (int e = 0; e < n; ++e) {
    float sum = 0.0F;
#pragma unroll
    for (int j = 0; j < 5; ++j) sum = __fmaf_rn(x[e + j], x[e + j], sum);
    y[e] = normalize<power>(x[e + 2], sum, p);
  }
  return narrow<T, n>(y);
}

/// Any size: one channel.
template <Power power, typename T>
__device__ __forceinline__ Pack<T, 1> lrn_one(const T* position, int c, int channels,
                                              const LrnParameters& p) {
  const int first = max(c - p.size / 2, 0);
  const int last = min(c + (p.size - 1) / 2, channels - 1);
  const auto read = [&](int j) {
    float x = 0.0F;
    widen(load_constant<T, 1>(position + j), &x);
    return x;
  };
  float sum = 0.0F;
  for (int j = first; j <= last; ++j) {
    const float x = read(j);
    sum = __fmaf_rn(x, x, sum);
  }
  const float y = normalize<power>(read(c), sum, p);
  return narrow<T, 1>(&y);
}

/// Throws ShapeError for a size that is none.
inline LrnParameters lrn_parameters(const Lrn& layer) {
  if (layer.size < 1) {
    throw ShapeError("lrn: the size must be at least 1 (it is " + std::to_string(layer.size) + ")");
  }
  return {device_int(layer.size, "the size"), layer.alpha / static_cast<float>(layer.size), layer.k,
          layer.beta};
}

/// A power as a value: with_power's argument.
template <Power power>
struct PowerOf {
  static constexpr Power value = power;
};

/// Calls work(PowerOf<...>()) with the layer's way to d^beta.
template <typename T, typename Work>
void with_power(const Lrn& layer, LrnPower kind, Work&& work) {
  const bool normal = layer.k >= FLT_MIN && layer.alpha >= 0.0F;
  if (std::is_same_v<T, float> && (kind == LrnPower::exact || !normal)) {
    if (layer.beta == 0.75F) {
      work(PowerOf<Power::three_quarters>());
    } else if (layer.beta == 0.5F) {
      work(PowerOf<Power::half>());
    } else if (layer.beta == 1.0F) {
      work(PowerOf<Power::one>());
    } else {
      work(PowerOf<Power::other>());
    }
  } else if (!normal) {
    work(PowerOf<Power::other>());
  } else if (layer.beta == 0.75F) {
    work(PowerOf<Power::fast_three_quarters>());
  } else {
    work(PowerOf<Power::fast>());
  }
}

}  // namespace halotile::cuda
