// What the CUDA tests share: a device or a reason to skip, maps that live on host and device alike with
// guard bands and poison around them, and the layouts a tile can come in.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda_device.hpp"
#include "kernels/tensor.hpp"
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

/// How a view's elements lie in memory.
enum class Layout : std::uint8_t {
  dense,  ///< packed: no gaps
  view,   ///< a rectangle of a map that is larger by 3 positions on every side
  gaps,   ///< 4 unused channels behind each position, rows and images apart; 16-byte aligned
  odd,    ///< 1 unused channel, odd strides and an odd start: nothing is aligned
};
[[nodiscard]] std::string to_string(Layout layout);
inline constexpr Layout all_layouts[] = {Layout::dense, Layout::view, Layout::gaps, Layout::odd};

/// A map on the host and, with equal geometry, on the device. Everything but the view's elements is poison:
/// bytes 0xff, which read as NaN.
class TwinMap {
 public:
  TwinMap(std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole, Layout layout);

  /// Random values in [-1, 1], a few of them zero or negative zero; the same on the device.
  void randomize(std::uint32_t seed);
  /// The host's values to the device, all of the allocation.
  void upload();
  /// All of the allocation back to poison, on the device.
  void poison_device();

  [[nodiscard]] MapView host() { return {geometry_, values_.data() + start_}; }
  [[nodiscard]] MapView on_device() const {
    return {geometry_, reinterpret_cast<float*>(device_.data()) + start_};
  }
  [[nodiscard]] const MapGeometry& geometry() const { return geometry_; }
  /// Calls visit(float&) for every element of the view, in (image, row, column, channel) order.
  template <typename Visit>
  void for_each(Visit visit);

  /// Success when every bit of the allocation, guard bands and gaps included, is equal on host and device;
  /// names the first difference otherwise.
  [[nodiscard]] ::testing::AssertionResult same_everywhere();
  /// Success when guard bands and gaps on the device are still poison and the elements are within
  /// `tolerance`.
  [[nodiscard]] ::testing::AssertionResult close(float tolerance);

 private:
  [[nodiscard]] std::vector<float> download() const;
  [[nodiscard]] std::string where(std::size_t index) const;

  MapGeometry geometry_;
  std::int64_t start_ = 0;
  std::vector<float> values_;
  Buffer device_;
};

/// What the outputs `out` of a window need of a map of extent `input`: clipped to the map, may be empty.
[[nodiscard]] Rect needed_rect(const Window& window, Extent2 input, const Rect& out);

/// Random floats in [-1, 1].
[[nodiscard]] std::vector<float> random_values(std::int64_t count, std::uint32_t seed);

template <typename Visit>
void TwinMap::for_each(Visit visit) {
  const MapView view = host();
  for (std::int64_t image = 0; image < view.images; ++image) {
    for (std::int64_t row = view.rect.rows.begin; row < view.rect.rows.end; ++row) {
      for (std::int64_t col = view.rect.cols.begin; col < view.rect.cols.end; ++col) {
        for (std::int64_t c = 0; c < view.channels; ++c) visit(view.at<float>(image, row, col)[c]);
      }
    }
  }
}

}  // namespace halotile::testing
