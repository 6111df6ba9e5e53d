// Convolution of any window: the reference's bits in f32, within the bound in bf16, tiles as the whole.
#include "kernels/engines/cpu/conv2d_plain.hpp"

#include <gtest/gtest.h>

#include "kernels/engines/cpu/reference.hpp"
#include "kernels/engines/oracle.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;

#if defined(__SANITIZE_THREAD__)
constexpr int plain_threads = 1;  // it does not know OpenMP's barriers
#else
constexpr int plain_threads = 3;
#endif
#ifdef HALOTILE_SANITIZED
constexpr int plain_layers = 40;
#else
constexpr int plain_layers = 200;
#endif
constexpr std::uint64_t plain_seed = 20221106;

// Numbers that differ from layer to layer.
class Draws {
 public:
  explicit Draws(std::uint64_t start) : state_(start) {}
  std::int64_t operator()(std::int64_t low, std::int64_t high) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return low + static_cast<std::int64_t>((state_ >> 33U) % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::uint64_t state_;
};

class PlainLayer {
 public:
  PlainLayer(const Conv2d& layer, std::uint64_t start)
      : weights_(oracle::random_values(
            start, layer.out_channels * (layer.in_channels / layer.groups) * layer.window.kernel.area())),
        bias_(oracle::random_values(start + 1, start % 3 == 0 ? 0 : layer.out_channels)),
        layer_(layer) {
    layer_.weight = Parameter(weights_);
    layer_.bias = Parameter(bias_);
    ordered_ = plain_conv2d_weight(layer_, device_);
  }

  [[nodiscard]] const Conv2d& layer() const { return layer_; }
  void run(const ConstMapView& in, const MapView& out) {
    const auto operation = plain_conv2d(layer_, ordered_, out, plain_threads);
    const Buffer scratch = device_.allocate(operation->scratch_bytes());
    device_.poison(scratch, 0);
    operation->run(in, out, {*stream_, {scratch.data(), scratch.bytes()}});
  }

 private:
  std::vector<float> weights_;
  std::vector<float> bias_;
  Conv2d layer_;
  CpuDevice device_;
  std::unique_ptr<Stream> stream_ = device_.make_stream();
  Buffer ordered_;
};

TEST(PlainConv2d, HasTheReferencesBitsForRandomWindowsAndInTiles) {
  int tested = 0;
  for (int i = 0; i < plain_layers; ++i) {
    const std::uint64_t start = plain_seed + static_cast<std::uint64_t>(i);
    Draws draw(start);
    Conv2d layer;
    layer.groups = draw(1, 3);
    layer.in_channels = layer.groups * draw(1, 6);
    layer.out_channels = layer.groups * (draw(0, 1) == 0 ? draw(1, 5) : draw(6, 40));
    layer.window = {{draw(1, 5), draw(1, 5)},
                    {draw(1, 4), draw(1, 4)},
                    {draw(0, 6), draw(0, 6)},
                    {draw(1, 3), draw(1, 3)}};
    layer.relu = draw(0, 1) == 1;
    const Extent2 input{draw(1, 11), draw(1, 11)};
    const Window& w = layer.window;
    if (input.height + 2 * w.padding.begin.height < w.dilation.height * (w.kernel.height - 1) + 1 ||
        input.width + 2 * w.padding.begin.width < w.dilation.width * (w.kernel.width - 1) + 1) {
      continue;
    }
    ++tested;
    SCOPED_TRACE("seed " + std::to_string(start) + ": input " + to_string(input) + ", kernel " +
                 to_string(w.kernel) + ", stride " + to_string(w.stride) + ", padding " +
                 to_string(w.padding) + ", dilation " + to_string(w.dilation) + ", groups " +
                 std::to_string(layer.groups));
    PlainLayer plain(layer, start);
    const Extent2 core{draw(1, 4), draw(1, 4)};
    for (const DType type : {DType::f32, DType::bf16}) {
      GuardedMap in(type, 2, layer.in_channels, input, {1, 0, 2});
      in.randomize(start + 2);
      GuardedMap out(type, 2, layer.out_channels, output_extent(w, input), {0, 3, 1});
      plain.run(in.view(), out.view());
      ASSERT_TRUE(out.complete());
      if (type == DType::f32) {
        GuardedMap expected(type, 2, layer.out_channels, output_extent(w, input));
        reference::conv2d(plain.layer(), reference::conv2d_weight_order(plain.layer()), in.view(),
                          expected.view());
        ASSERT_TRUE(oracle::same_bits(out, expected));
      } else {
        oracle::Expected expected = oracle::conv2d(plain.layer(), in.values());
        oracle::stored_as(type, expected);
        ASSERT_TRUE(oracle::within(out, expected));
      }
      ASSERT_TRUE(oracle::tiles_equal_whole(
          w, in, out, core, [&](const ConstMapView& from, const MapView& to) { plain.run(from, to); }));
    }
  }
  EXPECT_GT(tested, plain_layers / 2);
}

}  // namespace
}  // namespace halotile
