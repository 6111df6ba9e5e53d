// Convolution of any window, in the order of sums that reference.hpp has:
//
//   y(i, r, q, o) = relu?(bias(o) + sum over ky, kx, c ascending of x(i, Y, X, c) w(o, ky, kx, c))
//   Y = r Sh - Ph + ky Dh, X = q Sw - Pw + kx Dw, c over the channels of o's group; x = 0 outside the image
//
// Maps are NHWC views of f32 or bf16, sums f32. The terms of a few neighbouring outputs of a row are
// gathered, zeros for what lies outside; then every term is multiplied with its weights (ky, kx, c, o),
// vectorized over the output channels o. So a sum's order depends on the layer alone.
//
// Preconditions: those of reference.hpp.
#include "kernels/engines/cpu/conv2d_plain.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/simd.hpp"

namespace halotile {
namespace {

constexpr std::int64_t together = 4;       // outputs of a row
constexpr std::int64_t terms_of_pass = 4;  // added while a sum is in a register

// Adds terms [first, first + count) of `together` outputs, each `terms` after the one before; sums lie
// `channels` apart.
template <std::int64_t count>
HALOTILE_INLINE void add_terms(const float* x, std::int64_t terms, const float* weight, std::int64_t channels,
                               float* __restrict sums) {
  for (std::int64_t o = 0; o < channels; ++o) {
    std::array<float, count> w;
    for (std::int64_t k = 0; k < count; ++k) w[static_cast<std::size_t>(k)] = weight[k * channels + o];
    for (std::int64_t p = 0; p < together; ++p) {
      float sum = sums[p * channels + o];
      for (std::int64_t k = 0; k < count; ++k)
        sum = std::fma(x[p * terms + k], w[static_cast<std::size_t>(k)], sum);
      sums[p * channels + o] = sum;
    }
  }
}

HALOTILE_MULTIVERSION void add_products(const float* x, std::int64_t terms, const float* weight,
                                        std::int64_t channels, float* sums) {
  std::int64_t k = 0;
  for (; k + terms_of_pass <= terms; k += terms_of_pass)
    add_terms<terms_of_pass>(x + k, terms, weight + k * channels, channels, sums);
  for (; k < terms; ++k) add_terms<1>(x + k, terms, weight + k * channels, channels, sums);
}

template <typename T>
class PlainConv2d final : public Operation {
 public:
  PlainConv2d(const Conv2d& layer, const Buffer& weight, int threads)
      : layer_(layer),
        weight_(reinterpret_cast<const float*>(weight.data())),
        threads_(threads),
        in_(layer.in_channels / layer.groups),
        out_(layer.out_channels / layer.groups),
        terms_(layer.window.kernel.area() * in_) {}

  // Of each thread: the terms, and the sums, of `together` outputs.
  [[nodiscard]] std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(threads_ * together * (terms_ + out_)) * sizeof(float);
  }

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    const Rect inside = intersect(in.rect, Rect::whole(in.whole));
    const std::int64_t rows = out.rect.rows.size();
    const std::int64_t share = together * (terms_ + out_);
    auto* const scratch = reinterpret_cast<float*>(context.scratch.data());
#pragma omp parallel for schedule(static) num_threads(threads_) if (threads_ > 1)
    for (int thread = 0; thread < threads_; ++thread) {
      float* const x = scratch + thread * share;
      const std::int64_t lines = out.images * rows;
      for (std::int64_t line = thread * lines / threads_; line < (thread + 1) * lines / threads_; ++line) {
        if (stop_requested.load(std::memory_order_relaxed)) break;  // exceptions must not leave the loop
        const std::int64_t row = out.rect.rows.begin + line % rows;
        for (std::int64_t col = out.rect.cols.begin; col < out.rect.cols.end; col += together) {
          for (std::int64_t group = 0; group < layer_.groups; ++group)
            make_outputs(in, out, inside, {line / rows, row, col, group}, x);
        }
      }
    }
    throw_if_stopped();
  }

 private:
  struct Place {
    std::int64_t image;
    std::int64_t row;
    std::int64_t col;  // of the first output
    std::int64_t group;
  };

  void make_outputs(const ConstMapView& in, const MapView& out, const Rect& inside, const Place& at,
                    float* x) const {
    const std::int64_t count = std::min(together, out.rect.cols.end - at.col);
    for (std::int64_t p = 0; p < together; ++p) gather(in, inside, at, p < count ? p : 0, x + p * terms_);
    float* const sums = x + together * terms_;
    std::fill_n(sums, together * out_, 0.0F);
    add_products(x, terms_, weight_ + at.group * terms_ * out_, out_, sums);
    const float* const bias = layer_.bias.empty() ? nullptr : layer_.bias.data() + at.group * out_;
    for (std::int64_t p = 0; p < count; ++p) {
      T* const y = out.at<T>(at.image, at.row, at.col + p) + at.group * out_;
      for (std::int64_t o = 0; o < out_; ++o) {
        const float sum = bias == nullptr ? sums[p * out_ + o] : sums[p * out_ + o] + bias[o];
        y[o] = static_cast<T>(layer_.relu && sum < 0.0F ? 0.0F : sum);
      }
    }
  }

  // The terms of output `p` behind the first.
  void gather(const ConstMapView& in, const Rect& inside, const Place& at, std::int64_t p, float* x) const {
    const Window& w = layer_.window;
    for (std::int64_t ky = 0; ky < w.kernel.height; ++ky) {
      const std::int64_t row = at.row * w.stride.height - w.padding.begin.height + ky * w.dilation.height;
      for (std::int64_t kx = 0; kx < w.kernel.width; ++kx, x += in_) {
        const std::int64_t col =
            (at.col + p) * w.stride.width - w.padding.begin.width + kx * w.dilation.width;
        if (inside.rows.contains(row) && inside.cols.contains(col)) {
          const T* const from = in.at<T>(at.image, row, col) + at.group * in_;
          for (std::int64_t c = 0; c < in_; ++c) x[c] = static_cast<float>(from[c]);
        } else {
          std::fill_n(x, in_, 0.0F);
        }
      }
    }
  }

  Conv2d layer_;
  const float* weight_;
  int threads_;
  std::int64_t in_;  // channels of a group
  std::int64_t out_;
  std::int64_t terms_;
};

}  // namespace

Buffer plain_conv2d_weight(const Conv2d& layer, Device& device) {
  const std::int64_t in = layer.in_channels / layer.groups;
  const std::int64_t out = layer.out_channels / layer.groups;
  const std::int64_t taps = layer.window.kernel.area();
  Buffer buffer = device.allocate(layer.weight.size_bytes());
  auto* const to = reinterpret_cast<float*>(buffer.data());
  for (std::int64_t o = 0; o < layer.out_channels; ++o) {
    for (std::int64_t c = 0; c < in; ++c) {
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        to[((o / out * taps + tap) * in + c) * out + o % out] =
            layer.weight[static_cast<std::size_t>((o * in + c) * taps + tap)];
      }
    }
  }
  return buffer;
}

std::unique_ptr<Operation> plain_conv2d(const Conv2d& layer, const Buffer& weight, const MapGeometry& out,
                                        int threads) {
  if (out.dtype == DType::f32) return std::make_unique<PlainConv2d<float>>(layer, weight, threads);
  return std::make_unique<PlainConv2d<Bfloat16>>(layer, weight, threads);
}

}  // namespace halotile
