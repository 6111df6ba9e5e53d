#include "patching/ratio.hpp"

#include <numeric>

#include "patching/error.hpp"
#include "patching/geometry.hpp"

namespace halotile {

Ratio ratio(std::int64_t a, std::int64_t b) {
  if (a < 1 || b < 1) {
    throw ShapeError("a ratio of sizes must be above 0 (it is " + std::to_string(a) + " to " +
                     std::to_string(b) + ")");
  }
  const std::int64_t common = std::gcd(a, b);
  return {a / common, b / common};
}

Ratio inverse(Ratio r) { return {r.denominator, r.numerator}; }

Ratio multiply(Ratio a, Ratio b, const char* what) {
  const Ratio left = ratio(a.numerator, b.denominator);  // what cancels across first: the product may fit
  const Ratio right = ratio(b.numerator, a.denominator);
  return {checked_multiply(left.numerator, right.numerator, what),
          checked_multiply(left.denominator, right.denominator, what)};
}

bool less(Ratio a, Ratio b) {
  const Ratio numerators = ratio(a.numerator, b.numerator);
  const Ratio denominators = ratio(a.denominator, b.denominator);
  return checked_multiply(numerators.numerator, denominators.denominator, "a ratio") <
         checked_multiply(numerators.denominator, denominators.numerator, "a ratio");
}

std::int64_t floor_of(std::int64_t n, Ratio r) {
  return floor_div(checked_multiply(n, r.numerator, "a scaled position"), r.denominator);
}

std::int64_t ceil_of(std::int64_t n, Ratio r) {
  return ceil_div(checked_multiply(n, r.numerator, "a scaled position"), r.denominator);
}

std::string to_string(Ratio r) {
  return std::to_string(r.numerator) +
         (r.denominator == 1 ? std::string() : "/" + std::to_string(r.denominator));
}

}  // namespace halotile
