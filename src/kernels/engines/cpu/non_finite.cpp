// A window that holds a NaN makes NaN. One that holds infinities makes their sum, each times its weight:
// an infinity, or NaN where two have different signs or a weight is 0. Bias and finite terms change neither.
//
// `kinds` says of every input position and group of channels what they hold, so that windows without any
// (nearly all) cost a look at a byte a tap.
#include "kernels/engines/cpu/non_finite.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/engines/cpu/simd.hpp"

namespace halotile {
namespace {

constexpr std::uint32_t infinity_f32 = 0x7f800000u;
constexpr std::uint16_t infinity_bf16 = 0x7f80u;

HALOTILE_MULTIVERSION bool any_nan(const float* x, std::int64_t count) {
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < count; ++i)
    found |= (std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu) > infinity_f32 ? 1u : 0u;
  return found != 0;
}
HALOTILE_MULTIVERSION bool any_nan(const Bfloat16* x, std::int64_t count) {
  std::uint16_t found = 0;
  for (std::int64_t i = 0; i < count; ++i)
    found |= static_cast<std::uint16_t>((x[i].bits & 0x7fffu) > infinity_bf16 ? 1u : 0u);
  return found != 0;
}

enum class Kind : std::uint8_t { finite, infinite, nan };

template <typename T>
Kind kind_of(const T* x, std::int64_t count) {
  Kind kind = Kind::finite;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(x[i]);
    if (std::isnan(value)) return Kind::nan;
    if (std::isinf(value)) kind = Kind::infinite;
  }
  return kind;
}

template <typename T>
class Spread {
 public:
  Spread(const Conv2d& layer, const ConstMapView& in, const MapView& out)
      : layer_(layer),
        in_(in),
        out_(out),
        inside_(intersect(in.rect, Rect::whole(in.whole))),
        channels_(layer.in_channels / layer.groups),
        outputs_(layer.out_channels / layer.groups) {}

  void image(std::int64_t image) {
    kinds_.clear();
    for (std::int64_t row = inside_.rows.begin; row < inside_.rows.end; ++row) {
      for (std::int64_t col = inside_.cols.begin; col < inside_.cols.end; ++col) {
        const T* const x = in_.template at<T>(image, row, col);
        for (std::int64_t group = 0; group < layer_.groups; ++group)
          kinds_.push_back(kind_of(x + group * channels_, channels_));
      }
    }
    for (std::int64_t row = out_.rect.rows.begin; row < out_.rect.rows.end; ++row) {
      for (std::int64_t col = out_.rect.cols.begin; col < out_.rect.cols.end; ++col) {
        for (std::int64_t group = 0; group < layer_.groups; ++group) window(image, row, col, group);
      }
    }
  }

 private:
  void window(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t group) {
    Kind kind = Kind::finite;
    for_each_tap(row, col, [&](std::int64_t y, std::int64_t x, std::int64_t) {
      kind = std::max(kind, kinds_[static_cast<std::size_t>(index(y, x) * layer_.groups + group)]);
    });
    if (kind == Kind::finite) return;
    T* const to = out_.template at<T>(image, row, col) + group * outputs_;
    for (std::int64_t o = 0; o < outputs_; ++o) {
      const float sum = kind == Kind::nan ? std::nanf("") : infinite_sum(image, row, col, group, o);
      to[o] = static_cast<T>(layer_.relu && sum < 0.0F ? 0.0F : sum);
    }
  }

  [[nodiscard]] float infinite_sum(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t group,
                                   std::int64_t o) const {
    const std::int64_t taps = layer_.window.kernel.area();
    const float* const weight = layer_.weight.data() + (group * outputs_ + o) * channels_ * taps;
    float sum = 0.0F;
    for_each_tap(row, col, [&](std::int64_t y, std::int64_t x, std::int64_t tap) {
      const T* const values = in_.template at<T>(image, y, x) + group * channels_;
      for (std::int64_t c = 0; c < channels_; ++c) {
        const auto value = static_cast<float>(values[c]);
        if (std::isinf(value)) sum += value * static_cast<float>(static_cast<T>(weight[c * taps + tap]));
      }
    });
    return sum;
  }

  // Calls visit(row, column, tap) for the window's positions inside the image.
  template <typename Visit>
  void for_each_tap(std::int64_t row, std::int64_t col, const Visit& visit) const {
    const Window& w = layer_.window;
    for (std::int64_t ky = 0; ky < w.kernel.height; ++ky) {
      const std::int64_t y = row * w.stride.height - w.padding.begin.height + ky * w.dilation.height;
      if (!inside_.rows.contains(y)) continue;
      for (std::int64_t kx = 0; kx < w.kernel.width; ++kx) {
        const std::int64_t x = col * w.stride.width - w.padding.begin.width + kx * w.dilation.width;
        if (inside_.cols.contains(x)) visit(y, x, ky * w.kernel.width + kx);
      }
    }
  }

  [[nodiscard]] std::int64_t index(std::int64_t row, std::int64_t col) const {
    return (row - inside_.rows.begin) * inside_.cols.size() + col - inside_.cols.begin;
  }

  const Conv2d& layer_;
  const ConstMapView& in_;
  const MapView& out_;
  Rect inside_;
  std::int64_t channels_;  // of a group
  std::int64_t outputs_;
  std::vector<Kind> kinds_;  // (row, column, group)
};

// f32 and bf16.
template <typename Work>
void with_cpu_type(DType type, const Work& work) {
  if (type == DType::f32) {
    work(float());
  } else {
    work(Bfloat16());
  }
}

}  // namespace

bool holds_nan(const ConstMapView& map) {
  const bool whole_rows = map.col_stride == map.channels;
  const std::int64_t step = whole_rows ? std::max<std::int64_t>(1, map.rect.cols.size()) : 1;
  bool found = false;
  with_cpu_type(map.dtype, [&](auto type) {
    using T = decltype(type);
    for (std::int64_t image = 0; image < map.images; ++image) {
      for (std::int64_t row = map.rect.rows.begin; row < map.rect.rows.end; ++row) {
        for (std::int64_t col = map.rect.cols.begin; col < map.rect.cols.end; col += step)
          found = any_nan(map.at<T>(image, row, col), step * map.channels) || found;
      }
    }
  });
  return found;
}

void clear_non_finite(DType type, std::span<std::byte> elements) {
  with_cpu_type(type, [&](auto element) {
    using T = decltype(element);
    auto* const values = reinterpret_cast<T*>(elements.data());
    for (std::size_t i = 0; i < elements.size() / sizeof(T); ++i)
      if (!std::isfinite(static_cast<float>(values[i]))) values[i] = T(0.0F);
  });
}

void spread_non_finite(const Conv2d& layer, const ConstMapView& in, const MapView& out) {
  with_cpu_type(in.dtype, [&](auto type) {
    Spread<decltype(type)> spread(layer, in, out);
    for (std::int64_t image = 0; image < out.images; ++image) spread.image(image);
  });
}

}  // namespace halotile
