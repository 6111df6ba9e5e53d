// Layers whose outputs are made of the same position of the input.
#include "pipeline/network/op_table.hpp"

namespace halotile {
namespace {

double elements(Shapes in) { return static_cast<double>(in.front().elements()); }

OpRow relu_row() {
  OpRow row{"relu"};
  row.read = [](YamlMap&, Node& node, Shapes) { node.op = Relu{}; };
  row.flops = [](const Node&, Shapes in, const MapShape&) { return elements(in); };
  return row;
}

OpRow leaky_relu_row() {
  OpRow row{"leaky_relu"};
  row.read = [](YamlMap& map, Node& node, Shapes) {
    node.op = LeakyRelu{static_cast<float>(map.number("slope", 0.01, -1e6, 1e6))};
  };
  row.flops = [](const Node&, Shapes in, const MapShape&) { return 2.0 * elements(in); };
  return row;
}

OpRow lrn_row() {
  OpRow row{"lrn"};
  row.needs_map = true;
  row.read = [](YamlMap& map, Node& node, Shapes) {
    Lrn lrn;
    lrn.size = map.integer("size", 5, 1, largest_size);
    lrn.alpha = static_cast<float>(map.number("alpha", 1e-4, 0, 1e6));
    lrn.beta = static_cast<float>(map.number("beta", 0.75, 0, 1e3));
    lrn.k = static_cast<float>(map.number("k", 1.0, 0, 1e6));
    node.op = lrn;
  };
  // Squares, window sums, scale and offset, two roots' product and a division: about 2 * size + 6 each.
  row.flops = [](const Node& node, Shapes in, const MapShape&) {
    return static_cast<double>(2 * std::get<Lrn>(node.op).size + 6) * elements(in);
  };
  return row;
}

OpRow softmax_row() {
  OpRow row{"softmax"};
  row.read = [](YamlMap&, Node& node, Shapes) { node.op = Softmax{}; };
  row.flops = [](const Node&, Shapes in, const MapShape&) { return 4.0 * elements(in); };
  return row;
}

OpRow dropout_row() {
  OpRow row{"dropout"};
  row.read = [](YamlMap& map, Node& node, Shapes) {
    node.op = Dropout{static_cast<float>(map.number("p", 0.5, 0, 1)), false};
  };
  return row;
}

}  // namespace

std::vector<OpRow> pointwise_rows() {
  return {relu_row(), leaky_relu_row(), lrn_row(), softmax_row(), dropout_row()};
}

}  // namespace halotile
