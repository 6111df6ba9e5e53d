// Values that are no ordinary numbers on their way through every layer of an engine: NaN, infinities, a
// subnormal number and -0. Each in turn stands in a layer's input or weight, at several places; the outputs
// are compared with the layer's definition in float64: NaN exactly where the definition has it, infinities
// with their sign, the rest within a bound. Tiles have the bits of the whole.
//
// The definition multiplies what a window reads outside the image, 0, by its weight: with a weight of NaN or
// infinity that is NaN.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/engines/engine.hpp"

namespace halotile::special {

/// An engine, and where it may differ from the definition (the table in docs/testing.md says why).
struct Subject {
  std::string name;
  std::function<std::unique_ptr<Engine>()> make;
  bool fuses_lrn_and_pool = false;
  bool keeps_subnormal_factors = true;
  bool relu_keeps_minus_zero = true;  ///< behind a layer of its own
  /// Convolutions and fully connected layers that turn an infinite input or weight into NaN.
  bool infinity_may_become_nan = false;
  bool winograd_infinity_may_become_nan = false;  ///< only those that Winograd suits
  bool own_products = true;                       ///< otherwise a library's, which are left out
  bool promises_bits = true;                      ///< otherwise tiles are not compared with the whole
};

enum class Kind : std::uint8_t {
  conv,
  fully_connected,
  pool,
  lrn,
  lrn_pool,
  relu,
  leaky_relu,  ///< of slope 1/4
  softmax,
  copy,
  convert,  ///< a copy to f32
};

struct LayerCase {
  std::string name;
  Kind kind = Kind::conv;
  std::int64_t channels = 0;
  Extent2 input{1, 1};
  Conv2d conv = {};  ///< without its numbers, as is the next
  FullyConnected fully_connected = {};
  Pool2d pool = {};
  Lrn lrn = {};
};

struct Case {
  Subject subject;
  LayerCase layer;

  friend void PrintTo(const Case& c, std::ostream* to) { *to << c.name(); }
  [[nodiscard]] std::string name() const { return subject.name + layer.name; }
};

/// Every layer on every engine.
[[nodiscard]] std::vector<Case> cases_of(const std::vector<Subject>& subjects);

/// Every value in the layer's input and, where it has one, its weight. Findings are GoogleTest failures.
void check(const Case& c);

}  // namespace halotile::special
