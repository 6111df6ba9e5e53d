// Rounding up, for numbers that are not negative. For any compiler, and inside kernels too.
#pragma once

#include <type_traits>

#ifdef __CUDACC__
#define HALOTILE_HOST_AND_DEVICE __host__ __device__
#else
#define HALOTILE_HOST_AND_DEVICE
#endif

namespace halotile {

/// How many `b` it takes to have `a`.
template <typename T>
[[nodiscard]] HALOTILE_HOST_AND_DEVICE constexpr T divide_up(T a, std::type_identity_t<T> b) {
  return (a + b - 1) / b;
}

/// The first multiple from `value` on.
template <typename T>
[[nodiscard]] HALOTILE_HOST_AND_DEVICE constexpr T round_up(T value, std::type_identity_t<T> multiple) {
  return divide_up(value, multiple) * multiple;
}

}  // namespace halotile
