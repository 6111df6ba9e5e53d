// Elements of maps as kernels hold them. For nvcc only.
//
// A kernel is written once for T = float, __nv_bfloat16, __half and n neighbouring channels: those of 16
// bytes where addresses allow it, otherwise one. It computes in fp32 and rounds once, to nearest even, when
// it stores. What an element becomes does not depend on n.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/maps/map.hpp"

namespace halotile::cuda {

/// Elements of 16 bytes.
template <typename T>
inline constexpr int vector_width = 16 / static_cast<int>(sizeof(T));

template <typename T>
inline constexpr DType dtype_of = std::is_same_v<T, float>           ? DType::f32
                                  : std::is_same_v<T, __nv_bfloat16> ? DType::bf16
                                                                     : DType::f16;

/// A device type as a value: with_device_type's argument.
template <typename T>
struct DeviceType {
  using type = T;
};

/// Calls work(DeviceType<T>()) with the device's type of a map's elements. Throws UnsupportedError for
/// pixels.
template <typename Work>
void with_device_type(DType type, Work&& work) {
  with_element_type(type, [&]<typename Host>(Host) {
    if constexpr (std::is_same_v<Host, float>) {
      work(DeviceType<float>());
    } else if constexpr (std::is_same_v<Host, Bfloat16>) {
      work(DeviceType<__nv_bfloat16>());
    } else {
      work(DeviceType<__half>());
    }
  });
}

/// n neighbouring elements as they lie in memory; two of 2 bytes share a word, the first in its lower half.
template <typename T, int n>
struct alignas(n* static_cast<int>(sizeof(T))) Pack {
  static constexpr bool paired = sizeof(T) == 2 && n > 1;
  using Word = std::conditional_t<sizeof(T) == 4 || paired, std::uint32_t, std::uint16_t>;
  static constexpr int words = n * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(Word));
  static_assert(words == 1 || words == 2 || words == 4);

  Word word[words];
};

namespace detail {

template <bool constant, typename V>
__device__ __forceinline__ V load_vector(const void* from) {
  const V* const at = static_cast<const V*>(from);
  if constexpr (constant) return __ldg(at);
  return *at;
}

template <bool constant, typename T, int n>
__device__ __forceinline__ Pack<T, n> load_pack(const T* from) {
  using P = Pack<T, n>;
  P pack;
  if constexpr (P::words == 4) {
    const auto v = load_vector<constant, uint4>(from);
    pack.word[0] = v.x;
    pack.word[1] = v.y;
    pack.word[2] = v.z;
    pack.word[3] = v.w;
  } else if constexpr (P::words == 2) {
    const auto v = load_vector<constant, uint2>(from);
    pack.word[0] = v.x;
    pack.word[1] = v.y;
  } else {
    pack.word[0] = load_vector<constant, typename P::Word>(from);
  }
  return pack;
}

}  // namespace detail

/// `from` is aligned to the pack's size.
template <typename T, int n>
__device__ __forceinline__ Pack<T, n> load(const T* from) {
  return detail::load_pack<false, T, n>(from);
}

/// The same for memory that the kernel does not write: through the read-only cache.
template <typename T, int n>
__device__ __forceinline__ Pack<T, n> load_constant(const T* from) {
  return detail::load_pack<true, T, n>(from);
}

template <typename T, int n>
__device__ __forceinline__ void store(T* to, const Pack<T, n>& pack) {
  using P = Pack<T, n>;
  if constexpr (P::words == 4) {
    *reinterpret_cast<uint4*>(to) = make_uint4(pack.word[0], pack.word[1], pack.word[2], pack.word[3]);
  } else if constexpr (P::words == 2) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack.word[0], pack.word[1]);
  } else {
    *reinterpret_cast<typename P::Word*>(to) = pack.word[0];
  }
}

/// The elements as floats, exactly.
template <typename T, int n>
__device__ __forceinline__ void widen(const Pack<T, n>& pack, float* x) {
#pragma unroll
  for (int w = 0; w < Pack<T, n>::words; ++w) {
    const auto word = pack.word[w];
    if constexpr (std::is_same_v<T, float>) {
      x[w] = __uint_as_float(word);
    } else if constexpr (!Pack<T, n>::paired) {
      if constexpr (std::is_same_v<T, __half>) {
        x[w] = __half2float(__ushort_as_half(word));
      } else {
        x[w] = __uint_as_float(static_cast<std::uint32_t>(word) << 16);
      }
    } else if constexpr (std::is_same_v<T, __half>) {
      const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&word));
      x[2 * w] = pair.x;
      x[2 * w + 1] = pair.y;
    } else {
      x[2 * w] = __uint_as_float(word << 16);
      x[2 * w + 1] = __uint_as_float(word & 0xffff0000U);
    }
  }
}

/// Floats rounded to nearest even; a NaN of 2 bytes becomes 0x7fff.
template <typename T, int n>
__device__ __forceinline__ Pack<T, n> narrow(const float* x) {
  using P = Pack<T, n>;
  P pack;
#pragma unroll
  for (int w = 0; w < P::words; ++w) {
    if constexpr (std::is_same_v<T, float>) {
      pack.word[w] = __float_as_uint(x[w]);
    } else if constexpr (!P::paired) {
      if constexpr (std::is_same_v<T, __half>) {
        pack.word[w] = __half_as_ushort(__float2half_rn(x[w]));
      } else {
        pack.word[w] = __bfloat16_as_ushort(__float2bfloat16_rn(x[w]));
      }
    } else if constexpr (std::is_same_v<T, __half>) {
      const __half2 pair = __floats2half2_rn(x[2 * w], x[2 * w + 1]);
      pack.word[w] = *reinterpret_cast<const std::uint32_t*>(&pair);
    } else {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * w], x[2 * w + 1]);
      pack.word[w] = *reinterpret_cast<const std::uint32_t*>(&pair);
    }
  }
  return pack;
}

template <typename T>
__device__ __forceinline__ float widen_one(T x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __half2float(x);
  } else {
    return __bfloat162float(x);
  }
}

template <typename T>
__device__ __forceinline__ T narrow_one(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

/// All -infinity: what a maximum starts from.
template <typename T, int n>
__device__ __forceinline__ Pack<T, n> lowest() {
  constexpr std::uint32_t one = std::is_same_v<T, float>           ? 0xff800000U
                                : std::is_same_v<T, __nv_bfloat16> ? 0xff80U
                                                                   : 0xfc00U;
  using P = Pack<T, n>;
  P pack;
#pragma unroll
  for (int w = 0; w < P::words; ++w) {
    pack.word[w] = static_cast<typename P::Word>(P::paired ? one << 16 | one : one);
  }
  return pack;
}

/// m = x > m or x is NaN ? x : m, bits and all: of equal numbers the first stays (zeros have a sign), of NaNs
/// the last. Folding stretches of a sequence and then their maxima gives the bits of folding the sequence.
template <typename T, int n>
__device__ __forceinline__ void fold_maximum(Pack<T, n>& m, const Pack<T, n>& x) {
  using P = Pack<T, n>;
  if constexpr (P::paired) {
    using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
#pragma unroll
    for (int w = 0; w < P::words; ++w) {
      const Pair a = *reinterpret_cast<const Pair*>(&m.word[w]);
      const Pair b = *reinterpret_cast<const Pair*>(&x.word[w]);
      const std::uint32_t take = __hgt2_mask(b, a) | __hneu2_mask(b, b);
      m.word[w] = (x.word[w] & take) | (m.word[w] & ~take);
    }
  } else {
    float a[n];
    float b[n];
    widen(m, a);
    widen(x, b);
#pragma unroll
    for (int e = 0; e < n; ++e) m.word[e] = (b[e] > a[e]) | (b[e] != b[e]) ? x.word[e] : m.word[e];
  }
}

/// x < 0 ? 0 : x, bits and all: -0 and NaN stay.
template <typename T, int n>
__device__ __forceinline__ void rectify(Pack<T, n>& x) {
  using P = Pack<T, n>;
  if constexpr (P::paired) {
    using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
    constexpr std::uint32_t zeros = 0;
#pragma unroll
    for (int w = 0; w < P::words; ++w) {
      const std::uint32_t word = x.word[w];
      x.word[w] =
          word & ~__hlt2_mask(*reinterpret_cast<const Pair*>(&word), *reinterpret_cast<const Pair*>(&zeros));
    }
  } else {
    float a[n];
    widen(x, a);
#pragma unroll
    for (int e = 0; e < n; ++e) x.word[e] = a[e] < 0.0F ? typename P::Word{0} : x.word[e];
  }
}

}  // namespace halotile::cuda
