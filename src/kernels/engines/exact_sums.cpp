#include "kernels/engines/exact_sums.hpp"

#include <string>
#include <utility>

#include "patching/error.hpp"

namespace halotile::reference {

void check_size(const char* what, std::size_t size, std::int64_t expected) {
  if (std::cmp_not_equal(size, expected)) {
    throw ShapeError(std::string(what) + " has " + std::to_string(size) + " values where the layer needs " +
                     std::to_string(expected));
  }
}

std::int64_t weight_size(const Conv2d& layer) {
  if (layer.groups < 1 || layer.in_channels % layer.groups != 0 || layer.out_channels % layer.groups != 0) {
    throw ShapeError("conv2d: " + std::to_string(layer.groups) + " groups do not divide " +
                     std::to_string(layer.in_channels) + " and " + std::to_string(layer.out_channels) +
                     " channels");
  }
  const std::int64_t per_tap =
      checked_multiply(layer.out_channels, layer.in_channels / layer.groups, "a weight");
  return checked_multiply(per_tap, layer.window.kernel.area(), "a weight");
}

std::vector<float> conv2d_weight_order(const Conv2d& layer) {
  check_size("conv2d's weight", layer.weight.size(), weight_size(layer));
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t taps = layer.window.kernel.area();
  std::vector<float> ordered(layer.weight.size());
  for (std::int64_t o = 0; o < layer.out_channels; ++o) {
    const float* from = layer.weight.data() + o * channels * taps;
    float* to = ordered.data() + o * channels * taps;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t c = 0; c < channels; ++c) to[tap * channels + c] = from[c * taps + tap];
    }
  }
  return ordered;
}

}  // namespace halotile::reference
