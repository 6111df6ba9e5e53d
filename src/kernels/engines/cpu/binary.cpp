// Two maps, element by element:
//
//   y = relu?(a + b), relu?(a - b), relu?(a * b)
//
// Maps are NHWC views of f32, bf16 or f16 with any strides; what an input has one of (positions of a gate,
// channels of a mask) is the same for all: its stride there is 0. Rows go over the longest stretches that
// are contiguous in all maps. Source: PyTorch's broadcasting of (N, C, H, W), images excepted.
#include "kernels/engines/cpu/binary.hpp"

#include "kernels/engines/broadcast.hpp"
#include "kernels/engines/cpu/simd.hpp"

namespace halotile {
namespace {

struct Add {
  float operator()(float a, float b) const { return a + b; }
};
struct Subtract {
  float operator()(float a, float b) const { return a - b; }
};
struct Multiply {
  float operator()(float a, float b) const { return a * b; }
};

template <typename Function>
struct Rectified {
  Function function;
  float operator()(float a, float b) const {
    const float y = function(a, b);
    return y < 0.0F ? 0.0F : y;
  }
};

// ivdep: an input and the output are the same or apart.
template <typename T, typename Function>
HALOTILE_INLINE void loop(const T* a, const T* b, T* y, std::int64_t count, Function function) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i)
    y[i] = static_cast<T>(function(static_cast<float>(a[i]), static_cast<float>(b[i])));
}

#define HALOTILE_STRETCHES(T)                                                                               \
  HALOTILE_MULTIVERSION void stretch(const T* a, const T* b, T* y, std::int64_t n, Add f) {                 \
    loop(a, b, y, n, f);                                                                                    \
  }                                                                                                         \
  HALOTILE_MULTIVERSION void stretch(const T* a, const T* b, T* y, std::int64_t n, Subtract f) {            \
    loop(a, b, y, n, f);                                                                                    \
  }                                                                                                         \
  HALOTILE_MULTIVERSION void stretch(const T* a, const T* b, T* y, std::int64_t n, Multiply f) {            \
    loop(a, b, y, n, f);                                                                                    \
  }                                                                                                         \
  HALOTILE_MULTIVERSION void stretch(const T* a, const T* b, T* y, std::int64_t n, Rectified<Add> f) {      \
    loop(a, b, y, n, f);                                                                                    \
  }                                                                                                         \
  HALOTILE_MULTIVERSION void stretch(const T* a, const T* b, T* y, std::int64_t n, Rectified<Subtract> f) { \
    loop(a, b, y, n, f);                                                                                    \
  }                                                                                                         \
  HALOTILE_MULTIVERSION void stretch(const T* a, const T* b, T* y, std::int64_t n, Rectified<Multiply> f) { \
    loop(a, b, y, n, f);                                                                                    \
  }
HALOTILE_STRETCHES(float)
HALOTILE_STRETCHES(Bfloat16)
HALOTILE_STRETCHES(Float16)
#undef HALOTILE_STRETCHES

template <typename T, typename Function>
void compute(const ConstMapView& a, const ConstMapView& b, const MapView& out, Function function) {
  const bool whole_rows =
      a.col_stride == out.channels && b.col_stride == out.channels && out.col_stride == out.channels;
  const bool one_channel = a.channels != out.channels || b.channels != out.channels;
  const Rect& rect = out.rect;
  const std::int64_t step = whole_rows && !one_channel ? rect.cols.size() : 1;
  if (step == 0) return;
  for (std::int64_t image = 0; image < out.images; ++image) {
    for (std::int64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
      for (std::int64_t col = rect.cols.begin; col < rect.cols.end; col += step) {
        const T* const x = a.at<T>(image, row, col);
        const T* const z = b.at<T>(image, row, col);
        T* const y = out.at<T>(image, row, col);
        if (!one_channel) {
          stretch(x, z, y, step * out.channels, function);
          continue;
        }
        const std::int64_t of_x = a.channels == 1 ? 0 : 1;
        const std::int64_t of_z = b.channels == 1 ? 0 : 1;
        for (std::int64_t c = 0; c < out.channels; ++c)
          y[c] = static_cast<T>(function(static_cast<float>(x[c * of_x]), static_cast<float>(z[c * of_z])));
      }
    }
  }
}

template <typename T>
void compute(const Binary& layer, const ConstMapView& a, const ConstMapView& b, const MapView& out) {
  const auto with = [&](auto function) {
    if (layer.relu) {
      compute<T>(a, b, out, Rectified<decltype(function)>{function});
    } else {
      compute<T>(a, b, out, function);
    }
  };
  switch (layer.kind) {
    case BinaryKind::add:
      return with(Add{});
    case BinaryKind::subtract:
      return with(Subtract{});
    case BinaryKind::multiply:
      return with(Multiply{});
  }
}

}  // namespace

void binary(const Binary& layer, const ConstMapView& a, const ConstMapView& b, const MapView& out) {
  const ConstMapView x = broadcast("binary", a, out);
  const ConstMapView z = broadcast("binary", b, out);
  with_element_type(out.dtype, [&](auto type) { compute<decltype(type)>(layer, x, z, out); });
}

}  // namespace halotile
