// Ratios of whole numbers, exact: how many positions of one map stand for one of another.
#pragma once

#include <cstdint>
#include <string>

namespace halotile {

/// a / b, rounded towards minus infinity; b at least 1.
[[nodiscard]] constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}
/// a / b, rounded towards infinity; b at least 1.
[[nodiscard]] constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return a / b + (a % b > 0 ? 1 : 0);
}

/// numerator / denominator, both at least 1 and without a common factor.
struct Ratio {
  std::int64_t numerator = 1;
  std::int64_t denominator = 1;

  bool operator==(const Ratio&) const = default;
};

/// a / b in lowest terms. Throws ShapeError when one of them is below 1.
[[nodiscard]] Ratio ratio(std::int64_t a, std::int64_t b);
[[nodiscard]] Ratio inverse(Ratio r);
/// Throws ShapeError naming `what` when the product leaves 64 bits.
[[nodiscard]] Ratio multiply(Ratio a, Ratio b, const char* what);
[[nodiscard]] bool less(Ratio a, Ratio b);
/// n * r, rounded towards minus infinity or infinity. Throws ShapeError when n times the numerator leaves 64
/// bits.
[[nodiscard]] std::int64_t floor_of(std::int64_t n, Ratio r);
[[nodiscard]] std::int64_t ceil_of(std::int64_t n, Ratio r);

/// "2", "1/4".
[[nodiscard]] std::string to_string(Ratio r);

}  // namespace halotile
