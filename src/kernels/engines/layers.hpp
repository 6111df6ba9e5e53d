// Parameters of the layers, as the kernels see them. Definitions and defaults are PyTorch's.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "patching/window.hpp"

namespace halotile {

/// y[o] = relu?(bias[o] + sum over (ky, kx, c) of x * w), zero outside the image.
struct Conv2d {
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t groups = 1;  ///< divides both channel counts
  Window window;
  bool relu = false;              ///< fused x < 0 ? 0 : x, which keeps NaN
  std::span<const float> weight;  ///< (out_channels, in_channels / groups, kernel height, kernel width)
  std::span<const float> bias;    ///< out_channels values, or empty
};

/// y = relu?(bias + W x).
struct FullyConnected {
  std::int64_t in_features = 0;
  std::int64_t out_features = 0;
  bool relu = false;
  std::span<const float>
      weight;  ///< (out_features, in_features); in_features in the order of the input in memory
  std::span<const float> bias;  ///< out_features values, or empty
};

enum class PoolKind : std::uint8_t { max, average };

/// Maximum over the positions inside the image, or average. Average divides by the window clipped to the
/// padded image (count_include_pad), or by the positions inside the image.
struct Pool2d {
  PoolKind kind = PoolKind::max;
  Window window;
  bool count_include_pad = true;  ///< average only
};

/// Local response normalization across channels, PyTorch's definition:
/// y[c] = x[c] / (k + alpha / size * sum of x[j]^2, j in [c - size / 2, c + (size - 1) / 2])^beta.
struct Lrn {
  std::int64_t size = 5;
  float alpha = 1e-4F;
  float beta = 0.75F;
  float k = 1.0F;
};

}  // namespace halotile
