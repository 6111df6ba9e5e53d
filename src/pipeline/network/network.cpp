#include "pipeline/network/network.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "patching/error.hpp"
#include "pipeline/network/op_table.hpp"

namespace halotile {

bool Node::identity() const {
  const auto* const dropout = as<Dropout>();
  return is<Flatten>() || (dropout != nullptr && !dropout->sampled);
}

const std::string& Node::type() const { return row->type; }

std::size_t Network::origin(std::size_t value) const {
  while (value > 0 && nodes[value - 1].identity()) value = nodes[value - 1].inputs.front();
  return value;
}

std::size_t Network::spatial_nodes() const {
  const auto first =
      std::find_if(values.begin() + 1, values.end(), [](const Value& v) { return !v.spatial; });
  return static_cast<std::size_t>(first - values.begin()) - 1;
}

std::size_t Network::index_of(const std::string& node_name) const {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].name == node_name) return i;
    names.push_back(nodes[i].name);
  }
  const auto near = nearest_name(node_name, names);
  throw ConfigError(fmt::format("network {} has no layer '{}'; {}", name, node_name,
                                near ? fmt::format("did you mean '{}'?", *near)
                                     : fmt::format("its layers are {}", fmt::join(names, ", "))));
}

std::size_t Network::logits() const {
  std::size_t node = outputs.front() - 1;
  const auto passes_on = [](const Node& n) { return n.is<Softmax>() || (n.is<Dropout>() && n.identity()); };
  while (passes_on(nodes[node]) && nodes[node].inputs.front() > 0) node = nodes[node].inputs.front() - 1;
  return node;
}

GraphGeometry Network::geometry() const {
  GraphGeometry geometry;
  const std::size_t maps = spatial_nodes() + 1;
  for (std::size_t v = 0; v < maps; ++v) {
    const MapShape& shape = values[v].shape;
    const double flops = v == 0 ? 0 : nodes[v - 1].flops / static_cast<double>(shape.extent.area());
    geometry.values.push_back({v == 0 ? "input" : nodes[v - 1].name, shape.extent, shape.channels, flops});
  }
  for (std::size_t n = 0; n + 1 < maps; ++n) {
    const Node& node = nodes[n];
    std::vector<MapShape> shapes;
    for (const std::size_t v : node.inputs) shapes.push_back(values[v].shape);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const PlaneMap map = node.row->reads == nullptr ? PlaneMap{} : node.row->reads(node, i, shapes);
      geometry.edges.push_back({map, node.inputs[i], n + 1});
    }
  }
  return geometry;
}

double Network::flops() const {
  double sum = 0;
  for (const Node& node : nodes) sum += node.flops;
  return sum;
}

void Network::set_input(const MapShape& shape) {
  (void)checked_multiply(shape.elements(), 4, "the bytes of the input");
  values.front() = {shape, shape, true};
}

std::size_t Network::add(Node node) {
  std::vector<MapShape> shapes;
  bool spatial = !node.row->makes_vector;
  for (const std::size_t v : node.inputs) {
    shapes.push_back(values.at(v).shape);
    spatial = spatial && values[v].spatial;
  }
  if (node.row->complete != nullptr) node.row->complete(node, shapes);
  Value made;
  made.spatial = spatial;
  for (const std::size_t v : node.inputs) {
    if (!spatial && values[v].memory != values[node.inputs.front()].memory)
      throw ShapeError(
          "its inputs are flattened maps of different shapes, whose elements lie in different orders");
  }
  made.shape = node.row->shape == nullptr ? shapes.front() : node.row->shape(node, shapes);
  // Flattening moves nothing: values stay in NHWC order until a fully connected layer mixes them.
  const bool in_order = spatial || node.is<FullyConnected>();
  made.memory = in_order ? made.shape : values[node.inputs.front()].memory;
  (void)checked_multiply(made.shape.elements(), 4, "the bytes of a map");
  if (node.row->flops != nullptr) node.flops = node.row->flops(node, shapes, made.shape);
  nodes.push_back(std::move(node));
  values.push_back(made);
  return values.size() - 1;
}

std::size_t Network::add(const std::string& type, std::string node_name, NodeOp op,
                         std::vector<std::size_t> inputs) {
  Node node;
  node.name = std::move(node_name);
  node.row = &op_row(type);
  node.op = std::move(op);
  node.inputs = inputs.empty() ? std::vector{values.size() - 1} : std::move(inputs);
  return add(std::move(node));
}

void Network::finish() {
  if (outputs.empty()) {
    std::vector<bool> read(values.size());
    for (const Node& node : nodes) {
      for (const std::size_t v : node.inputs) read[v] = true;
    }
    for (std::size_t v = 1; v < values.size(); ++v) {
      if (!read[v]) outputs.push_back(v);
    }
  }
  keep_what_outputs_need();
}

void Network::end_at(std::size_t node) {
  outputs = {node + 1};
  keep_what_outputs_need();
}

void Network::keep_what_outputs_need() {
  std::vector<bool> wanted(values.size());
  for (const std::size_t v : outputs) wanted[v] = true;
  for (std::size_t n = nodes.size(); n-- > 0;) {
    for (const std::size_t v : nodes[n].inputs) wanted[v] = wanted[v] || wanted[n + 1];
  }
  std::vector<std::size_t> order;  // nodes
  for (const bool spatial : {true, false}) {
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      if (wanted[n + 1] && values[n + 1].spatial == spatial) order.push_back(n);
    }
  }
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (!wanted[n + 1]) cut.insert(nodes[n].name);
  }
  renumber(order);
}

// The nodes of these numbers, in this order, are all that remain.
void Network::renumber(const std::vector<std::size_t>& order) {
  std::vector<std::size_t> number(values.size());
  std::vector<Node> ordered;
  std::vector<Value> made{values.front()};
  for (const std::size_t n : order) {
    Node node = std::move(nodes[n]);
    for (std::size_t& v : node.inputs) v = number[v];
    ordered.push_back(std::move(node));
    made.push_back(values[n + 1]);
    number[n + 1] = ordered.size();
  }
  for (std::size_t& v : outputs) v = number[v];
  nodes = std::move(ordered);
  values = std::move(made);
}

}  // namespace halotile
