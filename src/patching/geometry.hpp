// Value types of patch geometry: extents, half-open intervals and rectangles in the coordinates of one whole
// feature map. Coordinates are 64-bit and may be negative: positions outside the map are meaningful
// (padding).
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <string>

namespace halotile {

/// Height and width, in positions (pixels) of one map.
struct Extent2 {
  std::int64_t height = 0;
  std::int64_t width = 0;

  auto operator<=>(const Extent2&) const = default;
  /// Number of positions. Throws ShapeError when the product overflows.
  [[nodiscard]] std::int64_t area() const;
};

/// Half-open [begin, end); empty when end <= begin.
struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool operator==(const Interval&) const = default;
  [[nodiscard]] constexpr bool empty() const { return end <= begin; }
  [[nodiscard]] constexpr std::int64_t size() const { return empty() ? 0 : end - begin; }
  [[nodiscard]] constexpr bool contains(std::int64_t x) const { return begin <= x && x < end; }
  [[nodiscard]] constexpr bool contains(Interval other) const {
    return other.empty() || (begin <= other.begin && other.end <= end);
  }
};

/// Positions in both; an empty result is {0, 0}.
[[nodiscard]] constexpr Interval intersect(Interval a, Interval b) {
  const Interval both{std::max(a.begin, b.begin), std::min(a.end, b.end)};
  return both.empty() ? Interval{} : both;
}

/// Smallest interval holding both; an empty side does not count.
[[nodiscard]] constexpr Interval hull(Interval a, Interval b) {
  if (a.empty()) return b.empty() ? Interval{} : b;
  if (b.empty()) return a;
  return {std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

/// Rows times columns; empty when either is.
struct Rect {
  Interval rows;
  Interval cols;

  bool operator==(const Rect&) const = default;
  [[nodiscard]] static constexpr Rect whole(Extent2 extent) {
    return {{0, extent.height}, {0, extent.width}};
  }
  [[nodiscard]] constexpr bool empty() const { return rows.empty() || cols.empty(); }
  [[nodiscard]] constexpr Extent2 extent() const { return {rows.size(), cols.size()}; }
  [[nodiscard]] constexpr bool contains(Rect other) const {
    return other.empty() || (rows.contains(other.rows) && cols.contains(other.cols));
  }
  /// Number of positions. Throws ShapeError when the product overflows.
  [[nodiscard]] std::int64_t area() const { return empty() ? 0 : extent().area(); }
};

[[nodiscard]] constexpr Rect intersect(Rect a, Rect b) {
  const Rect both{intersect(a.rows, b.rows), intersect(a.cols, b.cols)};
  return both.empty() ? Rect{} : both;
}

/// Positions per side, never negative.
struct Halo {
  std::int64_t top = 0;
  std::int64_t left = 0;
  std::int64_t bottom = 0;
  std::int64_t right = 0;

  bool operator==(const Halo&) const = default;
  [[nodiscard]] constexpr bool none() const { return top == 0 && left == 0 && bottom == 0 && right == 0; }
};

/// a * b, for sizes. Throws ShapeError naming `what` when the product leaves 64 bits.
[[nodiscard]] std::int64_t checked_multiply(std::int64_t a, std::int64_t b, const char* what);

/// "13x27" (height x width).
[[nodiscard]] std::string to_string(Extent2 extent);
/// "[0, 5) x [2, 9)" (rows x columns).
[[nodiscard]] std::string to_string(const Rect& rect);

}  // namespace halotile
