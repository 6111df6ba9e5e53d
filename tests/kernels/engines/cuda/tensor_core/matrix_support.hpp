// What the tests of layers on tensor cores share: maps of any element type on the device, data, float64 sums
// and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"
#include "kernels/engines/op.hpp"

namespace halotile::testing {

/// Integers: -4 ... 4. Reals: [-1, 1], rounded to the element type. Unrounded: [-1, 1].
enum class Data : std::uint8_t { integers, reals, unrounded };
[[nodiscard]] std::vector<float> make_values(Data data, tensor_core::Element element, std::int64_t count,
                                             std::uint32_t seed);

/// What lies around a map's elements.
enum class Room : std::uint8_t {
  dense,  ///< nothing but guard bands
  wide,   ///< a map larger by one position on every side
  odd,    ///< one element behind each position, three behind rows and images; an odd start
};

/// A map on the device in an allocation of its own. Everything starts as poison: bytes 0xff, NaN in any type.
class TypedMap {
 public:
  TypedMap(DType type, std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole, Room room);

  /// Elements in (image, row, column, channel) order, rounded to the type.
  void fill(const std::vector<float>& values);
  [[nodiscard]] MapView on_device() const;
  [[nodiscard]] const MapGeometry& geometry() const { return geometry_; }
  /// The element that fill() stored.
  [[nodiscard]] float filled(std::int64_t image, std::int64_t row, std::int64_t col,
                             std::int64_t channel) const;
  /// The device's elements, in order.
  [[nodiscard]] std::vector<float> read() const;
  /// Success when all but the elements is still poison.
  [[nodiscard]] ::testing::AssertionResult only_elements_touched() const;
  /// "image 0, row 1, ...", of the element that stands at `index` in read().
  [[nodiscard]] std::string where(std::size_t index) const;

 private:
  [[nodiscard]] std::vector<std::byte> download() const;
  template <typename Visit>
  void for_each_offset(Visit visit) const;

  MapGeometry geometry_;
  std::int64_t start_ = 0;  // elements
  std::vector<std::byte> bytes_;
  Buffer device_;
};

/// A result in float64, and the sum of its terms' magnitudes.
struct Sum {
  double value = 0;
  double magnitude = 0;
};

/// (image, row, column, channel), of the whole output map.
[[nodiscard]] std::vector<Sum> sums(const Conv2d& layer, std::int64_t images, Extent2 input,
                                    const std::vector<float>& values);
/// (image, output), outputs 0, every, 2 every, ...
[[nodiscard]] std::vector<Sum> sums(const FullyConnected& layer, std::int64_t images,
                                    const std::vector<float>& values, std::int64_t every);

/// Elements are the sums, rounded to the map's type, or within `slack` of them; of channels 0, every,
/// 2 every, ... alone.
[[nodiscard]] ::testing::AssertionResult exact(const TypedMap& map, const std::vector<Sum>& expected,
                                               std::int64_t every = 1, float slack = 0);
/// What a sum of products may be off.
struct Tolerance {
  double unit = 0x1p-22;    ///< for each term, times the terms' magnitudes: tensor cores truncate
  DType type = DType::f32;  ///< rounded to it, besides to the map's type
};
/// Elements lie within length * unit * magnitude, and the rounding to the map's type.
[[nodiscard]] ::testing::AssertionResult within(const TypedMap& map, const std::vector<Sum>& expected,
                                                std::int64_t length, std::int64_t every = 1,
                                                Tolerance tolerance = {});
/// Elements are the same bits; NaN is never the same. Images alone, if there are any.
[[nodiscard]] ::testing::AssertionResult same_bits(const TypedMap& map, const TypedMap& other,
                                                   Interval images = {});
/// Elements are `values`, bit for bit.
[[nodiscard]] ::testing::AssertionResult equal(const TypedMap& map, const std::vector<float>& values);

/// What pack_input makes of `rect` of a map, from its definition.
[[nodiscard]] std::vector<float> packing(const tensor_core::MatrixLayer& layer, const Window& window,
                                         tensor_core::PackedLayout layout, const TypedMap& in, Rect rect,
                                         Rect out, tensor_core::Element element);

/// A map cut into rectangles of different sizes.
[[nodiscard]] std::vector<Rect> uneven_tiles(Extent2 extent);

}  // namespace halotile::testing
