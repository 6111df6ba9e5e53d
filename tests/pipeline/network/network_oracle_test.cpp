// Whole random networks of the reference engine against float64, within bounds carried from layer to layer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/engines/cpu/reference.hpp"
#include "kernels/engines/oracle.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using oracle::Expected;
using oracle::Map;
using support::Model;

constexpr std::uint64_t oracle_seed = 20160601;
#ifdef HALOTILE_SANITIZED
constexpr int oracle_networks = 40;
#else
constexpr int oracle_networks = 300;
#endif

Map magnitude_of(const Expected& x) {
  Map m = x.value;
  for (std::size_t i = 0; i < m.values.size(); ++i) m.values[i] = std::abs(m.values[i]) + x.bound.values[i];
  return m;
}

void add(Map& to, const Map& more) {
  for (std::size_t i = 0; i < to.values.size(); ++i) to.values[i] += more.values[i];
}

std::vector<float> magnitudes(std::span<const float> values) {
  std::vector<float> result(values.begin(), values.end());
  for (float& v : result) v = std::abs(v);
  return result;
}

// The layer's result, and how far from it fp32 may be when its input is within in.bound of in.value: the
// layer's own roundings on the largest input that there may be, and the input's error carried through the
// layer.
Expected apply(const Conv2d& conv, const Expected& in) {
  Expected y = oracle::conv2d(conv, in.value);
  y.bound = oracle::conv2d(conv, magnitude_of(in)).bound;
  Conv2d absolute = conv;
  absolute.weight = Parameter(magnitudes(conv.weight));
  absolute.bias = {};
  // The bound of |w| and |x| counts all terms as they may grow; its value carries the error.
  add(y.bound, oracle::conv2d(absolute, in.bound).value);
  return y;
}

Expected apply(const FullyConnected& fc, const Expected& in) {
  Expected flat = in;
  for (Map* m : {&flat.value, &flat.bound}) {
    m->channels *= m->extent.area();
    m->extent = {1, 1};
  }
  constexpr std::int64_t segment = reference::fully_connected_segment;
  Expected y = oracle::fully_connected(fc, segment, flat.value);
  y.bound = oracle::fully_connected(fc, segment, magnitude_of(flat)).bound;
  FullyConnected absolute = fc;
  absolute.weight = Parameter(magnitudes(fc.weight));
  absolute.bias = {};
  add(y.bound, oracle::fully_connected(absolute, segment, flat.bound).value);
  return y;
}

Expected apply(const Pool2d& pool, const Expected& in) {
  Expected y = oracle::pool2d(pool, in.value);
  if (pool.kind == PoolKind::max) {
    // The largest of values that are each off by at most e is off by at most the largest e.
    y.bound = oracle::pool2d(pool, in.bound).value;
    return y;
  }
  y.bound = oracle::pool2d(pool, magnitude_of(in)).bound;
  add(y.bound, oracle::pool2d(pool, in.bound).value);
  return y;
}

Expected apply(const Relu&, const Expected& in) {
  Expected y = in;
  for (double& v : y.value.values) v = std::max(v, 0.0);
  return y;
}

// One rounding; slopes here are below 1, so that an error does not grow.
Expected apply(const LeakyRelu& layer, const Expected& in) {
  Expected y = in;
  for (std::size_t i = 0; i < y.value.values.size(); ++i) {
    double& v = y.value.values[i];
    if (v < 0) v *= static_cast<double>(layer.slope);
    y.bound.values[i] += oracle::unit_f32 * (std::abs(v) + y.bound.values[i]);
  }
  return y;
}

// y = x d^-beta with d >= k: |dy| <= e k^-beta + |x| beta k^(-beta - 1) |dd|, |dd| <= alpha / size sum
// (2|x|e + e^2); and the layer's own roundings, relative to |y| <= |x| k^-beta.
Expected apply(const Lrn& lrn, const Expected& in) {
  const Map largest = magnitude_of(in);
  Expected y = oracle::lrn(lrn, in.value);
  const auto k = static_cast<double>(lrn.k);
  const auto beta = static_cast<double>(lrn.beta);
  const double scale = static_cast<double>(lrn.alpha) / static_cast<double>(lrn.size);
  const std::int64_t channels = in.value.channels;
  for (std::size_t at = 0; at < y.value.values.size(); ++at) {
    const auto c = static_cast<std::int64_t>(at) % channels;
    double change = 0;
    const std::int64_t first = std::max<std::int64_t>(0, c - lrn.size / 2);
    const std::int64_t last = std::min(channels - 1, c + (lrn.size - 1) / 2);
    for (std::int64_t j = first; j <= last; ++j) {
      const std::size_t neighbour = at + static_cast<std::size_t>(j) - static_cast<std::size_t>(c);
      const double e = in.bound.values[neighbour];
      change += scale * (2 * std::abs(in.value.values[neighbour]) * e + e * e);
    }
    y.bound.values[at] = in.bound.values[at] * std::pow(k, -beta) +
                         largest.values[at] * beta * std::pow(k, -beta - 1) * change +
                         oracle::gamma(lrn.size + 8) * largest.values[at] * std::pow(k, -beta);
  }
  return y;
}

// Every exponent is off by at most 2 e against the largest: a factor of exp(4 e) above and below the bar.
Expected apply(const Softmax&, const Expected& in) {
  Expected y = oracle::softmax(in.value);
  const double e = *std::max_element(in.bound.values.begin(), in.bound.values.end());
  for (std::size_t i = 0; i < y.bound.values.size(); ++i)
    y.bound.values[i] = y.bound.values[i] * std::exp(4 * e) + y.value.values[i] * std::expm1(4 * e) +
                        2 * oracle::unit_f32 * e;
  return y;
}

// Flatten and dropout change nothing.
template <typename Other>
Expected apply(const Other&, const Expected& in) {
  return in;
}

Expected exact(const ConstMapView& view) {
  Expected x{Map(view.images, view.channels, view.whole), Map(view.images, view.channels, view.whole)};
  for (std::int64_t n = 0; n < view.images; ++n) {
    for (std::int64_t r = 0; r < view.whole.height; ++r) {
      for (std::int64_t c = 0; c < view.whole.width; ++c) {
        for (std::int64_t k = 0; k < view.channels; ++k)
          x.value.at(n, r, c, k) = static_cast<double>(view.at<float>(n, r, c)[k]);
      }
    }
  }
  return x;
}

// The element of an input that one of the output is made of.
double joined(const Map& map, const std::array<std::int64_t, 4>& at) {
  const auto [n, r, q, c] = at;
  return map.at(n, map.extent.height == 1 ? 0 : r, map.extent.width == 1 ? 0 : q, map.channels == 1 ? 0 : c);
}

// One rounding, and the inputs' errors carried through.
Expected join(const Binary& layer, const Expected& a, const Expected& b, const MapShape& shape) {
  const std::int64_t images = a.value.images;
  Expected y{Map(images, shape.channels, shape.extent), Map(images, shape.channels, shape.extent)};
  for (std::int64_t n = 0; n < images; ++n) {
    for (std::int64_t r = 0; r < shape.extent.height; ++r) {
      for (std::int64_t q = 0; q < shape.extent.width; ++q) {
        for (std::int64_t c = 0; c < shape.channels; ++c) {
          const double u = joined(a.value, {n, r, q, c});
          const double v = joined(b.value, {n, r, q, c});
          const double e = joined(a.bound, {n, r, q, c});
          const double f = joined(b.bound, {n, r, q, c});
          const bool product = layer.kind == BinaryKind::multiply;
          const double sign = layer.kind == BinaryKind::subtract ? -1.0 : 1.0;
          const double value = product ? u * v : u + sign * v;
          const double carried = product ? std::abs(u) * f + std::abs(v) * e + e * f : e + f;
          y.value.at(n, r, q, c) = value;
          y.bound.at(n, r, q, c) = carried + oracle::unit_f32 * (std::abs(value) + carried);
        }
      }
    }
  }
  return y;
}

Expected concatenated(const std::vector<const Expected*>& in, const MapShape& shape) {
  const std::int64_t images = in.front()->value.images;
  Expected y{Map(images, shape.channels, shape.extent), Map(images, shape.channels, shape.extent)};
  for (std::int64_t n = 0; n < images; ++n) {
    for (std::int64_t r = 0; r < shape.extent.height; ++r) {
      for (std::int64_t q = 0; q < shape.extent.width; ++q) {
        std::int64_t to = 0;
        for (const Expected* const x : in) {
          for (std::int64_t c = 0; c < x->value.channels; ++c, ++to) {
            y.value.at(n, r, q, to) = x->value.at(n, r, q, c);
            y.bound.at(n, r, q, to) = x->bound.at(n, r, q, c);
          }
        }
      }
    }
  }
  return y;
}

// What node n makes of the values before it.
Expected made(const Network& network, std::size_t n, const std::vector<Expected>& values) {
  const Node& node = network.nodes[n];
  std::vector<const Expected*> in;
  for (const std::size_t v : node.inputs) in.push_back(&values[v]);
  if (const auto* const binary = node.as<Binary>())
    return join(*binary, *in[0], *in[1], network.out(n).shape);
  if (node.is<Concat>()) return concatenated(in, network.out(n).shape);
  Expected x = *in.front();
  // Behind flatten softmax runs over all values of the map.
  if (!network.out(n).spatial && node.is<Softmax>()) {
    for (Map* m : {&x.value, &x.bound}) {
      m->channels *= m->extent.area();
      m->extent = {1, 1};
    }
  }
  return std::visit([&](const auto& op) { return apply(op, x); }, node.op);
}

struct Share {
  std::int64_t elements = 0;
  double largest = 0;  // of the bound that an error used
};

void expect_within_bounds(const std::string& text, std::uint64_t seed, support::Draw& draw, Share& share) {
  SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + text);
  const Model model(text);
  const Network& network = model.network();
  const auto engine = make_reference_engine();
  const auto way = support::random_way(draw, network, 2, model.all_layers());
  const auto executor = make_executor(model, *engine, way);
  support::fill_input(*executor, 8);
  executor->run();
  std::vector<Expected> values{exact(executor->input())};
  for (std::size_t n = 0; n < network.nodes.size(); ++n) {
    values.push_back(made(network, n, values));
    const Expected& expected = values.back();
    const Map actual = exact(executor->output(n)).value;
    ASSERT_EQ(actual.values.size(), expected.value.values.size());
    for (std::size_t at = 0; at < actual.values.size(); ++at) {
      const double error = std::abs(actual.values[at] - expected.value.values[at]);
      if (actual.values[at] == expected.value.values[at]) continue;  // -infinity of windows of padding, too
      if (!std::isfinite(expected.value.values[at])) continue;       // what becomes of those, behind them
      ASSERT_LE(error, expected.bound.values[at])
          << "layer " << network.nodes[n].name << ", element " << at << ": " << actual.values[at] << " for "
          << expected.value.values[at];
      share.largest = std::max(share.largest, error / expected.bound.values[at]);
      ++share.elements;
    }
  }
}

TEST(NetworkOracle, ReferenceIsWithinTheDerivedBoundBehindEveryLayer) {
  Share share;
  for (int i = 0; i < oracle_networks; ++i) {
    const std::uint64_t seed = oracle_seed + static_cast<std::uint64_t>(i);
    support::Draw draw(seed);
    support::ModelLimits limits;
    limits.edge = 14;
    const std::string text = support::random_model(draw, limits);
    ASSERT_NO_FATAL_FAILURE(expect_within_bounds(text, seed, draw, share));
  }
  EXPECT_GT(share.elements, 1000);
  EXPECT_GT(share.largest, 0.01) << "the bound is too generous to find anything";
}

TEST(NetworkOracle, SoItIsInGraphs) {
  Share share;
  for (int i = 0; i < 2 * oracle_networks; ++i) {
    const std::uint64_t seed = oracle_seed + 100000 + static_cast<std::uint64_t>(i);
    support::Draw draw(seed);
    support::ModelLimits limits;
    limits.edge = 14;
    limits.layers = 9;
    const std::string text = support::random_graph_model(draw, limits);
    ASSERT_NO_FATAL_FAILURE(expect_within_bounds(text, seed, draw, share));
  }
  EXPECT_GT(share.elements, 1000);
}

}  // namespace
}  // namespace halotile
