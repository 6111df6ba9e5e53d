// 8-bit pixels become the network's floats. For nvcc only.
//
//   y(c) = (x(c) / 255 - mean(c)) / stddev(c), each step rounded to float: the bits of normalize() on the
//   host
//
// Two divisions for each value would cost more than the memory traffic. With r = 1 / b rounded, q = a r and
// q + r (a - q b) by fused multiply-adds is a / b nearly always; of 3 x 256 outcomes all can be tried.
#pragma once

#include <cmath>

#include "kernels/map_operations_direct.hpp"

namespace halotile::direct {

inline constexpr float brightest = 255.0F;

/// a / b, or nearly; r = 1 / b.
__host__ __device__ inline float quotient(float a, float b, float r) {
#ifdef __CUDA_ARCH__
  const float q = __fmul_rn(a, r);
  return __fmaf_rn(r, __fmaf_rn(-b, q, a), q);
#else
  const float q = a * r;
  return std::fma(r, std::fma(-b, q, a), q);
#endif
}

/// Pixels whose first channel is `first`: value i of them is of channel (first + i) % 3.
template <bool by_products>
struct Normalization {
  float mean[3];
  float stddev[3];
  float reciprocal[3];

  explicit Normalization(const PixelNormalization& p) {
    for (std::size_t c = 0; c < 3; ++c) {
      mean[c] = p.mean[c];
      stddev[c] = p.stddev[c];
      reciprocal[c] = p.reciprocal[c];
    }
  }
  __device__ Normalization(const Normalization& all, int first) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const int c = (first + i) % 3;
      mean[i] = c == 0 ? all.mean[0] : c == 1 ? all.mean[1] : all.mean[2];
      stddev[i] = c == 0 ? all.stddev[0] : c == 1 ? all.stddev[1] : all.stddev[2];
      reciprocal[i] = c == 0 ? all.reciprocal[0] : c == 1 ? all.reciprocal[1] : all.reciprocal[2];
    }
  }
  /// `i` from 0 to 2.
  __device__ __forceinline__ float operator()(std::uint8_t x, int i) const {
    const float unit = divide(static_cast<float>(x), brightest, 1.0F / brightest);
    return divide(__fsub_rn(unit, mean[i]), stddev[i], reciprocal[i]);
  }

 private:
  __device__ static float divide(float a, float b, float r) {
    return by_products ? quotient(a, b, r) : __fdiv_rn(a, b);
  }
};

}  // namespace halotile::direct
