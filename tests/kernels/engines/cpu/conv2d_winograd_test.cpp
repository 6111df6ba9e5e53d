// Winograd convolution: against float64 within the derived bound, tiles against the whole bit for bit, and
// the reach of every input position.
#include "kernels/engines/cpu/conv2d_winograd.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <ostream>
#include <random>

#include "kernels/engines/oracle.hpp"

namespace halotile {
namespace {

using oracle::GuardedMap;
using oracle::Map;

#if defined(__SANITIZE_THREAD__)
constexpr int most_threads = 1;  // it does not know OpenMP's barriers
#else
constexpr int most_threads = 2;
#endif
#ifdef HALOTILE_SANITIZED
constexpr int tilings = 2;
#else
constexpr int tilings = 6;
#endif
constexpr std::uint64_t seed = 20150930;

struct WinogradCase {
  std::string name;
  std::int64_t in_channels = 64;
  std::int64_t out_channels = 64;
  std::int64_t groups = 1;
  Extent2 input{13, 13};
  Extent2 padding{1, 1};
  std::int64_t images = 1;
  bool relu = false;
  bool bias = true;
  DType type = DType::f32;
};

std::ostream& operator<<(std::ostream& out, const WinogradCase& c) { return out << c.name; }

// integers: small ones, and weights that are multiples of 4, so that their transforms by halves are integers.
enum class Numbers : std::uint8_t { any, integers };

// A layer with numbers of its own, prepared.
class WinogradLayer {
 public:
  explicit WinogradLayer(const WinogradCase& c, Numbers numbers = Numbers::any)
      : weight_(oracle::random_values(seed, c.out_channels * c.in_channels / c.groups * 9)),
        bias_(oracle::random_values(seed + 1, c.bias ? c.out_channels : 0)) {
    if (numbers == Numbers::integers) {
      for (float& w : weight_) w = 4 * std::round(2 * w);
      for (float& b : bias_) b = std::round(8 * b);
    }
    layer_.in_channels = c.in_channels;
    layer_.out_channels = c.out_channels;
    layer_.groups = c.groups;
    layer_.window.kernel = {3, 3};
    layer_.window.padding = c.padding;
    layer_.relu = c.relu;
    layer_.weight = Parameter(weight_);
    layer_.bias = Parameter(bias_);
    transformed_ = winograd_weight(layer_, c.type, device_);
  }

  [[nodiscard]] const Conv2d& layer() const { return layer_; }

  // An operation with its scratch.
  class Prepared {
   public:
    Prepared(WinogradLayer& layer, const MapGeometry& out, int threads = 1)
        : stream_(*layer.stream_),
          operation_(winograd_conv2d(layer.layer_, layer.transformed_, out, threads)),
          scratch_(layer.device_.allocate(operation_->scratch_bytes())) {
      layer.device_.poison(scratch_, 0);
    }
    void run(const ConstMapView& in, const MapView& out) const {
      operation_->run(in, out, {stream_, {scratch_.data(), scratch_.bytes()}});
    }

   private:
    Stream& stream_;
    std::unique_ptr<Operation> operation_;
    Buffer scratch_;
  };

  void run(const ConstMapView& in, const MapView& out, int threads = 1) {
    Prepared(*this, out, threads).run(in, out);
  }

  [[nodiscard]] GuardedMap output(const GuardedMap& in) {
    const MapView& v = in.view();
    GuardedMap out(v.dtype, v.images, layer_.out_channels, output_extent(layer_.window, v.whole), {1, 2, 3});
    run(v, out.view());
    return out;
  }

 private:
  std::vector<float> weight_;
  std::vector<float> bias_;
  Conv2d layer_;
  CpuDevice device_;
  std::unique_ptr<Stream> stream_ = device_.make_stream();
  Buffer transformed_;
};

// Written out, an output is a sum of monomials a g d b with coefficients from A, G and B. None meets more
// than channels + 8 roundings: 2 in the input's transform, 1 of the transformed weight (its own, in double,
// count as another), one a step of the chain, 4 in the output's transform (2 an axis) and the bias. So the
// error is at most gamma(channels + 9) (|A^T| [sum of |G||g||G^T| (.) |B^T||d||B|] |A| + |bias|).
//
// In bf16 each monomial meets two roundings to bf16 besides, of the transformed weight and of the transformed
// input, the chain makes a rounding for each product still, one more where a zero fills a step, and the
// output is rounded once more.
oracle::Expected expected_output(const Conv2d& layer, const Map& in, DType type) {
  constexpr double from_kernel[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0, 0, 1}};  // |G|
  constexpr double from_input[4][4] = {{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}};   // |B^T|
  oracle::Expected y = oracle::conv2d(layer, in);
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t outputs = layer.out_channels / layer.groups;
  double error = oracle::gamma(channels + 9);
  if (type == DType::bf16) {
    error = std::pow(1 + oracle::unit_bf16, 2) * (1 + oracle::gamma(channels + 10)) - 1;
  }
  const auto magnitude_in = [&](std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t c) {
    const bool inside = row >= 0 && row < in.extent.height && col >= 0 && col < in.extent.width;
    return inside ? std::abs(in.at(image, row, col, c)) : 0.0;
  };
  std::vector<double> weights(static_cast<std::size_t>(layer.out_channels * channels * 16));
  for (std::int64_t oc = 0; oc < layer.out_channels * channels; ++oc) {
    for (std::int64_t p = 0; p < 16; ++p) {
      double sum = 0;
      for (std::int64_t k = 0; k < 9; ++k) {
        const auto g = static_cast<double>(layer.weight[static_cast<std::size_t>(oc * 9 + k)]);
        sum += from_kernel[p / 4][k / 3] * from_kernel[p % 4][k % 3] * std::abs(g);
      }
      weights[static_cast<std::size_t>(oc * 16 + p)] = sum;
    }
  }
  const Extent2 size = y.value.extent;
  std::vector<double> inputs(static_cast<std::size_t>(in.channels * 16));
  for (std::int64_t image = 0; image < in.images; ++image) {
    for (std::int64_t row = 0; row < size.height; row += 2) {
      for (std::int64_t col = 0; col < size.width; col += 2) {
        for (std::int64_t c = 0; c < in.channels; ++c) {
          for (std::int64_t p = 0; p < 16; ++p) {
            double sum = 0;
            for (std::int64_t k = 0; k < 16; ++k) {
              sum += from_input[p / 4][k / 4] * from_input[p % 4][k % 4] *
                     magnitude_in(image, row - layer.window.padding.begin.height + k / 4,
                                  col - layer.window.padding.begin.width + k % 4, c);
            }
            inputs[static_cast<std::size_t>(c * 16 + p)] = sum;
          }
        }
        for (std::int64_t o = 0; o < layer.out_channels; ++o) {
          double products[16] = {};
          for (std::int64_t c = 0; c < channels; ++c) {
            for (std::int64_t p = 0; p < 16; ++p) {
              products[p] += weights[static_cast<std::size_t>((o * channels + c) * 16 + p)] *
                             inputs[static_cast<std::size_t>((o / outputs * channels + c) * 16 + p)];
            }
          }
          const double bias =
              layer.bias.empty() ? 0.0 : std::abs(double{layer.bias[static_cast<std::size_t>(o)]});
          for (std::int64_t a = 0; a < std::min<std::int64_t>(2, size.height - row); ++a) {
            for (std::int64_t b = 0; b < std::min<std::int64_t>(2, size.width - col); ++b) {
              double sum = bias;
              for (std::int64_t p = 0; p < 16; ++p) {
                const bool taken = p / 4 >= a && p / 4 <= a + 2 && p % 4 >= b && p % 4 <= b + 2;
                if (taken) sum += products[p];
              }
              y.bound.at(image, row + a, col + b, o) = error * sum;
            }
          }
        }
      }
    }
  }
  oracle::stored_as(type, y);
  return y;
}

std::string reason_to_skip(DType type) {
  return type == DType::f32 ? "this CPU has no AVX-512" : "this CPU has no AVX512_BF16";
}

class WinogradTest : public testing::TestWithParam<WinogradCase> {
 protected:
  WinogradTest()
      : layer_(GetParam()),
        in_(GetParam().type, GetParam().images, GetParam().in_channels, GetParam().input, {1, 2, 3}) {
    in_.randomize(seed + 2);
  }
  void SetUp() override {
    if (!winograd_suits(layer_.layer(), GetParam().type)) GTEST_SKIP() << reason_to_skip(GetParam().type);
  }
  WinogradLayer layer_;
  GuardedMap in_;
};

TEST_P(WinogradTest, StaysWithinTheDerivedBound) {
  SCOPED_TRACE(seed);
  const GuardedMap out = layer_.output(in_);
  EXPECT_TRUE(out.complete());
  EXPECT_TRUE(oracle::within(out, expected_output(layer_.layer(), in_.values(), GetParam().type)));
}

// Sums of integers below 2^24 are exact: one rounding of the output is left, and that only where it is bf16.
TEST_P(WinogradTest, SmallIntegersMakeExactSums) {
  WinogradLayer layer(GetParam(), Numbers::integers);
  GuardedMap in(in_.view().dtype, in_.view().images, in_.view().channels, in_.view().whole, {1, 2, 3});
  const MapView& v = in.view();
  for (std::int64_t i = 0; i < v.elements(); ++i) {
    const std::int64_t position = i / v.channels % v.whole.area();
    const auto [image, row, col, c] = std::array{i / v.channels / v.whole.area(), position / v.whole.width,
                                                 position % v.whole.width, i % v.channels};
    in.set(image, row, col, c, std::round(4 * in_.get(image, row, col, c)));
  }
  const GuardedMap out = layer.output(in);
  oracle::Expected expected = oracle::conv2d(layer.layer(), in.values());
  for (std::size_t i = 0; i < expected.value.values.size(); ++i) {
    const auto sum = static_cast<float>(expected.value.values[i]);
    expected.value.values[i] = GetParam().type == DType::f32 ? sum : static_cast<float>(Bfloat16(sum));
    expected.bound.values[i] = 0;
  }
  EXPECT_TRUE(oracle::within(out, expected));
}

TEST_P(WinogradTest, TilesEqualTheWholeBitForBit) {
  SCOPED_TRACE(seed);
  const GuardedMap whole = layer_.output(in_);
  const Extent2 size = whole.view().whole;
  std::mt19937_64 random(seed);
  const auto edge = [&](std::int64_t most) {
    return 1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most));
  };
  for (int i = 0; i < tilings; ++i) {
    const Extent2 core = i == 0 ? Extent2{3, 3} : Extent2{edge(size.height), edge(size.width)};
    const int threads = 1 + i % most_threads;
    EXPECT_TRUE(oracle::tiles_equal_whole(
        layer_.layer().window, in_, whole, core,
        [&](const ConstMapView& from, const MapView& to) { layer_.run(from, to, threads); }))
        << "cores of " << to_string(core) << ", " << threads << " threads";
  }
}

// One operation for tiles of one shape, wherever they lie on the grid of blocks.
TEST_P(WinogradTest, OneOperationServesTilesOfItsShapeAtEveryPlace) {
  const GuardedMap whole = layer_.output(in_);
  const MapView& out = whole.view();
  for (const Extent2 core : {Extent2{1, 1}, {1, 2}, {2, 3}}) {
    const Extent2 fits{std::min(core.height, out.whole.height), std::min(core.width, out.whole.width)};
    GuardedMap tiles(out.dtype, out.images, out.channels, out.whole);
    const Interval images{0, out.images};
    const WinogradLayer::Prepared prepared(
        layer_, subview(tiles.view(), images, {{0, fits.height}, {0, fits.width}}));
    for (std::int64_t row = 0; row + fits.height <= out.whole.height; ++row) {
      for (std::int64_t col = 0; col + fits.width <= out.whole.width; ++col) {
        prepared.run(in_.view(),
                     subview(tiles.view(), images, {{row, row + fits.height}, {col, col + fits.width}}));
      }
    }
    EXPECT_TRUE(tiles.complete());
    EXPECT_TRUE(oracle::same_bits(tiles, whole)) << "cores of " << to_string(core);
  }
}

TEST_P(WinogradTest, EveryImageAloneHasItsBitsOfTheBatch) {
  SCOPED_TRACE(seed);
  const GuardedMap whole = layer_.output(in_);
  GuardedMap alone(whole.view().dtype, whole.view().images, whole.view().channels, whole.view().whole);
  for (std::int64_t i = 0; i < whole.view().images; ++i) {
    const Interval one{i, i + 1};
    layer_.run(subview(in_.view(), one, in_.view().rect), subview(alone.view(), one, alone.view().rect),
               most_threads);
  }
  EXPECT_TRUE(oracle::same_bits(alone, whole));
}

std::vector<WinogradCase> cases() {
  std::vector<WinogradCase> all{{"Usual"},
                                {"NoPadding", 64, 64, 1, {9, 12}, {0, 0}},
                                {"Padding2", 64, 80, 1, {7, 8}, {2, 2}, 1, true},
                                {"Padding3", 64, 64, 1, {5, 4}, {3, 3}, 1, true},
                                {"PaddingDiffers", 64, 64, 1, {6, 7}, {0, 2}},
                                {"OddChannels", 65, 67, 1, {7, 9}, {1, 1}, 2},
                                {"PanelsOfEveryWidth", 64, 112, 1, {5, 5}},
                                {"ManyChannels", 192, 144, 1, {6, 5}, {1, 1}, 1, true},
                                {"Groups", 128, 192, 2, {13, 11}, {1, 1}, 1, true, false},
                                {"OddGroups", 195, 201, 3, {5, 6}, {1, 1}, 2},
                                {"OnePosition", 64, 64, 1, {1, 1}},
                                {"OneOutput", 64, 64, 1, {3, 3}, {0, 0}},
                                {"OneRow", 64, 64, 1, {1, 17}},
                                {"OneColumn", 64, 64, 1, {18, 1}},
                                {"Batch3", 64, 64, 1, {6, 7}, {1, 1}, 3},
                                {"SlabsForEveryThread", 64, 64, 1, {18, 19}, {1, 1}, 5},
                                {"Batch32", 64, 64, 1, {3, 3}, {1, 1}, 32}};
  const std::size_t count = all.size();
  for (std::size_t i = 0; i < count; ++i) {
    all.push_back(all[i]);
    all.back().name += "Bf16";
    all.back().type = DType::bf16;
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Layers, WinogradTest, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

class WinogradOfType : public testing::TestWithParam<DType> {};

// Equal blocks have equal outputs wherever they stand among the rows of the matrix products.
TEST_P(WinogradOfType, EqualImagesHaveEqualBitsInEveryPlaceOfABatchOfAnySize) {
  WinogradLayer layer({"", 64, 96, 1, {4, 4}, {0, 0}, 1, false, true, GetParam()});
  if (!winograd_suits(layer.layer(), GetParam())) GTEST_SKIP() << reason_to_skip(GetParam());
  GuardedMap image(GetParam(), 1, 64, {4, 4});
  image.randomize(seed);
  const GuardedMap expected = layer.output(image);
  for (std::int64_t images = 1; images <= 64; ++images) {
    GuardedMap in(GetParam(), images, 64, {4, 4});
    for (std::int64_t i = 0; i < images; ++i) {
      for (std::int64_t p = 0; p < 16; ++p) {
        for (std::int64_t c = 0; c < 64; ++c) in.set(i, p / 4, p % 4, c, image.get(0, p / 4, p % 4, c));
      }
    }
    const GuardedMap out = layer.output(in);
    for (std::int64_t i = 0; i < images; ++i) {
      for (std::int64_t p = 0; p < 4; ++p) {
        for (std::int64_t o = 0; o < 96; ++o) {
          ASSERT_EQ(out.get(i, p / 2, p % 2, o), expected.get(0, p / 2, p % 2, o))
              << "image " << i << " of " << images << ", position " << p << ", channel " << o;
        }
      }
    }
  }
}

TEST_P(WinogradOfType, NanReachesTheOutputsThatReadItAndNoOthers) {
  // 65 channels: in bf16 the last one shares a step with a zero.
  WinogradLayer layer({"", 65, 64, 1, {6, 5}, {1, 1}, 1, false, true, GetParam()});
  if (!winograd_suits(layer.layer(), GetParam())) GTEST_SKIP() << reason_to_skip(GetParam());
  GuardedMap in(GetParam(), 1, 65, {6, 5});
  for (std::int64_t at = 0; at < 30; ++at) {
    in.randomize(seed);
    in.set(0, at / 5, at % 5, at % 2 == 0 ? 17 : 64, std::numeric_limits<float>::quiet_NaN());
    const GuardedMap out = layer.output(in);
    for (std::int64_t p = 0; p < 30; ++p) {
      const bool reads = std::abs(p / 5 - at / 5) <= 1 && std::abs(p % 5 - at % 5) <= 1;
      for (std::int64_t o = 0; o < 64; ++o) {
        ASSERT_EQ(std::isnan(out.get(0, p / 5, p % 5, o)), reads) << "NaN at " << at << ", output " << p;
      }
    }
  }
}

TEST_P(WinogradOfType, SuitsByTheLayerAlone) {
  Conv2d layer;
  layer.in_channels = layer.out_channels = 128;
  layer.groups = 2;
  layer.window.kernel = {3, 3};
  layer.window.padding = {1, 1};
  if (!winograd_suits(layer, GetParam())) GTEST_SKIP() << reason_to_skip(GetParam());
  const auto changed = [&](auto change) {
    Conv2d other = layer;
    change(other);
    return winograd_suits(other, GetParam());
  };
  EXPECT_TRUE(changed([](Conv2d& l) { l.window.padding = {0, 3}; }));
  EXPECT_FALSE(changed([](Conv2d& l) { l.groups = 4; }));
  EXPECT_FALSE(changed([](Conv2d& l) { l.in_channels = 64; }));
  EXPECT_FALSE(changed([](Conv2d& l) { l.out_channels = 64; }));
  EXPECT_FALSE(changed([](Conv2d& l) { l.window.kernel = {3, 5}; }));
  EXPECT_FALSE(changed([](Conv2d& l) { l.window.stride = {2, 1}; }));
  EXPECT_FALSE(changed([](Conv2d& l) { l.window.dilation = {1, 2}; }));
}

INSTANTIATE_TEST_SUITE_P(Types, WinogradOfType, testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

}  // namespace
}  // namespace halotile
