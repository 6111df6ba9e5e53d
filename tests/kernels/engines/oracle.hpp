// What the kernel tests compare with: every layer in float64, written from its definition and not from the
// code under test, and maps in memory surrounded by sentinels.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::oracle {

/// Whole maps in float64, NHWC.
struct Map {
  std::int64_t images = 0;
  std::int64_t channels = 0;
  Extent2 extent;
  std::vector<double> values;

  Map() = default;
  Map(std::int64_t image_count, std::int64_t channel_count, Extent2 size);
  [[nodiscard]] double& at(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel);
  [[nodiscard]] double at(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) const;
};

/// A result and, element by element, how far from it a correct implementation may be.
struct Expected {
  Map value;
  Map bound;
};

/// Unit roundoffs: half the distance from 1 to the next number.
inline constexpr double unit_f32 = 0x1p-24;
inline constexpr double unit_bf16 = 0x1p-8;
inline constexpr double unit_f16 = 0x1p-11;

/// Higham's gamma(n) = n u / (1 - n u): the relative error that n roundings can make.
[[nodiscard]] double gamma(std::int64_t roundings);

/// PyTorch's output size, from its formula.
[[nodiscard]] Extent2 pytorch_output_extent(const Window& window, Extent2 input);

/// Bounds: gamma of the roundings on the longest way to a result, times the sum of the terms' magnitudes.
[[nodiscard]] Expected conv2d(const Conv2d& layer, const Map& in);
[[nodiscard]] Expected fully_connected(const FullyConnected& layer, std::int64_t segment, const Map& in);
[[nodiscard]] Expected pool2d(const Pool2d& layer, const Map& in);
[[nodiscard]] Expected lrn(const Lrn& layer, const Map& in);
[[nodiscard]] Expected softmax(const Map& in);
/// Widens the bound by one rounding to a map's element type; none for f32, whose results are rounded already.
void stored_as(DType dtype, Expected& expected);

/// Uniform numbers in [-1, 1) from a seed, the same on every machine.
[[nodiscard]] std::vector<float> random_values(std::uint64_t seed, std::int64_t count);

/// Elements left unused after every position, row and image.
struct Gaps {
  std::int64_t position = 0;
  std::int64_t row = 0;
  std::int64_t image = 0;
};

/// A map in memory of its own: elements shown start as poison (a NaN), everything around and between is
/// sentinel (another NaN), so that a stray read spoils a result and a stray write is seen.
class GuardedMap {
 public:
  GuardedMap(DType dtype, std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole,
             Gaps gaps = {});
  /// A whole map.
  GuardedMap(DType dtype, std::int64_t images, std::int64_t channels, Extent2 whole, Gaps gaps = {});

  [[nodiscard]] const MapView& view() const { return view_; }
  [[nodiscard]] float get(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) const;
  void set(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel, float value);
  /// Fills the elements shown from a seed.
  void randomize(std::uint64_t seed);
  /// Fills the elements shown from another map that shows at least them, of the same type.
  void fill_from(const GuardedMap& other);
  /// The elements of a whole map, as the oracle takes them.
  [[nodiscard]] Map values() const;
  /// True when every element shown was written and nothing else was touched.
  [[nodiscard]] testing::AssertionResult complete() const;

 private:
  [[nodiscard]] std::uint32_t bits_at(std::size_t index) const;
  void put_bits(std::size_t index, std::uint32_t bits);
  [[nodiscard]] std::size_t index_of(std::int64_t image, std::int64_t row, std::int64_t col,
                                     std::int64_t channel) const;

  std::vector<std::byte> bytes_;
  std::size_t elements_ = 0;
  MapView view_;
};

/// Every element within its bound (NaN only where NaN is expected, infinities equal). Names the first that is
/// not.
[[nodiscard]] testing::AssertionResult within(const GuardedMap& actual, const Expected& expected);

/// The elements that `part` shows are the same bits in `whole` (any NaN equals any NaN). Names the first that
/// is not.
[[nodiscard]] testing::AssertionResult same_bits(const GuardedMap& part, const GuardedMap& whole);

/// A kernel as the tests see it.
using Kernel = std::function<void(const ConstMapView& in, const MapView& out)>;

/// The rectangle of the whole input that outputs `core` need, by needed_intervals.
[[nodiscard]] Rect needed_rect(const Window& window, Extent2 input, Rect core);

/// Computes the output map of `whole_out` again in tiles of `core` positions and compares the bits. Every
/// tile is computed from a view of the whole input into a part of one output map, and from a copy of exactly
/// what it needs into a map of its own, with gaps in memory.
[[nodiscard]] testing::AssertionResult tiles_equal_whole(const Window& window, const GuardedMap& in,
                                                         const GuardedMap& whole_out, Extent2 core,
                                                         const Kernel& kernel);

}  // namespace halotile::oracle
