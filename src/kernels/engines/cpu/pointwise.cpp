// ReLU, leaky ReLU, softmax and copies: every output element depends on its own position alone.
//
//   relu      y = x < 0 ? 0 : x   (keeps -0 and NaN)
//   leaky_relu  y = x < 0 ? slope x : x
//   softmax   y(c) = exp(x(c) - m) / s,  m = max of x, s = sum ascending of exp(x(c) - m), over the channels
//   copy_map  y = x, converted when the element types differ
//
// Maps are NHWC views of f32, bf16 or f16; those of pixels (u8) are only copied. All but softmax run over the
// longest stretches that are contiguous in both maps: whole rows of positions when neither has gaps between
// positions.
//
// Preconditions: those of reference.hpp; out.rect in in.rect; relu and leaky_relu may work in place.
#include "kernels/engines/cpu/pointwise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/engines/cpu/simd.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

void check_maps(const char* what, const ConstMapView& in, const MapView& out) {
  if (in.images != out.images || in.channels != out.channels) {
    throw ShapeError(std::string(what) + ": in and out must have the same images and channels");
  }
  if (!in.rect.contains(out.rect)) {
    throw ShapeError(std::string(what) + ": the outputs " + to_string(out.rect) +
                     " must lie in the input's rectangle " + to_string(in.rect));
  }
}

// Calls apply(from, to, elements) for stretches that are contiguous in both maps.
template <typename From, typename To, typename Apply>
void for_each_stretch(const ConstMapView& in, const MapView& out, Apply apply) {
  const Rect& rect = out.rect;
  const bool whole_rows = in.col_stride == in.channels && out.col_stride == out.channels;
  const std::int64_t step = whole_rows ? rect.cols.size() : 1;
  if (step == 0) return;
  for (std::int64_t image = 0; image < out.images; ++image) {
    for (std::int64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
      for (std::int64_t col = rect.cols.begin; col < rect.cols.end; col += step) {
        apply(in.at<From>(image, row, col), out.at<To>(image, row, col), step * out.channels);
      }
    }
  }
}

struct Rectify {
  float operator()(float x) const { return x < 0.0F ? 0.0F : x; }
};

struct RectifyLeaky {
  float slope;
  float operator()(float x) const { return x < 0.0F ? slope * x : x; }
};

// ivdep: `from` and `to` are the same or apart.
template <typename T, typename Function>
HALOTILE_INLINE void map_loop(const T* from, T* to, std::int64_t elements, Function function) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < elements; ++i) to[i] = static_cast<T>(function(static_cast<float>(from[i])));
}

HALOTILE_MULTIVERSION void map_stretch(const float* from, float* to, std::int64_t elements, Rectify f) {
  map_loop(from, to, elements, f);
}
HALOTILE_MULTIVERSION void map_stretch(const Bfloat16* from, Bfloat16* to, std::int64_t elements, Rectify f) {
  map_loop(from, to, elements, f);
}
HALOTILE_MULTIVERSION void map_stretch(const Float16* from, Float16* to, std::int64_t elements, Rectify f) {
  map_loop(from, to, elements, f);
}
HALOTILE_MULTIVERSION void map_stretch(const float* from, float* to, std::int64_t elements, RectifyLeaky f) {
  map_loop(from, to, elements, f);
}
HALOTILE_MULTIVERSION void map_stretch(const Bfloat16* from, Bfloat16* to, std::int64_t elements,
                                       RectifyLeaky f) {
  map_loop(from, to, elements, f);
}
HALOTILE_MULTIVERSION void map_stretch(const Float16* from, Float16* to, std::int64_t elements,
                                       RectifyLeaky f) {
  map_loop(from, to, elements, f);
}

// A function of every element of a map.
template <typename Function>
void map_elements(const char* what, const ConstMapView& in, const MapView& out, Function function) {
  check_maps(what, in, out);
  if (in.dtype != out.dtype)
    throw ShapeError(std::string(what) + ": in and out must have the same element type");
  with_element_type(in.dtype, [&](auto type) {
    using T = decltype(type);
    for_each_stretch<T, T>(in, out, [function](const T* from, T* to, std::int64_t elements) {
      map_stretch(from, to, elements, function);
    });
  });
}

template <typename From, typename To>
HALOTILE_INLINE void convert_loop(const From* __restrict from, To* __restrict to, std::int64_t elements) {
  for (std::int64_t i = 0; i < elements; ++i) to[i] = static_cast<To>(static_cast<float>(from[i]));
}

HALOTILE_MULTIVERSION void convert_stretch(const float* from, Bfloat16* to, std::int64_t elements) {
  convert_loop(from, to, elements);
}
HALOTILE_MULTIVERSION void convert_stretch(const float* from, Float16* to, std::int64_t elements) {
  convert_loop(from, to, elements);
}
HALOTILE_MULTIVERSION void convert_stretch(const Bfloat16* from, float* to, std::int64_t elements) {
  convert_loop(from, to, elements);
}
HALOTILE_MULTIVERSION void convert_stretch(const Bfloat16* from, Float16* to, std::int64_t elements) {
  convert_loop(from, to, elements);
}
HALOTILE_MULTIVERSION void convert_stretch(const Float16* from, float* to, std::int64_t elements) {
  convert_loop(from, to, elements);
}
HALOTILE_MULTIVERSION void convert_stretch(const Float16* from, Bfloat16* to, std::int64_t elements) {
  convert_loop(from, to, elements);
}

template <typename T, typename Result>
void softmax_of(const ConstMapView& in, const MapView& out) {
  for (std::int64_t image = 0; image < out.images; ++image) {
    for (std::int64_t row = out.rect.rows.begin; row < out.rect.rows.end; ++row) {
      for (std::int64_t col = out.rect.cols.begin; col < out.rect.cols.end; ++col) {
        const T* x = in.at<T>(image, row, col);
        Result* y = out.at<Result>(image, row, col);
        float largest = -std::numeric_limits<float>::infinity();
        for (std::int64_t c = 0; c < out.channels; ++c) largest = std::max(largest, static_cast<float>(x[c]));
        float sum = 0.0F;
        for (std::int64_t c = 0; c < out.channels; ++c) sum += std::exp(static_cast<float>(x[c]) - largest);
        for (std::int64_t c = 0; c < out.channels; ++c) {
          y[c] = static_cast<Result>(std::exp(static_cast<float>(x[c]) - largest) / sum);
        }
      }
    }
  }
}

}  // namespace

void relu(const ConstMapView& in, const MapView& out) { map_elements("relu", in, out, Rectify{}); }

void leaky_relu(const LeakyRelu& layer, const ConstMapView& in, const MapView& out) {
  map_elements("leaky_relu", in, out, RectifyLeaky{layer.slope});
}

void softmax(const ConstMapView& in, const MapView& out) {
  check_maps("softmax", in, out);
  with_element_type(in.dtype, [&](auto from) {
    with_element_type(out.dtype, [&](auto to) { softmax_of<decltype(from), decltype(to)>(in, out); });
  });
}

void copy_map(const ConstMapView& in, const MapView& out) {
  check_maps("copy_map", in, out);
  const auto same = [](const auto* from, auto* to, std::int64_t elements) {
    std::memcpy(to, from, static_cast<std::size_t>(elements) * sizeof(*to));
  };
  const auto convert = [](const auto* from, auto* to, std::int64_t elements) {
    convert_stretch(from, to, elements);
  };
  if (in.dtype == DType::u8 && out.dtype == DType::u8) {
    for_each_stretch<std::uint8_t, std::uint8_t>(in, out, same);
    return;
  }
  if (in.dtype == DType::u8 || out.dtype == DType::u8)
    throw UnsupportedError("copy_map: pixels are not converted");
  with_element_type(in.dtype, [&](auto from) {
    with_element_type(out.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      if constexpr (std::is_same_v<From, To>) {
        for_each_stretch<From, To>(in, out, same);
      } else {
        for_each_stretch<From, To>(in, out, convert);
      }
    });
  });
}

}  // namespace halotile
