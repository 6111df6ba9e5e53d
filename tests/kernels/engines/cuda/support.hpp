// What the CUDA tests share: a device or a reason to skip, maps that live on host and device alike with
// guard bands and poison around them, and the layouts a tile can come in.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/maps/map.hpp"
#include "patching/window.hpp"

namespace halotile::testing {

/// Skips the test with a reason where there is no GPU; fails it instead when HALOTILE_REQUIRE_GPU=1.
#define HALOTILE_NEEDS_GPU()                                                 \
  do {                                                                       \
    if (cuda_device_count() == 0) {                                          \
      if (halotile::testing::gpu_required()) {                               \
        FAIL() << "HALOTILE_REQUIRE_GPU=1, but there is no usable CUDA GPU"; \
      }                                                                      \
      GTEST_SKIP() << "no usable CUDA GPU on this machine";                  \
    }                                                                        \
  } while (false)

[[nodiscard]] bool gpu_required();
/// The device of all tests.
[[nodiscard]] CudaDevice& device();
/// A stream of that device.
[[nodiscard]] CudaStream& stream();

[[nodiscard]] inline Window window(Extent2 kernel, Extent2 stride = {1, 1}, Extent2 padding = {0, 0},
                                   Extent2 dilation = {1, 1}, bool ceil_mode = false) {
  return {kernel, stride, padding, dilation, ceil_mode};
}

/// How a view's elements lie in memory.
enum class Layout : std::uint8_t {
  dense,  ///< packed: no gaps
  view,   ///< a rectangle of a map that is larger by 3 positions on every side
  gaps,   ///< unused channels behind each position, rows and images apart; 16-byte aligned
  odd,    ///< 1 unused channel, odd strides and an odd start: nothing is aligned
};
[[nodiscard]] std::string to_string(Layout layout);
inline constexpr Layout all_layouts[] = {Layout::dense, Layout::view, Layout::gaps, Layout::odd};
inline constexpr DType all_types[] = {DType::f32, DType::bf16, DType::f16};

/// A map on the host and, with equal geometry, on the device. Everything but the view's elements is poison:
/// bytes 0xff, which read as NaN.
class TwinMap {
 public:
  TwinMap(std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole, Layout layout,
          DType dtype = DType::f32);

  /// Random values in [-1, 1], a few of them zero or negative zero; the same on the device.
  void randomize(std::uint32_t seed);
  /// Rounds `value` to the map's type; on the host.
  void set(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel, float value);
  /// The host's values to the device, all of the allocation.
  void upload();
  /// The device's values to the host, all of the allocation.
  void fetch();
  /// All of the allocation back to poison, on the device.
  void poison_device();

  [[nodiscard]] MapView host() { return {geometry_, bytes_.data() + start_ * element_bytes()}; }
  [[nodiscard]] MapView on_device() const { return {geometry_, device_.data() + start_ * element_bytes()}; }
  [[nodiscard]] const MapGeometry& geometry() const { return geometry_; }
  /// Calls visit(float&) for every element of the view, in (image, row, column, channel) order. What it
  /// assigns is rounded to the map's type.
  template <typename Visit>
  void for_each(Visit visit);

  /// Success when every bit of the allocation, guard bands and gaps included, is equal on host and device;
  /// names the first difference otherwise. In maps of 2-byte elements a NaN equals a NaN that is not poison.
  [[nodiscard]] ::testing::AssertionResult same_everywhere();
  /// Success when guard bands and gaps on the device are still poison and the elements are within
  /// `tolerance`.
  [[nodiscard]] ::testing::AssertionResult close(float tolerance);
  /// The same with elements at most `steps` numbers of the map's type apart; NaN only where the host has one.
  [[nodiscard]] ::testing::AssertionResult close_steps(std::int64_t steps);

 private:
  [[nodiscard]] std::int64_t element_bytes() const { return size_of(geometry_.dtype); }
  [[nodiscard]] std::size_t elements() const {
    return bytes_.size() / static_cast<std::size_t>(element_bytes());
  }
  [[nodiscard]] std::vector<std::byte> download() const;
  [[nodiscard]] std::string where(std::size_t index) const;
  // Element `index` of an allocation like this one's.
  [[nodiscard]] std::uint32_t bits_at(const std::vector<std::byte>& bytes, std::size_t index) const;
  [[nodiscard]] float value_of(std::uint32_t bits) const;
  void put(std::size_t index, float value);
  // Success when all around is poison still and good(host's bits, device's bits) holds of every element.
  template <typename Good>
  [[nodiscard]] ::testing::AssertionResult all_elements(Good good);
  template <typename Visit>
  void for_each_index(Visit visit) const;

  MapGeometry geometry_;
  std::int64_t start_ = 0;  // element
  std::vector<std::byte> bytes_;
  Buffer device_;
};

/// What the outputs `out` of a window need of a map of extent `input`: clipped to the map, may be empty.
[[nodiscard]] Rect needed_rect(const Window& window, Extent2 input, const Rect& out);

/// A layer's maps cut into 7 x 5 tiles of unequal sizes, an empty one among them; each sees what it needs.
[[nodiscard]] std::vector<cuda::TileMaps> cut_in_tiles(const Window& window, const ConstMapView& in,
                                                       const MapView& out);

/// Random floats in [-1, 1].
[[nodiscard]] std::vector<float> random_values(std::int64_t count, std::uint32_t seed);

template <typename Visit>
void TwinMap::for_each_index(Visit visit) const {
  const MapGeometry& g = geometry_;
  for (std::int64_t image = 0; image < g.images; ++image) {
    for (std::int64_t row = g.rect.rows.begin; row < g.rect.rows.end; ++row) {
      for (std::int64_t col = g.rect.cols.begin; col < g.rect.cols.end; ++col) {
        for (std::int64_t c = 0; c < g.channels; ++c) {
          visit(static_cast<std::size_t>(start_ + g.offset(image, row, col) + c));
        }
      }
    }
  }
}

template <typename Visit>
void TwinMap::for_each(Visit visit) {
  for_each_index([&](std::size_t index) {
    float value = value_of(bits_at(bytes_, index));
    visit(value);
    put(index, value);
  });
}

}  // namespace halotile::testing
