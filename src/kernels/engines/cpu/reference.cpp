// Convolution and fully connected layers, written to be read: the naive single-thread pipeline of the study.
//
//   conv2d           y(i, r, q, o) = relu?(bias(o) + sum over ky, kx, c of w(o, ky, kx, c) x(i, Y, X, c)),
//                    Y = r Sh - Ph + ky Dh, X = q Sw - Pw + kx Dw, c over the channels of o's group;
//                    x = 0 where (Y, X) lies outside the image or outside in.rect
//   fully_connected  y(i, o) = relu?(bias(o) + sum over f of w(o, f) x(i, f))
//
// Maps are NHWC, weights (out, ky, kx, c) and (out, features). Seven loops: image, row, column, output
// channel, ky, kx, c. One accumulator and one fused multiply-add a step, in the order of reference.hpp;
// deliberately neither blocked nor vectorized across output channels. Its speed is the latency of that one
// chain.
//
// Preconditions: those of reference.hpp, checked where a mistake would read outside the views.
#include "kernels/engines/cpu/reference.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/simd.hpp"
#include "patching/error.hpp"

namespace halotile::reference {
namespace {

// Outputs of a row of a convolution behind which it looks whether it shall stop.
constexpr std::int64_t positions_between_looks = 16;

HALOTILE_INLINE float finish(float sum, std::span<const float> bias, std::int64_t o, bool relu) {
  const float y = bias.empty() ? sum : sum + bias[static_cast<std::size_t>(o)];
  return relu && y < 0.0F ? 0.0F : y;
}

// `zeros` holds the channels of one group.
HALOTILE_INLINE void conv2d_loops(const Conv2d& layer, const float* weight, const float* zeros,
                                  const ConstMapView& in, const MapView& out) {
  const Window& window = layer.window;
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t outputs_per_group = layer.out_channels / layer.groups;
  const Rect inside = intersect(in.rect, Rect::whole(in.whole));
  for (std::int64_t image = 0; image < out.images; ++image) {
    for (std::int64_t row = out.rect.rows.begin; row < out.rect.rows.end; ++row) {
      for (std::int64_t col = out.rect.cols.begin; col < out.rect.cols.end; ++col) {
        if (col % positions_between_looks == 0) throw_if_stopped();
        float* y = out.at<float>(image, row, col);
        const float* w = weight;
        for (std::int64_t o = 0; o < layer.out_channels; ++o) {
          const std::int64_t group_start = o / outputs_per_group * channels;
          float sum = 0.0F;
          for (std::int64_t ky = 0; ky < window.kernel.height; ++ky) {
            const std::int64_t in_row =
                row * window.stride.height - window.padding.begin.height + ky * window.dilation.height;
            for (std::int64_t kx = 0; kx < window.kernel.width; ++kx) {
              const std::int64_t in_col =
                  col * window.stride.width - window.padding.begin.width + kx * window.dilation.width;
              const bool read = inside.rows.contains(in_row) && inside.cols.contains(in_col);
              const float* x = read ? in.at<float>(image, in_row, in_col) + group_start : zeros;
              for (std::int64_t c = 0; c < channels; ++c) sum = std::fma(x[c], w[c], sum);
              w += channels;
            }
          }
          y[o] = finish(sum, layer.bias, o, layer.relu);
        }
      }
    }
  }
}

HALOTILE_MULTIVERSION void conv2d_any(const Conv2d& layer, const float* weight, const float* zeros,
                                      const ConstMapView& in, const MapView& out) {
  conv2d_loops(layer, weight, zeros, in, out);
}

HALOTILE_INLINE void fully_connected_loops(const FullyConnected& layer, Interval features,
                                           const ConstMapView& in, const MapView& out) {
  for (std::int64_t image = 0; image < out.images; ++image) {
    const float* x = in.at<float>(image, in.rect.rows.begin, in.rect.cols.begin);
    float* y = out.at<float>(image, out.rect.rows.begin, out.rect.cols.begin);
    for (std::int64_t o = features.begin; o < features.end; ++o) {
      throw_if_stopped();
      const float* w = layer.weight.data() + o * layer.in_features;
      float total = 0.0F;
      for (std::int64_t begin = 0; begin < layer.in_features; begin += fully_connected_segment) {
        const std::int64_t end = std::min(begin + fully_connected_segment, layer.in_features);
        float sum = 0.0F;
        for (std::int64_t f = begin; f < end; ++f) sum = std::fma(x[f], w[f], sum);
        total = begin == 0 ? sum : total + sum;
      }
      y[o - features.begin] = finish(total, layer.bias, o, layer.relu);
    }
  }
}

HALOTILE_MULTIVERSION void fully_connected_any(const FullyConnected& layer, Interval features,
                                               const ConstMapView& in, const MapView& out) {
  fully_connected_loops(layer, features, in, out);
}

void check_maps(const char* what, const ConstMapView& in, const MapView& out, std::int64_t in_channels,
                std::int64_t out_channels) {
  if (in.dtype != DType::f32 || out.dtype != DType::f32) {
    throw UnsupportedError(std::string(what) + ": the reference engine computes f32 maps only");
  }
  if (in.images != out.images || in.channels != in_channels || out.channels != out_channels) {
    throw ShapeError(std::string(what) + ": the maps (" + std::to_string(in.images) + " images of " +
                     std::to_string(in.channels) + " channels to " + std::to_string(out.images) + " of " +
                     std::to_string(out.channels) + ") do not fit the layer (" + std::to_string(in_channels) +
                     " to " + std::to_string(out_channels) + " channels)");
  }
}

}  // namespace

void conv2d(const Conv2d& layer, std::span<const float> weight_khwc, const ConstMapView& in,
            const MapView& out) {
  check_maps("conv2d", in, out, layer.in_channels, layer.out_channels);
  check_size("conv2d's weight", weight_khwc.size(), weight_size(layer));
  if (!layer.bias.empty()) check_size("conv2d's bias", layer.bias.size(), layer.out_channels);
  // The thread's own, so that a steady state allocates nothing; never written but here.
  static thread_local std::vector<float> zeros;
  zeros.resize(std::max(zeros.size(), static_cast<std::size_t>(layer.in_channels / layer.groups)), 0.0F);
  conv2d_any(layer, weight_khwc.data(), zeros.data(), in, out);
}

void fully_connected(const FullyConnected& layer, Interval features, const ConstMapView& in,
                     const MapView& out) {
  check_maps("fully_connected", in, out, layer.in_features, features.size());
  if (!Interval{0, layer.out_features}.contains(features) || in.rect.extent() != Extent2{1, 1} ||
      out.rect.extent() != Extent2{1, 1}) {
    throw ShapeError("fully_connected needs maps of one position and outputs that the layer has");
  }
  check_size("fully_connected's weight", layer.weight.size(),
             checked_multiply(layer.out_features, layer.in_features, "a weight"));
  if (!layer.bias.empty()) check_size("fully_connected's bias", layer.bias.size(), layer.out_features);
  fully_connected_any(layer, features, in, out);
}

}  // namespace halotile::reference
