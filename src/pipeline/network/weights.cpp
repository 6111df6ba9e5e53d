#include "pipeline/network/weights.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cmath>
#include <span>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/op_table.hpp"
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

// A tensor of the network: where it goes.
struct Expected {
  std::size_t node;
  std::size_t number;  // of the node's
  ParameterSlot slot;
};

// By name. The slots are those of `network`'s own nodes.
std::map<std::string, Expected> expected_tensors(Network& network) {
  std::map<std::string, Expected> tensors;
  for (std::size_t n = 0; n < network.nodes.size(); ++n) {
    const std::vector<ParameterSlot> slots = parameters_of(network.nodes[n]);
    for (std::size_t i = 0; i < slots.size(); ++i)
      tensors.emplace(network.nodes[n].name + "." + slots[i].suffix, Expected{n, i, slots[i]});
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

std::int64_t elements_of(const ParameterSlot& slot) {
  std::int64_t count = 1;
  for (const std::int64_t size : slot.shape) count *= size;
  return count;
}

std::vector<float> allocate(const Node& node, std::int64_t count) {
  try {
    return std::vector<float>(static_cast<std::size_t>(count));
  } catch (const std::exception&) {  // out of memory, or more than a vector holds
    throw ConfigError(
        fmt::format("layer {}: its weights take {} MiB, more memory than there is; make it smaller",
                    node.name, count * 4 >> 20));
  }
}

std::uint64_t mix(std::uint64_t hash, std::span<const float> values) {
  for (const float value : values) hash = splitmix64(hash ^ std::bit_cast<std::uint32_t>(value));
  return hash;
}

// Element i in PyTorch's order is element i of the sequence, whatever the order in memory.
std::vector<float> random_values(const Node& node, const ParameterSlot& slot, const MapShape& memory,
                                 std::uint64_t seed) {
  const auto fan_in = static_cast<float>(slot.fan_in);
  const float bound = slot.shape.size() > 1 ? std::sqrt(6.0F / fan_in) : 1.0F / std::sqrt(fan_in);
  const RandomSequence sequence(seed, node.name + "." + slot.suffix);
  std::vector<float> values = allocate(node, elements_of(slot));
  if (slot.flattened_rows && memory.extent.area() > 1) {
    const std::vector<std::size_t> order = flattening(memory);
    for (std::size_t row = 0; row < values.size(); row += order.size()) {
      for (std::size_t k = 0; k < order.size(); ++k)
        values[row + k] = bound * sequence.uniform(row + order[k]);
    }
  } else {
    for (std::size_t k = 0; k < values.size(); ++k) values[k] = bound * sequence.uniform(k);
  }
  return values;
}

}  // namespace

Weights Weights::random(const Network& network, std::uint64_t seed) {
  Weights weights;
  Network expecting = network;
  for (std::size_t n = 0; n < network.nodes.size(); ++n) {
    Node& node = expecting.nodes[n];
    std::vector<Parameter>& values = weights.nodes_.emplace_back();
    for (const ParameterSlot& slot : parameters_of(node))
      values.emplace_back(random_values(node, slot, expecting.in(n).memory, seed));
  }
  return weights;
}

Weights Weights::from_file(const Network& network, const TensorFile& file,
                           const std::map<std::string, std::string>& rename) {
  std::map<std::string, std::string> names = network.rename;
  for (const auto& [from, to] : rename) names[from] = to;
  Network expecting = network;
  const std::map<std::string, Expected> wanted = expected_tensors(expecting);
  std::vector<std::string> problems;
  Weights weights;
  for (Node& node : expecting.nodes) weights.nodes_.emplace_back(parameters_of(node).size());
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
    const auto& [node, number, slot] = expected->second;
    if (!taken.emplace(here, name).second) {
      problems.push_back(fmt::format("{} and {} both stand for {}", shown_name(taken[here]), shown_name(name),
                                     shown_name(here)));
    } else if (file.shape(name) != slot.shape) {
      problems.push_back(fmt::format("{} has shape ({}); ({}) is expected", shown_name(name),
                                     fmt::join(file.shape(name), ", "), fmt::join(slot.shape, ", ")));
    } else if (problems.empty()) {
      std::vector<float> values = file.read(name);
      if (slot.flattened_rows) values = to_memory_order(std::move(values), network.in(node).memory);
      weights.nodes_[node][number] = Parameter(std::move(values));
    }
  }
  for (const auto& [name, expected] : wanted) {
    if (taken.contains(name)) continue;
    problems.push_back(fmt::format("{} is missing; shape ({}) is expected (weights.rename maps other names)",
                                   shown_name(name), fmt::join(expected.slot.shape, ", ")));
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
  for (std::size_t n = 0; n < network.nodes.size(); ++n) {
    const std::vector<ParameterSlot> slots = parameters_of(network.nodes[n]);
    for (std::size_t i = 0; i < slots.size(); ++i) *slots[i].values = nodes_[n][i];
  }
}

std::uint64_t Weights::hash() const {
  std::uint64_t hash = 0;
  for (const std::vector<Parameter>& node : nodes_) {
    for (const Parameter& values : node) hash = mix(hash, values);
  }
  return hash;
}

std::size_t Weights::bytes() const {
  std::size_t bytes = 0;
  for (const std::vector<Parameter>& node : nodes_) {
    for (const Parameter& values : node) bytes += values.size_bytes();
  }
  return bytes;
}

}  // namespace halotile
