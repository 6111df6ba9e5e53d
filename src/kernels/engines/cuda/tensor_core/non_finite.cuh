// Infinities and NaN that went apart when the input was packed (matrix_layer.hpp): behind a layer's sums,
// every output whose window holds some is written again. Device code.
//
//   y(p, o) = relu?(bias(o) + sum of the terms x(p, t, c) w(o, t, c) of which x or w is not finite)
//
// over the taps of the output's own window, padding among them; finite terms are nothing beside those. So an
// output depends on its window alone, and where that is finite nothing is written. The same for all windows
// of split layers' filters that hold an infinity or NaN (`unfit`), whose sums mean nothing.
//
// Runs without any, nearly all, cost a look at the account when all is stored.
//
// Preconditions: the input as it was before packing still lies there.
#pragma once

#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/cuda/matrix_instructions.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"
#include "kernels/engines/cuda/tensor_core/packed_element.cuh"

namespace halotile::tensor_core {

/// What all calls of a launch share.
struct SpreadLayer {
  NonFiniteAccount* account;  // null: nothing goes apart
  FilterPlaces places;
  const std::byte* filters;
  const float* bias;
  const float* unfit;
  int outputs;  // channels of a group
  int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  Element element;
  DType filter_type;
  bool always;  // filters are looked at even where all input is finite
  bool relu;
};

inline SpreadLayer spread_layer(const MatrixLayer& layer, const MatrixCall& call) {
  SpreadLayer s{};
  if (!layer.apart) return s;
  s.account = call.account;
  s.places = layer.filter_places();
  s.filters = call.filters;
  s.bias = call.bias;
  s.unfit = call.unfit;
  s.outputs = static_cast<int>(layer.out);
  s.kernel_h = static_cast<int>(layer.window.kernel.height);
  s.kernel_w = static_cast<int>(layer.window.kernel.width);
  s.stride_h = static_cast<int>(layer.window.stride.height);
  s.stride_w = static_cast<int>(layer.window.stride.width);
  s.dilation_h = static_cast<int>(layer.window.dilation.height);
  s.dilation_w = static_cast<int>(layer.window.dilation.width);
  s.element = layer.element;
  s.filter_type = map_type(layer.element);
  s.always = layer.split() && call.unfit != nullptr;
  s.relu = layer.relu;
  return s;
}

/// The account as the packing kernel left it. Not through the L1 cache, which another kernel may have filled.
__device__ __forceinline__ uint2 read_account(const SpreadLayer& s) {
  uint2 marks{0, 1};
  if (s.account != nullptr)
    asm volatile("ld.global.cg.v2.u32 {%0, %1}, [%2];"
                 : "=r"(marks.x), "=r"(marks.y)
                 : "l"(s.account)
                 : "memory");
  return marks;
}

/// Whether any output may have to be written again. The launch's first thread says that the run is through.
__device__ __forceinline__ bool spread_wanted(const SpreadLayer& s, uint2 marks) {
  if (s.account == nullptr) return false;
  if (blockIdx.x == 0 && threadIdx.x == 0) s.account->spread = marks.x;
  return s.always || marks.x == marks.y;
}

namespace detail {
// A warp's copy of the account.
__device__ __forceinline__ uint4* account_copy() {
  constexpr int most_warps = 32;
  __shared__ uint4 copies[most_warps];
  return copies + threadIdx.x / 32;
}
}  // namespace detail

/// For kernels without a register to spare: the account comes into shared memory while the products are made.
__device__ __forceinline__ void fetch_account(const SpreadLayer& s) {
  if (s.account == nullptr) return;
  wait_for_previous();
  if (threadIdx.x % 32 == 0) copy_unit(cuda::shared_address(detail::account_copy()), s.account, 16);
  commit_copies();
}
/// By all threads of a warp that fetched it.
__device__ __forceinline__ bool spread_wanted(const SpreadLayer& s) {
  if (s.account == nullptr) return false;
  wait_for_copies<0>();
  __syncwarp();
  return spread_wanted(s, *reinterpret_cast<const uint2*>(detail::account_copy()));
}

/// An output position of a call, and a group of its channels.
struct SpreadPlace {
  int image, row, col;
  int group;
};

namespace {

__device__ __forceinline__ float as_multiplied(Element element, float x) {
  switch (element) {
    case Element::bf16:
      return cuda::widen_one(convert<__nv_bfloat16>(x));
    case Element::f16:
      return cuda::widen_one(convert<__half>(x));
    case Element::tf32:
      return convert<float>(x);
    case Element::f32:
      break;
  }
  return x;
}

__device__ __forceinline__ float element_at(DType type, const void* data, std::int64_t index) {
  if (type == DType::f32) return static_cast<const float*>(data)[index];
  if (type == DType::bf16) return cuda::widen_one(static_cast<const __nv_bfloat16*>(data)[index]);
  return cuda::widen_one(static_cast<const __half*>(data)[index]);
}

__device__ __forceinline__ void store_element(DType type, void* data, std::int64_t index, float y) {
  if (type == DType::f32) {
    static_cast<float*>(data)[index] = y;
  } else if (type == DType::bf16) {
    static_cast<__nv_bfloat16*>(data)[index] = cuda::narrow_one<__nv_bfloat16>(y);
  } else {
    static_cast<__half*>(data)[index] = cuda::narrow_one<__half>(y);
  }
}

// The window of an output position in one group of the input.
class SpreadWindow {
 public:
  __device__ __forceinline__ SpreadWindow(const SpreadLayer& s, const UnpackedInput& in,
                                          const SpreadPlace& place)
      : s_(s), in_(in), place_(place) {}

  // 0 where the window lies in the padding.
  [[nodiscard]] __device__ __forceinline__ float value(int ky, int kx, int c) const {
    const std::int64_t y = in_.first_row + place_.row * s_.stride_h + ky * s_.dilation_h;
    const std::int64_t x = in_.first_col + place_.col * s_.stride_w + kx * s_.dilation_w;
    if (y < in_.row_begin || y >= in_.row_end || x < in_.col_begin || x >= in_.col_end) return 0.0F;
    const std::int64_t index = place_.image * in_.image_stride + y * in_.row_stride + x * in_.col_stride +
                               place_.group * s_.places.channels + c;
    return as_multiplied(s_.element, element_at(in_.type, in_.data, index));
  }

  // Output channel o of the group; of split layers the high value, whose sign and kind are the weight's.
  [[nodiscard]] __device__ __forceinline__ float weight(int o, int ky, int kx, int c) const {
    const std::int64_t byte = s_.places.at(place_.group, o, c, ky, kx);
    return element_at(s_.filter_type, s_.filters, byte / s_.places.element_bytes);
  }

  // By a whole warp: whether any value is not finite.
  [[nodiscard]] __device__ __forceinline__ bool holds_any() const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int channels = static_cast<int>(s_.places.channels);
    bool found = false;
    for (int ky = 0; ky < s_.kernel_h; ++ky) {
      for (int n = lane; n < s_.kernel_w * channels; n += 32) {
        const int kx = n / channels;
        found = found || !is_finite(value(ky, kx, n - kx * channels));
      }
    }
    return __any_sync(0xffffffffU, found);
  }

  // Output channel o of the group as the terms that are not finite make it; false where there are none.
  __device__ __forceinline__ bool sum(int o, float& y) const {
    const int all = place_.group * s_.outputs + o;
    const bool unfit = s_.unfit != nullptr && !is_finite(s_.unfit[all]);
    float sum = 0.0F;
    bool found = false;
    for (int ky = 0; ky < s_.kernel_h; ++ky) {
      for (int kx = 0; kx < s_.kernel_w; ++kx) {
        for (int c = 0; c < static_cast<int>(s_.places.channels); ++c) {
          const float x = value(ky, kx, c);
          if (is_finite(x) && !unfit) continue;
          const float w = weight(o, ky, kx, c);
          if (is_finite(x) && is_finite(w)) continue;
          sum = __fadd_rn(sum, __fmul_rn(x, w));
          found = true;
        }
      }
    }
    if (s_.bias != nullptr) sum = __fadd_rn(sum, s_.bias[all]);
    y = s_.relu && sum < 0.0F ? 0.0F : sum;
    return found;
  }

 private:
  const SpreadLayer& s_;
  const UnpackedInput& in_;
  const SpreadPlace& place_;
};

// By a whole warp: output channels [first, end) of the group at a position; `offset` is that of channel 0 of
// the group in `map`.
__device__ __forceinline__ void spread_position(const SpreadLayer& s, const UnpackedInput& in,
                                                const SpreadPlace& place, int first, int end, DType type,
                                                void* map, std::int64_t offset) {
  const SpreadWindow window(s, in, place);
  if (!window.holds_any() && !s.always) return;
  for (int o = first + static_cast<int>(threadIdx.x % 32); o < end; o += 32) {
    float y;
    if (window.sum(o, y)) store_element(type, map, offset + o, y);
  }
}

}  // namespace
}  // namespace halotile::tensor_core
