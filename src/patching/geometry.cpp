#include "patching/geometry.hpp"

#include "patching/error.hpp"

namespace halotile {

std::int64_t checked_multiply(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw ShapeError(std::string(what) + " overflows: " + std::to_string(a) + " x " + std::to_string(b) +
                     " does not fit in 64 bits; use smaller sizes");
  }
  return product;
}

std::int64_t Extent2::area() const { return checked_multiply(height, width, "the number of positions"); }

std::string to_string(Extent2 extent) {
  return std::to_string(extent.height) + "x" + std::to_string(extent.width);
}

std::string to_string(const Rect& rect) {
  const auto text = [](Interval i) {
    return "[" + std::to_string(i.begin) + ", " + std::to_string(i.end) + ")";
  };
  return text(rect.rows) + " x " + text(rect.cols);
}

}  // namespace halotile
