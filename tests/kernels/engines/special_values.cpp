#include "kernels/engines/special_values.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <ostream>

#include "kernels/engines/oracle.hpp"

namespace halotile::special {
namespace {

using oracle::Expected;
using oracle::GuardedMap;
using oracle::Map;

constexpr std::int64_t images = 2;  // the second one must not notice
constexpr std::uint64_t seed = 20261130;

struct Value {
  const char* name;
  float value;
};

std::vector<Value> values_of(DType type) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return {{"NaN", std::numeric_limits<float>::quiet_NaN()},
          {"infinity", infinity},
          {"-infinity", -infinity},
          {"a subnormal number", type == DType::f16 ? 0x1p-20F : 0x1p-130F},
          {"-0", -0.0F}};
}

bool is_small(float value) { return std::abs(value) < 0x1p-14F; }

Window window_of(const LayerCase& layer) {
  switch (layer.kind) {
    case Kind::conv:
      return layer.conv.window;
    case Kind::pool:
    case Kind::lrn_pool:
      return layer.pool.window;
    default:
      return {};
  }
}

std::int64_t out_channels(const LayerCase& layer) {
  if (layer.kind == Kind::conv) return layer.conv.out_channels;
  return layer.kind == Kind::fully_connected ? layer.fully_connected.out_features : layer.channels;
}

std::int64_t weight_count(const LayerCase& layer) {
  const Conv2d& c = layer.conv;
  if (layer.kind == Kind::conv) return c.out_channels * (c.in_channels / c.groups) * c.window.kernel.area();
  const FullyConnected& f = layer.fully_connected;
  return layer.kind == Kind::fully_connected ? f.out_features * f.in_features : 0;
}

// A layer with its numbers on an engine of its own.
class Layer {
 public:
  Layer(const Case& c, std::vector<float> weight)
      : subject_(c.subject), layer_(c.layer), engine_(c.subject.make()) {
    if (weight.empty()) return;
    layer_.conv.weight = Parameter(std::move(weight));
    layer_.fully_connected.weight = layer_.conv.weight;
  }

  [[nodiscard]] const LayerCase& layer() const { return layer_; }
  [[nodiscard]] DType in_type() const { return engine_->map_type(); }
  [[nodiscard]] DType out_type() const { return layer_.kind == Kind::convert ? DType::f32 : in_type(); }

  void run(const GuardedMap& in, const GuardedMap& out) {
    const auto operation = prepare(in.view(), out.view());
    Device& device = engine_->device();
    const Buffer scratch = device.allocate(operation->scratch_bytes());
    device.poison(scratch, 0);
    const RunContext context{*stream_, {scratch.data(), scratch.bytes()}};
    if (device.host_memory()) {
      operation->run(in.view(), out.view(), context);
    } else {
      run_on_device(*operation, in.view(), out.view(), context);
    }
  }

 private:
  std::unique_ptr<Operation> prepare(const MapGeometry& in, const MapGeometry& out) {
    switch (layer_.kind) {
      case Kind::conv:
        return engine_->prepare(layer_.conv, in, out);
      case Kind::fully_connected:
        layer_.fully_connected.features = {0, out.channels};
        return engine_->prepare(layer_.fully_connected, in, out);
      case Kind::pool:
        return engine_->prepare(layer_.pool, in, out);
      case Kind::lrn:
        return engine_->prepare(layer_.lrn, in, out);
      case Kind::lrn_pool:
        return engine_->prepare(LrnMaxPool{layer_.lrn, layer_.pool}, in, out);
      case Kind::relu:
        return engine_->prepare(Relu{}, in, out);
      case Kind::leaky_relu:
        return engine_->prepare(LeakyRelu{0.25F}, in, out);
      case Kind::softmax:
        return engine_->prepare(Softmax{}, in, out);
      case Kind::copy:
      case Kind::convert:
        break;
    }
    return engine_->prepare(Copy{}, in, out);
  }

  // Maps here have no gaps.
  void run_on_device(Operation& operation, const MapView& in, const MapView& out, const RunContext& context) {
    Device& device = engine_->device();
    const auto bytes = [](const MapView& map) {
      return static_cast<std::size_t>(map.elements() * size_of(map.dtype));
    };
    const Buffer from = device.allocate(bytes(in));
    const Buffer to = device.allocate(bytes(out));
    device.upload(*stream_, from.data(), in.data, bytes(in));
    operation.run(ConstMapView{in, from.data()}, {out, to.data()}, context);
    device.download(*stream_, out.data, to.data(), bytes(out));
    stream_->synchronize();
  }

  Subject subject_;
  LayerCase layer_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Stream> stream_ = engine_->device().make_stream();
};

Expected elementwise(const Map& in, double (*of)(double)) {
  Expected y{in, Map(in.images, in.channels, in.extent)};
  for (double& x : y.value.values) x = of(x);
  return y;
}

Expected lrn_pool(const LayerCase& layer, DType type, const Map& in) {
  Expected normalized = oracle::lrn(layer.lrn, in);
  oracle::stored_as(type, normalized);
  Expected y = oracle::pool2d(layer.pool, normalized.value);
  // A maximum is off by no more than the most that one of the values is.
  double most = 0;
  for (const double bound : normalized.bound.values)
    most = std::isfinite(bound) ? std::max(most, bound) : most;
  std::ranges::fill(y.bound.values, most);
  return y;
}

Expected definition(const LayerCase& layer, DType type, const Map& in) {
  switch (layer.kind) {
    case Kind::conv:
      return oracle::conv2d(layer.conv, in);
    case Kind::fully_connected:
      return oracle::fully_connected(layer.fully_connected, layer.channels, in);
    case Kind::pool:
      return oracle::pool2d(layer.pool, in);
    case Kind::lrn:
      return oracle::lrn(layer.lrn, in);
    case Kind::lrn_pool:
      return lrn_pool(layer, type, in);
    case Kind::relu:
      return elementwise(in, [](double x) { return x < 0 ? 0.0 : x; });
    case Kind::leaky_relu:
      return elementwise(in, [](double x) { return x < 0 ? x / 4 : x; });
    case Kind::softmax:
      return oracle::softmax(in);
    case Kind::copy:
    case Kind::convert:
      break;
  }
  return elementwise(in, [](double x) { return x; });
}

// Finite results are other tests' subject: here they need only be no others' products.
double looseness(DType type) { return type == DType::f32 ? 0x1p14 : 0x1p17; }

struct Tolerance {
  bool zero_for_subnormal = false;
  bool exact = false;
  bool sign_of_zero = false;     // must be right
  const Map* touched = nullptr;  // NaN where more NaN are allowed; null: nowhere
};

std::string at(std::size_t element, const Map& map) {
  const auto index = static_cast<std::int64_t>(element);
  const std::int64_t position = index / map.channels;
  return "image " + std::to_string(position / map.extent.area()) + ", row " +
         std::to_string(position % map.extent.area() / map.extent.width) + ", column " +
         std::to_string(position % map.extent.width) + ", channel " + std::to_string(index % map.channels);
}

bool right(double got, double want, double bound, const Tolerance& tolerance, bool touched) {
  if (touched && std::isnan(got)) return true;
  if (std::isnan(want)) return std::isnan(got);
  if (!std::isfinite(want) || !std::isfinite(bound)) return got == want;
  if (want == 0 && tolerance.sign_of_zero) return got == 0 && std::signbit(got) == std::signbit(want);
  if (tolerance.zero_for_subnormal && got == 0 && std::abs(want) < 0x1p-120) return true;
  return std::abs(got - want) <= bound;
}

testing::AssertionResult as_defined(const GuardedMap& actual, const Expected& expected,
                                    const Tolerance& tolerance) {
  constexpr double few_subnormals = 0x1p-144;
  const DType type = actual.view().dtype;
  const std::vector<double> got = actual.values().values;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double want = expected.value.values[i];
    const double exact = expected.bound.values[i];
    const double step = type == DType::f16 ? 0x1p-23 : type == DType::bf16 ? 0x1p-132 : few_subnormals;
    const double bound = tolerance.exact ? 0 : exact * looseness(type) + step;
    const bool touched = tolerance.touched != nullptr && std::isnan(tolerance.touched->values[i]);
    if (right(got[i], want, bound, tolerance, touched)) continue;
    return testing::AssertionFailure() << at(i, expected.value) << " is " << got[i] << ", by definition "
                                       << want << " (within " << bound << ")";
  }
  return testing::AssertionSuccess();
}

// Every tile of `core` outputs again, each from what it needs alone.
testing::AssertionResult tiles_equal_whole(Layer& layer, const GuardedMap& in, const GuardedMap& whole,
                                           Extent2 core) {
  const MapView& out = whole.view();
  const MapView& from = in.view();
  for (std::int64_t row = 0; row < out.whole.height; row += core.height) {
    for (std::int64_t col = 0; col < out.whole.width; col += core.width) {
      const Rect tile =
          intersect(Rect{{row, row + core.height}, {col, col + core.width}}, Rect::whole(out.whole));
      GuardedMap part(from.dtype, images, from.channels,
                      oracle::needed_rect(window_of(layer.layer()), from.whole, tile), from.whole);
      part.fill_from(in);
      const GuardedMap made(out.dtype, images, out.channels, tile, out.whole);
      layer.run(part, made);
      if (testing::AssertionResult result = oracle::same_bits(made, whole); !result)
        return result << ", in the tile " << to_string(tile);
    }
  }
  return testing::AssertionSuccess();
}

Tolerance tolerance_of(const Subject& subject, const LayerCase& layer) {
  Tolerance tolerance;
  const bool multiplies = layer.kind == Kind::conv || layer.kind == Kind::fully_connected;
  tolerance.zero_for_subnormal = multiplies && !subject.keeps_subnormal_factors;
  const bool max_pool = layer.kind == Kind::pool && layer.pool.kind == PoolKind::max;
  tolerance.exact =
      layer.kind == Kind::copy || layer.kind == Kind::convert || max_pool || layer.kind == Kind::relu;
  tolerance.sign_of_zero = layer.kind == Kind::copy || layer.kind == Kind::convert || max_pool ||
                           (layer.kind == Kind::relu && subject.relu_keeps_minus_zero);
  return tolerance;
}

// Those of oneDNN's engine, as far as cases here go.
bool winograd(const LayerCase& layer) {
  const Conv2d& c = layer.conv;
  return layer.kind == Kind::conv && c.window.kernel == Extent2{3, 3} && c.in_channels / c.groups >= 64;
}

// An input's special value may make NaN where the definition has none.
bool more_nan_allowed(const Case& c, float value) {
  if (!std::isinf(value)) return false;
  const bool multiplies = c.layer.kind == Kind::conv || c.layer.kind == Kind::fully_connected;
  return (multiplies && c.subject.infinity_may_become_nan) ||
         (winograd(c.layer) && c.subject.winograd_infinity_may_become_nan);
}

Map no_outputs(const Case& c) {
  return {images, out_channels(c.layer), output_extent(window_of(c.layer), c.layer.input)};
}

// NaN at one channel's outputs.
Map touched_channel(const Case& c, std::int64_t channel) {
  Map touched = no_outputs(c);
  for (std::size_t n = 0; n < touched.values.size(); ++n) {
    if (static_cast<std::int64_t>(n) % touched.channels == channel)
      touched.values[n] = std::numeric_limits<double>::quiet_NaN();
  }
  return touched;
}

// NaN at the outputs of a convolution or fully connected layer whose windows hold a number that is not
// finite.
Map touched_outputs(const Case& c, const Map& in) {
  const Window w = window_of(c.layer);
  const auto reads = [](const AxisWindow& axis, std::int64_t output, std::int64_t position) {
    const std::int64_t behind = position - output * axis.stride + axis.padding.begin;
    return behind >= 0 && behind % axis.dilation == 0 && behind / axis.dilation < axis.kernel;
  };
  Map touched = no_outputs(c);
  for (std::size_t n = 0; n < in.values.size(); ++n) {
    if (std::isfinite(in.values[n])) continue;
    const std::int64_t position = static_cast<std::int64_t>(n) / in.channels;
    const std::int64_t image = position / in.extent.area();
    for (std::int64_t row = 0; row < touched.extent.height; ++row) {
      for (std::int64_t col = 0; col < touched.extent.width; ++col) {
        if (!reads(w.rows(), row, position % in.extent.area() / in.extent.width) ||
            !reads(w.cols(), col, position % in.extent.width)) {
          continue;
        }
        for (std::int64_t o = 0; o < touched.channels; ++o)
          touched.at(image, row, col, o) = std::numeric_limits<double>::quiet_NaN();
      }
    }
  }
  return touched;
}

// `touched` is NaN where more NaN than by definition are allowed.
void check_outputs(const Case& c, Layer& layer, const GuardedMap& in, const std::optional<Map>& touched) {
  const Expected expected = definition(layer.layer(), layer.in_type(), in.values());
  Tolerance tolerance = tolerance_of(c.subject, c.layer);
  tolerance.touched = touched ? &*touched : nullptr;
  const GuardedMap out(layer.out_type(), images, out_channels(c.layer),
                       output_extent(window_of(c.layer), c.layer.input));
  layer.run(in, out);
  ASSERT_TRUE(as_defined(out, expected, tolerance));
  if (c.subject.promises_bits) {
    ASSERT_TRUE(tiles_equal_whole(layer, in, out, {4, 3}));
  }
}

// The first position behind the first window, in rows and columns: beside it, inside another if any.
Extent2 behind_first_window(const LayerCase& layer) {
  const Window w = window_of(layer);
  const auto behind = [](const AxisWindow& axis, std::int64_t size) {
    return std::min(std::max<std::int64_t>((axis.kernel - 1) * axis.dilation + 1 - axis.padding.begin, 0),
                    size - 1);
  };
  return {behind(w.rows(), layer.input.height), behind(w.cols(), layer.input.width)};
}

// The values, each with the places at which it stands: all of them, where release builds run. Sanitizers look
// at addresses, which do not depend on the value: there each value stands at one place, and each place has
// its value.
template <typename Place, std::size_t count, typename Visit>
void for_each_trial(DType type, const std::array<Place, count>& places, Visit visit) {
#ifdef HALOTILE_SANITIZED
  constexpr bool all = false;
#else
  constexpr bool all = true;
#endif
  const std::vector<Value> values = values_of(type);
  for (std::size_t v = 0; v < values.size(); ++v) {
    for (std::size_t p = 0; p < count; ++p) {
      if (!all && v % count != p) continue;
      visit(values[v], places[p]);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// Of the first image.
void fill_with_zeros(GuardedMap& in, const LayerCase& layer) {
  for (std::int64_t y = 0; y < layer.input.height; ++y) {
    for (std::int64_t x = 0; x < layer.input.width; ++x) {
      for (std::int64_t k = 0; k < layer.channels; ++k) in.set(0, y, x, k, 0.0F);
    }
  }
}

struct InputPlace {
  Extent2 position;
  std::int64_t channel;
};

void check_inputs(const Case& c) {
  const Extent2 size = c.layer.input;
  // Channels: the first, the last, then towards the first.
  const std::int64_t channels = c.layer.channels;
  const auto channel = [channels](std::int64_t place) { return (place * (channels - 1)) % channels; };
  const std::array places{InputPlace{{0, 0}, channel(0)},
                          InputPlace{{size.height / 2, size.width - 1}, channel(1)},
                          InputPlace{{size.height - 1, size.width / 3}, channel(2)},
                          InputPlace{behind_first_window(c.layer), channel(3)}};
  Layer layer(c, oracle::random_values(seed, weight_count(c.layer)));
  for_each_trial(layer.in_type(), places, [&](const Value& value, const InputPlace& place) {
    SCOPED_TRACE(std::string(value.name) + " in the input at " + to_string(place.position) + ", channel " +
                 std::to_string(place.channel));
    GuardedMap in(layer.in_type(), images, channels, size);
    in.randomize(seed + 1);
    // Beside ordinary numbers a tiny one would not show.
    if (is_small(value.value)) fill_with_zeros(in, c.layer);
    in.set(0, place.position.height, place.position.width, place.channel, value.value);
    std::optional<Map> touched;
    if (more_nan_allowed(c, value.value)) touched = touched_outputs(c, in.values());
    check_outputs(c, layer, in, touched);
  });
}

void check_weights(const Case& c) {
  const std::int64_t count = weight_count(c.layer);
  if (count == 0) return;
  const std::array places{std::int64_t{0}, count / 2};
  for_each_trial(c.subject.make()->map_type(), places, [&](const Value& value, std::int64_t place) {
    SCOPED_TRACE(std::string(value.name) + " in the weight at " + std::to_string(place) + " of " +
                 std::to_string(count));
    std::vector<float> weight = oracle::random_values(seed, count);
    if (is_small(value.value)) std::ranges::fill(weight, 0.0F);
    weight[static_cast<std::size_t>(place)] = value.value;
    Layer layer(c, std::move(weight));
    GuardedMap in(layer.in_type(), images, c.layer.channels, c.layer.input);
    in.randomize(seed + 2);
    std::optional<Map> touched;
    if (std::isinf(value.value) && c.subject.infinity_may_become_nan)
      touched = touched_channel(c, place / (count / out_channels(c.layer)));
    check_outputs(c, layer, in, touched);
  });
}

LayerCase conv(std::string name, std::int64_t in, std::int64_t out, std::int64_t groups, Window window,
               Extent2 input, bool relu) {
  LayerCase c{.name = std::move(name) + (relu ? "Relu" : ""), .channels = in, .input = input};
  c.conv = {.in_channels = in,
            .out_channels = out,
            .groups = groups,
            .window = window,
            .relu = relu,
            .weight = {},
            .bias = {}};
  return c;
}

LayerCase fully_connected(std::string name, std::int64_t in, std::int64_t out, bool relu) {
  LayerCase c{.name = std::move(name) + (relu ? "Relu" : ""), .kind = Kind::fully_connected, .channels = in};
  c.fully_connected = {.in_features = in, .out_features = out, .relu = relu, .weight = {}, .bias = {}};
  return c;
}

LayerCase pool(std::string name, PoolKind kind, std::int64_t channels, Window window) {
  LayerCase c{.name = std::move(name), .kind = Kind::pool, .channels = channels, .input = {9, 8}};
  c.pool = {.kind = kind, .window = window};
  return c;
}

std::vector<LayerCase> layers(bool fuses_lrn_and_pool) {
  std::vector<LayerCase> all;
  for (const bool relu : {false, true}) {
    all.push_back(conv("Conv3x3", 16, 32, 1, {.kernel = {3, 3}, .padding = {1, 1}}, {8, 9}, relu));
    all.push_back(conv("ConvFirst", 3, 16, 1, {{11, 11}, {4, 4}, {2, 2}}, {23, 27}, relu));
    all.push_back(conv("ConvFirst7x7", 3, 16, 1, {{7, 7}, {2, 2}, {3, 3}}, {17, 22}, relu));
    all.push_back(conv("ConvFirstStrideAboveKernel", 3, 8, 1, {{2, 2}, {3, 3}}, {11, 14}, relu));
    all.push_back(conv("ConvFirstStride1", 3, 16, 1, {.kernel = {3, 3}, .padding = {1, 1}}, {7, 9}, relu));
    all.push_back(conv("Conv3x3Winograd", 64, 64, 1, {.kernel = {3, 3}, .padding = {1, 1}}, {6, 7}, relu));
    all.push_back(conv("Conv1x1", 32, 24, 1, {}, {5, 6}, relu));
    all.push_back(conv("Conv1x1Strided", 16, 16, 1, {.stride = {2, 2}}, {9, 8}, relu));
    all.push_back(conv("ConvStrided", 16, 32, 1, {{3, 3}, {2, 2}, {1, 1}}, {9, 8}, relu));
    all.push_back(conv("ConvGroups", 32, 32, 2, {.kernel = {5, 5}, .padding = {2, 2}}, {7, 8}, relu));
    all.push_back(conv("ConvGroupsOf48", 96, 32, 2, {.kernel = {3, 3}, .padding = {1, 1}}, {5, 6}, relu));
    all.push_back(conv("ConvDepthwise", 16, 16, 16, {.kernel = {3, 3}, .padding = {1, 1}}, {8, 9}, relu));
    all.push_back(conv("ConvDilated", 16, 16, 1, {{3, 3}, {1, 1}, {2, 2}, {2, 2}}, {9, 8}, relu));
    all.push_back(conv("ConvOddChannels", 17, 19, 1, {.kernel = {3, 3}, .padding = {1, 1}}, {6, 7}, relu));
    all.push_back(conv("ConvWidePadding", 16, 16, 1, {.kernel = {3, 3}, .padding = {4, 5}}, {5, 6}, relu));
    all.push_back(fully_connected("FullyConnected", 300, 260, relu));
    all.push_back(fully_connected("FullyConnectedOdd", 77, 5, relu));
  }
  all.push_back(pool("MaxPool", PoolKind::max, 16, {{3, 3}, {2, 2}, {1, 1}}));
  all.push_back(pool("MaxPool2x2OddChannels", PoolKind::max, 5, {{2, 2}, {2, 2}}));
  all.push_back(pool("AveragePool", PoolKind::average, 16, {{3, 3}, {2, 2}, {1, 1}}));
  all.push_back(pool("AdaptivePool", PoolKind::average, 16, {.adaptive_output = Extent2{3, 5}}));
  LayerCase lrn{.name = "Lrn", .kind = Kind::lrn, .channels = 16, .input = {4, 5}};
  for (const std::int64_t size : {5, 3}) {
    lrn.lrn = {.size = size, .alpha = 1e-1F, .beta = 0.75F, .k = 2.0F};
    lrn.name = "LrnOf" + std::to_string(size);
    all.push_back(lrn);
  }
  if (fuses_lrn_and_pool) {
    lrn.name = "LrnMaxPool";
    lrn.kind = Kind::lrn_pool;
    lrn.input = {9, 8};
    lrn.lrn.size = 5;
    lrn.pool.window = {{3, 3}, {2, 2}};
    all.push_back(lrn);
  }
  for (const std::int64_t channels : {16, 13}) {
    const std::string odd = channels % 2 == 1 ? "OddChannels" : "";
    all.push_back({.name = "Relu" + odd, .kind = Kind::relu, .channels = channels, .input = {4, 5}});
    all.push_back(
        {.name = "LeakyRelu" + odd, .kind = Kind::leaky_relu, .channels = channels, .input = {4, 5}});
    all.push_back({.name = "Copy" + odd, .kind = Kind::copy, .channels = channels, .input = {4, 5}});
    all.push_back({.name = "Convert" + odd, .kind = Kind::convert, .channels = channels, .input = {4, 5}});
    all.push_back({.name = "Softmax" + odd, .kind = Kind::softmax, .channels = channels, .input = {1, 1}});
  }
  return all;
}

}  // namespace

std::vector<Case> cases_of(const std::vector<Subject>& subjects) {
  std::vector<Case> cases;
  for (const Subject& subject : subjects) {
    for (LayerCase& layer : layers(subject.fuses_lrn_and_pool)) {
      const bool product = layer.kind == Kind::conv || layer.kind == Kind::fully_connected;
      if (!product || subject.own_products) cases.push_back({subject, std::move(layer)});
    }
  }
  return cases;
}

void check(const Case& c) {
  check_inputs(c);
  if (!testing::Test::HasFatalFailure()) check_weights(c);
}

}  // namespace halotile::special
