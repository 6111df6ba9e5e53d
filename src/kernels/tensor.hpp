// Feature maps in memory: NHWC (images, rows, columns, channels; channels contiguous), owned or borrowed.
// A view knows which rectangle of the whole map it shows, so that a kernel can decide by coordinates what
// lies outside the image.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "patching/geometry.hpp"

namespace halotile {

/// Element type of a map or of weights in memory. u8: pixels on their way to a device, nothing else.
enum class DType : std::uint8_t { f32, bf16, u8 };

[[nodiscard]] constexpr std::int64_t size_of(DType type) {
  return type == DType::f32 ? 4 : type == DType::bf16 ? 2 : 1;
}
[[nodiscard]] constexpr std::string_view to_string(DType type) {
  return type == DType::f32 ? "f32" : type == DType::bf16 ? "bf16" : "u8";
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
