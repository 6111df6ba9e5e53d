#include "pipeline/network/weights.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cmath>
#include <span>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/random.hpp"

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

using Shape = std::vector<std::int64_t>;

Shape weight_shape(const Layer& layer) {
  if (layer.kind == LayerKind::conv) {
    const Extent2 kernel = layer.window.kernel;
    return {layer.conv.out_channels, layer.conv.in_channels / layer.conv.groups, kernel.height, kernel.width};
  }
  return {layer.fully_connected.out_features, layer.fully_connected.in_features};
}

// A tensor of the network: where it goes, and the name and shape it must have.
struct Expected {
  std::size_t layer;
  bool is_bias;
  Shape shape;
};

std::map<std::string, Expected> expected_tensors(const Network& network) {
  std::map<std::string, Expected> tensors;
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    if (layer.kind != LayerKind::conv && layer.kind != LayerKind::fully_connected) continue;
    const Shape shape = weight_shape(layer);
    tensors[layer.name + ".weight"] = {i, false, shape};
    if (layer.bias) tensors[layer.name + ".bias"] = {i, true, {shape.front()}};
  }
  return tensors;
}

// "features.0.weight" with features.0 -> conv1 is "conv1.weight".
std::string renamed(const std::string& name, const std::map<std::string, std::string>& rename) {
  const auto dot = name.rfind('.');
  const auto found = rename.find(name.substr(0, dot));
  return dot == std::string::npos || found == rename.end() ? name : found->second + name.substr(dot);
}

// Rows of a fully connected weight from the (C, H, W) flattening to the order in memory.
std::vector<float> to_memory_order(std::vector<float> weight, const MapShape& memory) {
  if (memory.extent.area() == 1) return weight;
  const std::vector<std::size_t> order = flattening(memory);
  std::vector<float> moved(weight.size());
  for (std::size_t row = 0; row < weight.size(); row += order.size()) {
    for (std::size_t k = 0; k < order.size(); ++k) moved[row + k] = weight[row + order[k]];
  }
  return moved;
}

std::vector<float> allocate_weight(const Layer& layer, std::int64_t outputs, std::int64_t fan_in) {
  const std::int64_t count = outputs * fan_in;
  try {
    return std::vector<float>(static_cast<std::size_t>(count));
  } catch (const std::exception&) {  // out of memory, or more than a vector holds
    throw ConfigError(
        fmt::format("layer {}: its weights take {} MiB, more memory than there is; make it smaller",
                    layer.name, count * 4 >> 20));
  }
}

std::uint64_t mix(std::uint64_t hash, std::span<const float> values) {
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
    const float weight_bound = std::sqrt(6.0F / static_cast<float>(fan_in));
    const float bias_bound = 1.0F / std::sqrt(static_cast<float>(fan_in));
    const RandomSequence weight_values(seed, layer.name + ".weight");
    std::vector<float> weight = allocate_weight(layer, outputs, fan_in);
    if (layer.kind == LayerKind::fully_connected && memory_before(network, i).extent.area() > 1) {
      const std::vector<std::size_t> order = flattening(memory_before(network, i));
      for (std::size_t o = 0, at = 0; o < static_cast<std::size_t>(outputs); ++o) {
        const std::size_t row = o * order.size();
        for (const std::size_t k : order) weight[at++] = weight_bound * weight_values.uniform(row + k);
      }
    } else {
      for (std::size_t k = 0; k < weight.size(); ++k) weight[k] = weight_bound * weight_values.uniform(k);
    }
    weights.layers_[i].weight = Parameter(std::move(weight));
    if (layer.bias) {
      const RandomSequence bias_values(seed, layer.name + ".bias");
      std::vector<float> bias(static_cast<std::size_t>(outputs));
      for (std::size_t k = 0; k < bias.size(); ++k) bias[k] = bias_bound * bias_values.uniform(k);
      weights.layers_[i].bias = Parameter(std::move(bias));
    }
  }
  return weights;
}

Weights Weights::from_file(const Network& network, const TensorFile& file,
                           const std::map<std::string, std::string>& rename) {
  std::map<std::string, std::string> names = network.rename;
  for (const auto& [from, to] : rename) names[from] = to;
  std::map<std::string, Expected> wanted = expected_tensors(network);
  std::vector<std::string> problems;
  Weights weights;
  weights.layers_.resize(network.layers.size());
  std::map<std::string, std::string> taken;  // name here -> name in the file
  for (const std::string& name : file.names()) {
    const std::string here = renamed(name, names);
    const auto expected = wanted.find(here);
    if (expected == wanted.end()) {
      if (!network.cut.contains(here.substr(0, here.rfind('.')))) {
        problems.push_back(
            fmt::format("{} is extra: the network has no tensor {}", shown_name(name), shown_name(here)));
      }
      continue;
    }
    if (!taken.emplace(here, name).second) {
      problems.push_back(fmt::format("{} and {} both stand for {}", shown_name(taken[here]), shown_name(name),
                                     shown_name(here)));
    } else if (file.shape(name) != expected->second.shape) {
      problems.push_back(fmt::format("{} has shape ({}); ({}) is expected", shown_name(name),
                                     fmt::join(file.shape(name), ", "),
                                     fmt::join(expected->second.shape, ", ")));
    } else if (problems.empty()) {
      LayerWeights& layer = weights.layers_[expected->second.layer];
      std::vector<float> values = file.read(name);
      if (expected->second.is_bias) {
        layer.bias = Parameter(std::move(values));
      } else if (network.layers[expected->second.layer].kind == LayerKind::fully_connected) {
        layer.weight =
            Parameter(to_memory_order(std::move(values), memory_before(network, expected->second.layer)));
      } else {
        layer.weight = Parameter(std::move(values));
      }
    }
  }
  for (const auto& [name, expected] : wanted) {
    if (taken.contains(name)) continue;
    problems.push_back(fmt::format("{} is missing; shape ({}) is expected (weights.rename maps other names)",
                                   shown_name(name), fmt::join(expected.shape, ", ")));
  }
  if (!problems.empty()) {
    std::string message;
    for (const std::string& problem : problems) {
      if (!message.empty()) message += "\n";
      message += shown_path(file.path()) + ": " + problem;
    }
    throw FormatError(message);
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
