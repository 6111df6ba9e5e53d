// What an element of a map becomes when it is packed for tensor cores. For nvcc only.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/engines/cuda/map_element.cuh"

namespace halotile::tensor_core {

constexpr std::int64_t vector_bytes = 16;

/// True for what is neither an infinity nor NaN.
__device__ __forceinline__ bool is_finite(float x) {
  return (__float_as_uint(x) & 0x7fffffffU) < 0x7f800000U;
}

/// Rounded to nearest even: T is the packed type, tf32 is float.
template <typename T, typename In>
__device__ __forceinline__ T convert(In x) {
  if constexpr (std::is_same_v<T, float>) {
    // Selections: written with returns this compiles to branches around two or three instructions each.
    const unsigned u = __float_as_uint(x);
    const unsigned magnitude = u & 0x7fffffffU;
    const unsigned rounded = (u + 0xfffU + (u >> 13 & 1U)) & ~0x1fffU;
    // A NaN whose upper bits were zero would be an infinity to products, which drop the lower ones.
    const unsigned kept = magnitude > 0x7f800000U ? u | 0x400000U : u;
    return __uint_as_float(magnitude < 0x7f800000U ? rounded : kept);
  } else if constexpr (std::is_same_v<T, In>) {
    return x;
  } else {
    return cuda::narrow_one<T>(x);
  }
}

/// The element and, of tf32, what it lacks.
template <typename T, typename In>
__device__ __forceinline__ void split(In x, T& high, T& low) {
  high = convert<T>(x);
  if constexpr (sizeof(T) == 4) low = convert<T>(__fsub_rn(x, high));
}

/// Of a vector.
template <typename T>
constexpr int elements = static_cast<int>(vector_bytes / sizeof(T));

template <typename T>
union Vector {
  T element[elements<T>];
  uint4 words;

  __device__ Vector() : words{} {}
};

/// Whether a thread has packed infinities or NaN: the sum of all elements times zero.
template <typename T>
class NonFinite {
 public:
  __device__ __forceinline__ void see(const Vector<T>& vector) {
    const unsigned words[4] = {vector.words.x, vector.words.y, vector.words.z, vector.words.w};
#pragma unroll
    for (const unsigned word : words) {
      if constexpr (sizeof(T) == 4) {
        sum_ = __float_as_uint(__fmaf_rn(__uint_as_float(word), 0.0F, __uint_as_float(sum_)));
      } else {
        using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
        const unsigned zeros = 0;
        const Pair sum = __hfma2(reinterpret_cast<const Pair&>(word), reinterpret_cast<const Pair&>(zeros),
                                 reinterpret_cast<const Pair&>(sum_));
        sum_ = reinterpret_cast<const unsigned&>(sum);
      }
    }
  }
  /// Zeros of any sign are none.
  [[nodiscard]] __device__ __forceinline__ bool seen() const { return (sum_ & 0x7fff7fffU) != 0; }

 private:
  unsigned sum_ = 0;
};

/// As split, but infinities and NaN become zeros; true for those. `pairs`: the low value is wanted.
template <typename T, typename In>
__device__ __forceinline__ bool split_finite(bool pairs, In x, T& high, T& low) {
  split(x, high, low);
  if (is_finite(cuda::widen_one(high))) return false;
  if constexpr (sizeof(T) == 4) {
    if (pairs && is_finite(x)) {  // rounded to an infinity: the low value completes one less
      high = __uint_as_float(__float_as_uint(high) - 0x2000U);
      low = convert<T>(__fsub_rn(x, high));
      return false;
    }
  }
  high = low = T(0.0F);
  return true;
}

}  // namespace halotile::tensor_core
