// Feature maps in memory: NHWC (images, rows, columns, channels; channels contiguous), owned or borrowed.
// A view knows which rectangle of the whole map it shows, so that a kernel can decide by coordinates what
// lies outside the image.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "patching/error.hpp"
#include "patching/geometry.hpp"

namespace halotile {

/// Element type of a map or of weights in memory. u8: pixels on their way to a device, nothing else.
enum class DType : std::uint8_t { f32, bf16, f16, u8 };

[[nodiscard]] constexpr std::int64_t size_of(DType type) {
  return type == DType::f32 ? 4 : type == DType::u8 ? 1 : 2;
}
[[nodiscard]] constexpr std::string_view to_string(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
    case DType::u8:
      break;
  }
  return "u8";
}

/// The upper half of a float; conversions round to nearest even and keep NaN a NaN.
struct Bfloat16 {
  std::uint16_t bits = 0;

  Bfloat16() = default;
  explicit Bfloat16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const std::uint32_t nan = (u >> 16) | 0x40u;
    bits = static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE 754 binary16: 5 bits of exponent, 10 of fraction. Conversions round to nearest even, from 65520 on to
/// infinity, to subnormals below 2^-14, and keep NaN a NaN with the upper bits of its payload. Without
/// branches, so that loops over them vectorize.
struct Float16 {
  std::uint16_t bits = 0;

  Float16() = default;
  explicit Float16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = u & 0x7fffffffu;
    // Next to 0.5 floats are 2^-24 apart, as subnormal halves are everywhere: the addition rounds.
    const float next_to_half = std::bit_cast<float>(magnitude) + 0.5F;
    const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(next_to_half) - 0x3f000000u;
    // The exponent's bias goes from 127 to 15; a carry out of the fraction raises the exponent.
    const std::uint32_t clamped = magnitude < 0x47800000u ? magnitude : 0x47800000u;  // 65536: infinity
    const std::uint32_t normal = (clamped - 0x38000000u + 0xfffu + ((clamped >> 13) & 1u)) >> 13;
    const std::uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    const std::uint32_t number = magnitude < 0x38800000u ? subnormal : normal;  // below 2^-14
    bits = static_cast<std::uint16_t>((u >> 16 & 0x8000u) | (magnitude > 0x7f800000u ? nan : number));
  }
  explicit operator float() const {
    const std::uint32_t magnitude = bits & 0x7fffu;
    const std::uint32_t sign = (bits & 0x8000u) << 16;
    const auto subnormal = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24F);
    // The largest exponent, of infinity and NaN, goes from 31 to 255.
    const std::uint32_t bias = magnitude < 0x7c00u ? 127u - 15u : 255u - 31u;
    const std::uint32_t normal = (magnitude << 13) + (bias << 23);
    return std::bit_cast<float>(sign | (magnitude < 0x0400u ? subnormal : normal));
  }
};

/// Calls work(T()) with the host's type of a feature map's elements. Throws UnsupportedError for pixels.
template <typename Work>
decltype(auto) with_element_type(DType type, Work&& work) {
  switch (type) {
    case DType::f32:
      return work(float());
    case DType::bf16:
      return work(Bfloat16());
    case DType::f16:
      return work(Float16());
    case DType::u8:
      break;
  }
  throw UnsupportedError("pixels (u8) are only copied and normalized: no layer computes with them");
}

/// Channels, height, width of one image's map.
struct MapShape {
  std::int64_t channels = 0;
  Extent2 extent;

  bool operator==(const MapShape&) const = default;
  /// Elements of one image. Throws ShapeError on overflow.
  [[nodiscard]] std::int64_t elements() const {
    return checked_multiply(extent.area(), channels, "the number of elements of a map");
  }
};

/// Where a borrowed rectangle of `images` maps lies. Strides count elements; the channel stride is 1.
struct MapGeometry {
  DType dtype = DType::f32;
  std::int64_t images = 0;
  std::int64_t channels = 0;
  Rect rect;      ///< what the view shows, in coordinates of the whole map
  Extent2 whole;  ///< extent of the whole map
  std::int64_t image_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;

  bool operator==(const MapGeometry&) const = default;
  /// Elements shown.
  [[nodiscard]] std::int64_t elements() const { return images * rect.area() * channels; }
  /// True when rows, and images if there are several, follow each other without gaps.
  [[nodiscard]] bool dense() const {
    const Extent2 e = rect.extent();
    return col_stride == channels && (row_stride == e.width * channels || e.height <= 1) &&
           (image_stride == e.height * e.width * channels || images <= 1);
  }
  /// Offset, in elements, of (image, row, col, channel 0) from the view's data; row and col in whole-map
  /// coordinates inside `rect`.
  [[nodiscard]] std::int64_t offset(std::int64_t image, std::int64_t row, std::int64_t col) const {
    return image * image_stride + (row - rect.rows.begin) * row_stride + (col - rect.cols.begin) * col_stride;
  }
};

/// A gap-free geometry for `rect` of `images` maps.
[[nodiscard]] inline MapGeometry dense_geometry(DType dtype, std::int64_t images, std::int64_t channels,
                                                Rect rect, Extent2 whole) {
  const Extent2 e = rect.extent();
  return {dtype, images, channels, rect, whole, e.height * e.width * channels, e.width * channels, channels};
}

/// A view that may be read. `data` points at (image 0, rect.rows.begin, rect.cols.begin, channel 0).
struct ConstMapView : MapGeometry {
  const void* data = nullptr;

  template <typename T>
  [[nodiscard]] const T* at(std::int64_t image, std::int64_t row, std::int64_t col) const {
    return static_cast<const T*>(data) + offset(image, row, col);
  }
};

/// A view that may be written.
struct MapView : MapGeometry {
  void* data = nullptr;

  template <typename T>
  [[nodiscard]] T* at(std::int64_t image, std::int64_t row, std::int64_t col) const {
    return static_cast<T*>(data) + offset(image, row, col);
  }
  operator ConstMapView() const {
    return {static_cast<const MapGeometry&>(*this), data};
  }  // NOLINT: as for spans
};

/// The part of a view inside `rect` (which must lie in view.rect) and images [images.begin, images.end).
template <typename View>
[[nodiscard]] View subview(const View& view, Interval images, Rect rect) {
  View part = view;
  auto* bytes =
      static_cast<std::conditional_t<std::is_same_v<View, MapView>, std::byte, const std::byte>*>(view.data);
  if (bytes != nullptr && !rect.empty()) {
    bytes += view.offset(images.begin, rect.rows.begin, rect.cols.begin) * size_of(view.dtype);
  }
  part.data = bytes;
  part.images = images.size();
  part.rect = rect;
  return part;
}

}  // namespace halotile
