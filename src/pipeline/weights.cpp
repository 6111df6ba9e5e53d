#include "pipeline/weights.hpp"

#include <bit>
#include <cmath>

#include "pipeline/random.hpp"

namespace halotile {
namespace {

// Index in PyTorch's (C, H, W) flattening of each position of the (H, W, C) order in memory.
std::vector<std::size_t> flattening(const MapShape& memory) {
  std::vector<std::size_t> index;
  index.reserve(static_cast<std::size_t>(memory.elements()));
  const std::int64_t area = memory.extent.area();
  for (std::int64_t position = 0; position < area; ++position) {
    for (std::int64_t c = 0; c < memory.channels; ++c)
      index.push_back(static_cast<std::size_t>(c * area + position));
  }
  return index;
}

const MapShape& memory_before(const Network& network, std::size_t layer) {
  return layer == 0 ? network.input : network.layers[layer - 1].memory;
}

std::uint64_t mix(std::uint64_t hash, const std::vector<float>& values) {
  for (const float value : values) hash = splitmix64(hash ^ std::bit_cast<std::uint32_t>(value));
  return hash;
}

}  // namespace

Weights Weights::random(const Network& network, std::uint64_t seed) {
  Weights weights;
  weights.layers_.resize(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    std::int64_t outputs = 0;
    std::int64_t fan_in = 0;
    if (layer.kind == LayerKind::conv) {
      outputs = layer.conv.out_channels;
      fan_in = layer.conv.in_channels / layer.conv.groups * layer.window.kernel.area();
    } else if (layer.kind == LayerKind::fully_connected) {
      outputs = layer.fully_connected.out_features;
      fan_in = layer.fully_connected.in_features;
    } else {
      continue;
    }
    LayerWeights& made = weights.layers_[i];
    const float weight_bound = std::sqrt(6.0F / static_cast<float>(fan_in));
    const float bias_bound = 1.0F / std::sqrt(static_cast<float>(fan_in));
    const RandomSequence weight_values(seed, layer.name + ".weight");
    made.weight.resize(static_cast<std::size_t>(outputs * fan_in));
    if (layer.kind == LayerKind::fully_connected && memory_before(network, i).extent.area() > 1) {
      const std::vector<std::size_t> order = flattening(memory_before(network, i));
      for (std::size_t o = 0, at = 0; o < static_cast<std::size_t>(outputs); ++o) {
        const std::size_t row = o * order.size();
        for (const std::size_t k : order) made.weight[at++] = weight_bound * weight_values.uniform(row + k);
      }
    } else {
      for (std::size_t k = 0; k < made.weight.size(); ++k)
        made.weight[k] = weight_bound * weight_values.uniform(k);
    }
    if (layer.bias) {
      const RandomSequence bias_values(seed, layer.name + ".bias");
      made.bias.resize(static_cast<std::size_t>(outputs));
      for (std::size_t k = 0; k < made.bias.size(); ++k) made.bias[k] = bias_bound * bias_values.uniform(k);
    }
  }
  return weights;
}

void Weights::bind(Network& network) const {
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    Layer& layer = network.layers[i];
    layer.conv.weight = layer.fully_connected.weight = {};
    layer.conv.bias = layer.fully_connected.bias = {};
    if (layer.kind == LayerKind::conv) {
      layer.conv.weight = layers_[i].weight;
      layer.conv.bias = layers_[i].bias;
    } else if (layer.kind == LayerKind::fully_connected) {
      layer.fully_connected.weight = layers_[i].weight;
      layer.fully_connected.bias = layers_[i].bias;
    }
  }
}

std::uint64_t Weights::hash() const {
  std::uint64_t hash = 0;
  for (const LayerWeights& layer : layers_) hash = mix(mix(hash, layer.weight), layer.bias);
  return hash;
}

std::size_t Weights::bytes() const {
  std::size_t bytes = 0;
  for (const LayerWeights& layer : layers_)
    bytes += (layer.weight.size() + layer.bias.size()) * sizeof(float);
  return bytes;
}

}  // namespace halotile
