// Layers that make vectors of maps.
#include "patching/error.hpp"
#include "pipeline/network/op_table.hpp"

namespace halotile {
namespace {

OpRow flatten_row() {
  OpRow row{"flatten"};
  row.makes_vector = true;
  row.read = [](YamlMap&, Node& node, Shapes) { node.op = Flatten{}; };
  row.shape = [](const Node&, Shapes in) { return MapShape{in.front().elements(), {1, 1}}; };
  return row;
}

void read_fully_connected(YamlMap& map, Node& node, Shapes) {
  FullyConnected fc;
  if (const auto features = map.require("out_features", "out_features: 4096"))
    fc.out_features = features->integer(1, largest_size).value_or(1);
  node.has_bias = map.boolean("bias", true);
  node.op = fc;
}

void complete_fully_connected(Node& node, Shapes in) {
  auto& fc = std::get<FullyConnected>(node.op);
  fc.in_features = in.front().elements();
  fc.features = {0, fc.out_features};
}

MapShape shape_of_fully_connected(const Node& node, Shapes) {
  const auto& fc = std::get<FullyConnected>(node.op);
  const std::int64_t weights = checked_multiply(fc.in_features, fc.out_features, "the number of weights");
  (void)checked_multiply(weights, 4, "the bytes of the weights");
  return {fc.out_features, {1, 1}};
}

double flops_of_fully_connected(const Node& node, Shapes, const MapShape&) {
  const auto& fc = std::get<FullyConnected>(node.op);
  return 2.0 * static_cast<double>(fc.in_features) * static_cast<double>(fc.out_features);
}

std::vector<ParameterSlot> parameters_of_fully_connected(Node& node) {
  auto& fc = std::get<FullyConnected>(node.op);
  std::vector<ParameterSlot> slots{
      {"weight", {fc.out_features, fc.in_features}, &fc.weight, fc.in_features, true}};
  if (node.has_bias) slots.push_back({"bias", {fc.out_features}, &fc.bias, fc.in_features});
  return slots;
}

}  // namespace

std::vector<OpRow> vector_rows() {
  OpRow fc{"fully_connected"};
  fc.makes_vector = true;
  fc.read = read_fully_connected;
  fc.complete = complete_fully_connected;
  fc.shape = shape_of_fully_connected;
  fc.flops = flops_of_fully_connected;
  fc.parameters = parameters_of_fully_connected;
  return {flatten_row(), fc};
}

}  // namespace halotile
