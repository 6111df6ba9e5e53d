#include "kernels/engines/oracle.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "patching/axis_graph.hpp"

namespace halotile::oracle {
namespace {

constexpr std::size_t guard_elements = 64;

constexpr std::uint32_t sentinel_of(DType dtype) { return dtype == DType::f32 ? 0x7fd5a5a5U : 0x7fd5U; }
constexpr std::uint32_t poison_of(DType dtype) { return dtype == DType::f32 ? 0x7fcbadbaU : 0x7fcbU; }

std::string coordinate(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) {
  return "(image " + std::to_string(image) + ", row " + std::to_string(row) + ", column " +
         std::to_string(col) + ", channel " + std::to_string(channel) + ")";
}

std::string exact(double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.9g (%a)", value, value);
  return text.data();
}

// Visits (image, row, col, channel) until the visitor returns a failure.
template <typename Visit>
testing::AssertionResult for_each_element(std::int64_t images, const Rect& rect, std::int64_t channels,
                                          Visit visit) {
  for (std::int64_t image = 0; image < images; ++image) {
    for (std::int64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
      for (std::int64_t col = rect.cols.begin; col < rect.cols.end; ++col) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
          if (testing::AssertionResult result = visit(image, row, col, channel); !result) return result;
        }
      }
    }
  }
  return testing::AssertionSuccess();
}

std::int64_t axis_outputs(std::int64_t input, std::int64_t kernel, std::int64_t stride, AxisPadding padding,
                          std::int64_t dilation, bool ceil_mode) {
  const double steps =
      static_cast<double>(input + padding.begin + padding.end - dilation * (kernel - 1) - 1) /
      static_cast<double>(stride);
  auto outputs = static_cast<std::int64_t>(ceil_mode ? std::ceil(steps) : std::floor(steps)) + 1;
  if (ceil_mode && (outputs - 1) * stride >= input + padding.begin) --outputs;
  return outputs;
}

double weight_at(const Conv2d& layer, std::int64_t o, std::int64_t c, std::int64_t ky, std::int64_t kx) {
  const std::int64_t channels = layer.in_channels / layer.groups;
  const Extent2 k = layer.window.kernel;
  return static_cast<double>(
      layer.weight[static_cast<std::size_t>(((o * channels + c) * k.height + ky) * k.width + kx)]);
}

double bias_at(std::span<const float> bias, std::int64_t o) {
  return bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<std::size_t>(o)]);
}

bool inside(const Map& map, std::int64_t row, std::int64_t col) {
  return row >= 0 && row < map.extent.height && col >= 0 && col < map.extent.width;
}

// The taps of one output along one axis, outside the input too.
std::vector<std::int64_t> axis_positions(std::int64_t output, std::int64_t outputs, std::int64_t input,
                                         bool adaptive, std::int64_t kernel, std::int64_t stride,
                                         std::int64_t padding, std::int64_t dilation) {
  std::vector<std::int64_t> positions;
  if (adaptive) {
    const double scale = static_cast<double>(input) / static_cast<double>(outputs);
    const auto begin = static_cast<std::int64_t>(std::floor(static_cast<double>(output) * scale + 1e-9));
    const auto end = static_cast<std::int64_t>(std::ceil(static_cast<double>(output + 1) * scale - 1e-9));
    for (std::int64_t p = begin; p < end; ++p) positions.push_back(p);
  } else {
    for (std::int64_t k = 0; k < kernel; ++k) positions.push_back(output * stride - padding + k * dilation);
  }
  return positions;
}

}  // namespace

Map::Map(std::int64_t image_count, std::int64_t channel_count, Extent2 size)
    : images(image_count),
      channels(channel_count),
      extent(size),
      values(static_cast<std::size_t>(image_count * channel_count * size.height * size.width), 0.0) {}

double& Map::at(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) {
  return values.at(
      static_cast<std::size_t>(((image * extent.height + row) * extent.width + col) * channels + channel));
}

double Map::at(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) const {
  return values.at(
      static_cast<std::size_t>(((image * extent.height + row) * extent.width + col) * channels + channel));
}

double gamma(std::int64_t roundings) {
  const double nu = static_cast<double>(roundings) * unit_f32;
  return nu / (1.0 - nu);
}

Extent2 pytorch_output_extent(const Window& w, Extent2 input) {
  if (w.adaptive_output) return *w.adaptive_output;
  return {axis_outputs(input.height, w.kernel.height, w.stride.height, w.rows().padding, w.dilation.height,
                       w.ceil_mode),
          axis_outputs(input.width, w.kernel.width, w.stride.width, w.cols().padding, w.dilation.width,
                       w.ceil_mode)};
}

Expected conv2d(const Conv2d& layer, const Map& in) {
  const Window& w = layer.window;
  const Extent2 size = pytorch_output_extent(w, in.extent);
  Expected y{Map(in.images, layer.out_channels, size), Map(in.images, layer.out_channels, size)};
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t roundings = channels * w.kernel.height * w.kernel.width + 1;
  (void)for_each_element(
      in.images, Rect::whole(size), layer.out_channels, [&](auto i, auto row, auto col, auto o) {
        const std::int64_t group = o / (layer.out_channels / layer.groups);
        double sum = bias_at(layer.bias, o);
        double magnitude = std::abs(sum);
        for (std::int64_t c = 0; c < channels; ++c) {
          for (std::int64_t ky = 0; ky < w.kernel.height; ++ky) {
            for (std::int64_t kx = 0; kx < w.kernel.width; ++kx) {
              const std::int64_t r = row * w.stride.height + ky * w.dilation.height - w.padding.begin.height;
              const std::int64_t q = col * w.stride.width + kx * w.dilation.width - w.padding.begin.width;
              const double x = inside(in, r, q) ? in.at(i, r, q, group * channels + c) : 0.0;
              const double term = x * weight_at(layer, o, c, ky, kx);
              sum += term;
              magnitude += std::abs(term);
            }
          }
        }
        y.value.at(i, row, col, o) = layer.relu ? std::max(sum, 0.0) : sum;
        y.bound.at(i, row, col, o) = gamma(roundings) * magnitude;
        return testing::AssertionSuccess();
      });
  return y;
}

Expected fully_connected(const FullyConnected& layer, std::int64_t segment, const Map& in) {
  Expected y{Map(in.images, layer.out_features, {1, 1}), Map(in.images, layer.out_features, {1, 1})};
  const std::int64_t segments = (layer.in_features + segment - 1) / segment;
  const std::int64_t roundings = std::min(layer.in_features, segment) + segments;
  for (std::int64_t i = 0; i < in.images; ++i) {
    for (std::int64_t o = 0; o < layer.out_features; ++o) {
      double sum = bias_at(layer.bias, o);
      double magnitude = std::abs(sum);
      for (std::int64_t f = 0; f < layer.in_features; ++f) {
        const double term =
            in.at(i, 0, 0, f) *
            static_cast<double>(layer.weight[static_cast<std::size_t>(o * layer.in_features + f)]);
        sum += term;
        magnitude += std::abs(term);
      }
      y.value.at(i, 0, 0, o) = layer.relu ? std::max(sum, 0.0) : sum;
      y.bound.at(i, 0, 0, o) = gamma(roundings) * magnitude;
    }
  }
  return y;
}

Expected pool2d(const Pool2d& layer, const Map& in) {
  const Window& w = layer.window;
  const bool adaptive = w.adaptive_output.has_value();
  const Extent2 size = pytorch_output_extent(w, in.extent);
  Expected y{Map(in.images, in.channels, size), Map(in.images, in.channels, size)};
  (void)for_each_element(in.images, Rect::whole(size), in.channels, [&](auto i, auto row, auto col, auto c) {
    double largest = -std::numeric_limits<double>::infinity();
    double sum = 0.0;
    double magnitude = 0.0;
    std::int64_t read = 0;
    std::int64_t padded = 0;
    for (const std::int64_t r : axis_positions(row, size.height, in.extent.height, adaptive, w.kernel.height,
                                               w.stride.height, w.padding.begin.height, w.dilation.height)) {
      for (const std::int64_t q : axis_positions(col, size.width, in.extent.width, adaptive, w.kernel.width,
                                                 w.stride.width, w.padding.begin.width, w.dilation.width)) {
        if (r < in.extent.height + w.padding.end.height && q < in.extent.width + w.padding.end.width)
          ++padded;
        if (!inside(in, r, q)) continue;
        const double x = in.at(i, r, q, c);
        largest = std::isnan(x) || std::isnan(largest) ? std::numeric_limits<double>::quiet_NaN()
                                                       : std::max(largest, x);
        sum += x;
        magnitude += std::abs(x);
        ++read;
      }
    }
    if (layer.kind == PoolKind::max) {
      y.value.at(i, row, col, c) = largest;
    } else {
      const auto count = static_cast<double>(layer.count_include_pad ? padded : read);
      y.value.at(i, row, col, c) = count == 0.0 ? 0.0 : sum / count;
      y.bound.at(i, row, col, c) = count == 0.0 ? 0.0 : gamma(read + 1) * magnitude / count;
    }
    return testing::AssertionSuccess();
  });
  return y;
}

Expected lrn(const Lrn& layer, const Map& in) {
  Expected y{in, in};
  const std::int64_t before = layer.size / 2;
  const std::int64_t after = (layer.size - 1) / 2;
  (void)for_each_element(
      in.images, Rect::whole(in.extent), in.channels, [&](auto i, auto row, auto col, auto c) {
        double sum = 0.0;
        for (std::int64_t j = std::max<std::int64_t>(c - before, 0);
             j <= std::min(c + after, in.channels - 1); ++j) {
          sum += in.at(i, row, col, j) * in.at(i, row, col, j);
        }
        const double d = static_cast<double>(layer.k) +
                         static_cast<double>(layer.alpha) / static_cast<double>(layer.size) * sum;
        const double value = in.at(i, row, col, c) / std::pow(d, static_cast<double>(layer.beta));
        y.value.at(i, row, col, c) = value;
        // Sum, its scale and d: size + 2 roundings of positive terms. Two roots, their product and the
        // division, or powf and the division: 6 more at most, powf counted as 4.
        y.bound.at(i, row, col, c) = gamma(layer.size + 2 + 6) * std::abs(value);
        return testing::AssertionSuccess();
      });
  return y;
}

Expected softmax(const Map& in) {
  Expected y{in, in};
  (void)for_each_element(in.images, Rect::whole(in.extent), 1, [&](auto i, auto row, auto col, auto) {
    double largest = -std::numeric_limits<double>::infinity();
    double smallest = std::numeric_limits<double>::infinity();
    for (std::int64_t c = 0; c < in.channels; ++c) {
      const double x = in.at(i, row, col, c);
      largest = std::max(largest, x);
      if (std::isfinite(x)) smallest = std::min(smallest, x);
    }
    double sum = 0.0;
    for (std::int64_t c = 0; c < in.channels; ++c) sum += std::exp(in.at(i, row, col, c) - largest);
    for (std::int64_t c = 0; c < in.channels; ++c) {
      const double value = std::exp(in.at(i, row, col, c) - largest) / sum;
      y.value.at(i, row, col, c) = value;
      // exp turns the absolute error u |x - m| of its argument into a relative one; expf counts as 2
      // roundings; both stand above and below the fraction bar, below it with the sum's roundings; then the
      // division.
      y.bound.at(i, row, col, c) = (gamma(in.channels + 5) + 2.0 * unit_f32 * (largest - smallest)) * value;
    }
    return testing::AssertionSuccess();
  });
  return y;
}

void stored_as(DType dtype, Expected& expected) {
  if (dtype == DType::f32) return;
  const double unit = dtype == DType::bf16 ? unit_bf16 : unit_f16;
  const double smallest = dtype == DType::bf16 ? 0x1p-134 : 0x1p-25;  // half a subnormal step
  for (std::size_t i = 0; i < expected.bound.values.size(); ++i) {
    const double reach = std::abs(expected.value.values[i]) + expected.bound.values[i];
    if (std::isfinite(reach)) expected.bound.values[i] += std::max(unit * reach, smallest);
  }
}

std::vector<float> random_values(std::uint64_t seed, std::int64_t count) {
  std::mt19937_64 generator(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(generator() >> 40U) * 0x1p-23 - 1.0);
  }
  return values;
}

GuardedMap::GuardedMap(DType dtype, std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole,
                       Gaps gaps) {
  static_cast<MapGeometry&>(view_) = dense_geometry(dtype, images, channels, rect, whole);
  const Extent2 extent = rect.extent();
  view_.col_stride = channels + gaps.position;
  view_.row_stride = extent.width * view_.col_stride + gaps.row;
  view_.image_stride = extent.height * view_.row_stride + gaps.image;
  elements_ = 2 * guard_elements + static_cast<std::size_t>(images * view_.image_stride);
  bytes_.resize(elements_ * static_cast<std::size_t>(size_of(dtype)));
  for (std::size_t i = 0; i < elements_; ++i) put_bits(i, sentinel_of(dtype));
  view_.data = bytes_.data() + guard_elements * static_cast<std::size_t>(size_of(dtype));
  (void)for_each_element(images, rect, channels, [&](auto i, auto row, auto col, auto c) {
    put_bits(index_of(i, row, col, c), poison_of(dtype));
    return testing::AssertionSuccess();
  });
}

GuardedMap::GuardedMap(DType dtype, std::int64_t images, std::int64_t channels, Extent2 whole, Gaps gaps)
    : GuardedMap(dtype, images, channels, Rect::whole(whole), whole, gaps) {}

std::size_t GuardedMap::index_of(std::int64_t image, std::int64_t row, std::int64_t col,
                                 std::int64_t channel) const {
  return guard_elements + static_cast<std::size_t>(view_.offset(image, row, col) + channel);
}

std::uint32_t GuardedMap::bits_at(std::size_t index) const {
  if (view_.dtype == DType::f32) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes_.data() + index * sizeof(bits), sizeof(bits));
    return bits;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes_.data() + index * sizeof(bits), sizeof(bits));
  return bits;
}

void GuardedMap::put_bits(std::size_t index, std::uint32_t bits) {
  if (view_.dtype == DType::f32) {
    std::memcpy(bytes_.data() + index * sizeof(bits), &bits, sizeof(bits));
  } else {
    const auto half = static_cast<std::uint16_t>(bits);
    std::memcpy(bytes_.data() + index * sizeof(half), &half, sizeof(half));
  }
}

float GuardedMap::get(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) const {
  const std::uint32_t bits = bits_at(index_of(image, row, col, channel));
  if (view_.dtype == DType::f32) return std::bit_cast<float>(bits);
  if (view_.dtype == DType::bf16) return std::bit_cast<float>(bits << 16U);
  Float16 half;
  half.bits = static_cast<std::uint16_t>(bits);
  return static_cast<float>(half);
}

void GuardedMap::set(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel,
                     float value) {
  put_bits(index_of(image, row, col, channel), view_.dtype == DType::f32 ? std::bit_cast<std::uint32_t>(value)
                                               : view_.dtype == DType::bf16 ? Bfloat16(value).bits
                                                                            : Float16(value).bits);
}

void GuardedMap::randomize(std::uint64_t seed) {
  const std::vector<float> values = random_values(seed, view_.elements());
  std::size_t next = 0;
  (void)for_each_element(view_.images, view_.rect, view_.channels, [&](auto i, auto row, auto col, auto c) {
    set(i, row, col, c, values[next++]);
    return testing::AssertionSuccess();
  });
}

void GuardedMap::fill_from(const GuardedMap& other) {
  (void)for_each_element(view_.images, view_.rect, view_.channels, [&](auto i, auto row, auto col, auto c) {
    put_bits(index_of(i, row, col, c), other.bits_at(other.index_of(i, row, col, c)));
    return testing::AssertionSuccess();
  });
}

Map GuardedMap::values() const {
  Map map(view_.images, view_.channels, view_.whole);
  (void)for_each_element(view_.images, view_.rect, view_.channels, [&](auto i, auto row, auto col, auto c) {
    map.at(i, row, col, c) = static_cast<double>(get(i, row, col, c));
    return testing::AssertionSuccess();
  });
  return map;
}

testing::AssertionResult GuardedMap::complete() const {
  std::vector<bool> shown(elements_, false);
  testing::AssertionResult written =
      for_each_element(view_.images, view_.rect, view_.channels, [&](auto i, auto row, auto col, auto c) {
        const std::size_t index = index_of(i, row, col, c);
        shown[index] = true;
        if (bits_at(index) != poison_of(view_.dtype)) return testing::AssertionSuccess();
        return testing::AssertionFailure() << coordinate(i, row, col, c) << " was not written";
      });
  if (!written) return written;
  for (std::size_t i = 0; i < elements_; ++i) {
    if (!shown[i] && bits_at(i) != sentinel_of(view_.dtype)) {
      return testing::AssertionFailure()
             << "memory outside the map was written, "
             << static_cast<std::int64_t>(i) - static_cast<std::int64_t>(guard_elements)
             << " elements from the map's first";
    }
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult within(const GuardedMap& actual, const Expected& expected) {
  const MapView& v = actual.view();
  if (v.images != expected.value.images || v.channels != expected.value.channels ||
      v.whole != expected.value.extent) {
    return testing::AssertionFailure()
           << "shapes differ: " << to_string(v.whole) << " and " << to_string(expected.value.extent);
  }
  return for_each_element(v.images, v.rect, v.channels, [&](auto i, auto row, auto col, auto c) {
    const auto got = static_cast<double>(actual.get(i, row, col, c));
    const double want = expected.value.at(i, row, col, c);
    const double bound = expected.bound.at(i, row, col, c);
    const bool equal = got == want || (std::isnan(got) && std::isnan(want));
    if (equal || std::abs(got - want) <= bound) return testing::AssertionSuccess();
    return testing::AssertionFailure() << coordinate(i, row, col, c) << " is " << exact(got) << ", expected "
                                       << exact(want) << " within " << exact(bound);
  });
}

testing::AssertionResult same_bits(const GuardedMap& part, const GuardedMap& whole) {
  const MapView& v = part.view();
  return for_each_element(v.images, v.rect, v.channels, [&](auto i, auto row, auto col, auto c) {
    const float a = part.get(i, row, col, c);
    const float b = whole.get(i, row, col, c);
    const bool same = std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
    if (same || (std::isnan(a) && std::isnan(b))) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << coordinate(i, row, col, c) << " is " << exact(static_cast<double>(a))
           << ", and in the other map " << exact(static_cast<double>(b));
  });
}

Rect needed_rect(const Window& window, Extent2 input, Rect core) {
  const Extent2 output = halotile::output_extent(window, input);
  const std::array rows{AxisLayer{window.rows(), input.height, output.height}};
  const std::array cols{AxisLayer{window.cols(), input.width, output.width}};
  return {needed_intervals(rows, core.rows).front(), needed_intervals(cols, core.cols).front()};
}

testing::AssertionResult tiles_equal_whole(const Window& window, const GuardedMap& in,
                                           const GuardedMap& whole_out, Extent2 core, const Kernel& kernel) {
  const MapView& whole = whole_out.view();
  const MapView& input = in.view();
  const Interval images{0, whole.images};
  GuardedMap rebuilt(whole.dtype, whole.images, whole.channels, whole.whole, {1, 3, 5});
  for (std::int64_t row = 0; row < whole.whole.height; row += core.height) {
    for (std::int64_t col = 0; col < whole.whole.width; col += core.width) {
      const Rect tile =
          intersect(Rect{{row, row + core.height}, {col, col + core.width}}, Rect::whole(whole.whole));
      kernel(input, subview(rebuilt.view(), images, tile));

      GuardedMap packed_in(input.dtype, input.images, input.channels, needed_rect(window, input.whole, tile),
                           input.whole, {2, 1, 7});
      packed_in.fill_from(in);
      GuardedMap packed_out(whole.dtype, whole.images, whole.channels, tile, whole.whole, {0, 5, 2});
      kernel(packed_in.view(), packed_out.view());
      if (testing::AssertionResult result = packed_out.complete(); !result) {
        return result << ", in the packed tile " << to_string(tile);
      }
      if (testing::AssertionResult result = same_bits(packed_out, whole_out); !result) {
        return result << ", in the packed tile " << to_string(tile) << " computed from "
                      << to_string(packed_in.view().rect);
      }
    }
  }
  if (testing::AssertionResult result = rebuilt.complete(); !result) return result;
  return same_bits(rebuilt, whole_out);
}

}  // namespace halotile::oracle
