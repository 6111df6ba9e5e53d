// Random numbers and weights: the same bits on every machine, written down here.
#include "pipeline/network/weights.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "pipeline/network/random.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::network_of;

TEST(Random, Splitmix64IsTheReferenceGenerator) {
  // First outputs of Vigna's splitmix64.c with state 0: its i-th output is the finalizer of i times the
  // increment.
  EXPECT_EQ(splitmix64(0), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(splitmix64(0x9e3779b97f4a7c15ULL), 0x6e789e6aa1b965f4ULL);
  EXPECT_EQ(splitmix64(2 * 0x9e3779b97f4a7c15ULL), 0x06c45d188009454fULL);
}

TEST(Random, UniformIsAMultipleOfTwoToMinus23InRange) {
  constexpr RandomSequence sequence(7, "input");
  double sum = 0;
  constexpr int count = 100000;
  for (std::uint64_t i = 0; i < count; ++i) {
    const float x = sequence.uniform(i);
    ASSERT_GE(x, -1.0F);
    ASSERT_LT(x, 1.0F);
    ASSERT_EQ(std::trunc(x * 0x1p23F), x * 0x1p23F);
    sum += static_cast<double>(x);
  }
  EXPECT_LT(std::abs(sum / count), 0.01);
}

TEST(Random, SequencesHaveTheWrittenBits) {
  struct Known {
    std::uint64_t seed;
    std::string_view name;
    std::uint64_t index;
    std::uint64_t bits;
    std::uint32_t value;  // of the float
  };
  // From an independent implementation of the definition in random.hpp.
  const Known known[] = {
      {7, "conv1.weight", 0, 0x0ad9aaf26f3f71acULL, 0xbf6a4cacU},
      {7, "conv1.weight", 1, 0x8b43d97f3fd53b8bULL, 0x3db43d90U},
      {7, "conv1.weight", 34847, 0x30add4fc6ef17dbaULL, 0xbf1ea458U},
      {7, "fc6.weight", 37748735, 0x8efccb580fb5e7feULL, 0x3defccb0U},
      {7, "conv1.bias", 0, 0x21d22bf40b8c0b65ULL, 0xbf3c5baaU},
      {1, "input", 0, 0x974795339aa8c81fULL, 0x3e3a3ca8U},
      {1, "input", 150527, 0x5815f006e8777b17ULL, 0xbe9fa840U},
      {0, "", 0, 0x5db1c9c93624d952ULL, 0xbe8938dcU},
      {0x7fffffffffffffffULL, "x", 0x10000000000ULL, 0xbf463775289456a2ULL, 0x3efd18dcU},
  };
  for (const Known& k : known) {
    const RandomSequence sequence(k.seed, k.name);
    EXPECT_EQ(sequence.bits(k.index), k.bits) << k.name << " " << k.index;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(sequence.uniform(k.index)), k.value) << k.name << " " << k.index;
  }
}

const char* const small_net =
    "input: {channels: 2, height: 3, width: 2}\nlayers:\n"
    "  - {type: conv, name: c, out_channels: 4, kernel: [1, 2], groups: 2, padding: [0, 1]}\n"
    "  - {type: relu}\n"
    "  - {type: fully_connected, name: f, out_features: 2}\n"
    "  - {type: fully_connected, name: g, out_features: 3, bias: false}\n";

TEST(Weights, AreHeUniformOfTheNamedSequences) {
  Network network = network_of(small_net);
  const Weights weights = Weights::random(network, 5);
  weights.bind(network);
  const auto& conv = *network.nodes[0].as<Conv2d>();
  ASSERT_EQ(conv.weight.size(), 4U * 1 * 2);
  ASSERT_EQ(conv.bias.size(), 4U);
  const RandomSequence values(5, "c.weight");
  const RandomSequence biases(5, "c.bias");
  for (std::size_t i = 0; i < conv.weight.size(); ++i)
    EXPECT_EQ(conv.weight[i], std::sqrt(6.0F / 2.0F) * values.uniform(i)) << i;
  for (std::size_t i = 0; i < conv.bias.size(); ++i)
    EXPECT_EQ(conv.bias[i], 1.0F / std::sqrt(2.0F) * biases.uniform(i)) << i;
  EXPECT_EQ(network.nodes[3].as<FullyConnected>()->weight.size(), 6U);
  EXPECT_TRUE(network.nodes[3].as<FullyConnected>()->bias.empty());
  EXPECT_EQ(weights.bytes(), 4 * (8U + 4 + 2 * 36 + 2 + 6));
}

// PyTorch flattens (C, H, W); in memory the map is (H, W, C).
TEST(Weights, OfAFlattenedMapAreReorderedFromPyTorchs) {
  Network network = network_of(small_net);
  const Weights weights = Weights::random(network, 5);
  weights.bind(network);
  const MapShape map = network.out(1).memory;
  ASSERT_EQ(map, (MapShape{4, {3, 3}}));
  const RandomSequence values(5, "f.weight");
  const float bound = std::sqrt(6.0F / 36.0F);
  const auto weight = network.nodes[2].as<FullyConnected>()->weight;
  ASSERT_EQ(weight.size(), 2U * 36);
  for (std::size_t o = 0; o < 2; ++o) {
    for (std::size_t y = 0; y < 3; ++y) {
      for (std::size_t x = 0; x < 3; ++x) {
        for (std::size_t c = 0; c < 4; ++c) {
          EXPECT_EQ(weight[o * 36 + (y * 3 + x) * 4 + c], bound * values.uniform(o * 36 + c * 9 + y * 3 + x))
              << o << " " << y << " " << x << " " << c;
        }
      }
    }
  }
}

TEST(Weights, HashTellsSeedsApart) {
  const Network network = network_of(small_net);
  EXPECT_EQ(Weights::random(network, 5).hash(), Weights::random(network, 5).hash());
  EXPECT_NE(Weights::random(network, 5).hash(), Weights::random(network, 6).hash());
}

TEST(Weights, MoveKeepsTheViewsOfLayers) {
  Network network = network_of(small_net);
  Weights first = Weights::random(network, 5);
  first.bind(network);
  const float value = network.nodes[0].as<Conv2d>()->weight[3];
  const Weights second = std::move(first);
  EXPECT_EQ(network.nodes[0].as<Conv2d>()->weight[3], value);
}

}  // namespace
}  // namespace halotile
