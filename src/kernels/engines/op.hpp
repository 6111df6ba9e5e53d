// Operations, as engines see them: their parameters, and the one type that holds any of them. Definitions and
// defaults are PyTorch's.
//
// Another one takes a struct here with its place in Op and in op_names, the engines that have it, and tests.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <variant>

#include "kernels/engines/parameter.hpp"
#include "patching/window.hpp"

namespace halotile {

/// y[o] = relu?(bias[o] + sum over (ky, kx, c) of x * w), zero outside the image.
struct Conv2d {
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t groups = 1;  ///< divides both channel counts
  Window window;
  bool relu = false;  ///< fused x < 0 ? 0 : x, which keeps NaN
  Parameter weight;   ///< (out_channels, in_channels / groups, kernel height, kernel width)
  Parameter bias;     ///< out_channels values, or empty
};

/// y = relu?(bias + W x), for a block of outputs. The bits must not depend on how outputs are cut into such
/// blocks.
struct FullyConnected {
  std::int64_t in_features = 0;
  std::int64_t out_features = 0;
  bool relu = false;
  Parameter weight;     ///< (out_features, in_features); in_features in the order of the input in memory
  Parameter bias;       ///< out_features values, or empty
  Interval features{};  ///< the outputs to make, of [0, out_features)

  [[nodiscard]] bool whole() const { return features == Interval{0, out_features}; }
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

/// Both layers in one pass, with the bits of one after the other. An engine has it where it is faster so.
struct LrnMaxPool {
  Lrn lrn;
  Pool2d pool;  ///< a max pool
};

/// y = max(x, 0).
struct Relu {};

/// y = x < 0 ? slope * x : x; keeps NaN.
struct LeakyRelu {
  float slope = 0.01F;
};

enum class BinaryKind : std::uint8_t { add, subtract, multiply };

/// y = relu?(a op b) of two maps, element by element. An input may have one channel, or one position along an
/// axis, for all of the output's.
struct Binary {
  BinaryKind kind = BinaryKind::add;
  bool relu = false;  ///< fused x < 0 ? 0 : x, which keeps NaN
};

/// y[c] = exp(x[c] - max) / sum, over the channels of a position.
struct Softmax {};

/// Copies out.rect, converting between element types: cutting and placing packed tiles, and the input.
struct Copy {};

/// u8 pixels to (x / 255 - mean) / stddev, each step rounded to float. For devices with memory of their own.
struct Normalize {
  std::array<float, 3> mean{};
  std::array<float, 3> stddev{};
};

using Op = std::variant<Conv2d, FullyConnected, Pool2d, Lrn, LrnMaxPool, Relu, LeakyRelu, Binary, Softmax,
                        Copy, Normalize>;

/// In the order of Op.
inline constexpr std::array<std::string_view, std::variant_size_v<Op>> op_names{
    "conv2d",     "fully_connected", "pool2d",  "lrn",  "lrn_max_pool", "relu",
    "leaky_relu", "binary",          "softmax", "copy", "normalize"};

[[nodiscard]] inline std::string_view name_of(const Op& op) { return op_names[op.index()]; }

/// True for an operation of one of these types.
template <typename... Types>
[[nodiscard]] bool is_one_of(const Op& op) {
  return (std::holds_alternative<Types>(op) || ...);
}

/// For std::visit: a function for each type.
template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};

}  // namespace halotile
