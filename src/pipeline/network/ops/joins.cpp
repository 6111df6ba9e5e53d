// Layers that read several values: sums, differences and products, and concatenation.
#include <fmt/format.h>

#include <algorithm>

#include "patching/error.hpp"
#include "pipeline/network/op_table.hpp"

namespace halotile {
namespace {

std::int64_t joined(std::int64_t a, std::int64_t b, const char* what) {
  if (a == b || b == 1) return a;
  if (a == 1) return b;
  throw ShapeError(
      fmt::format("{} {} and {} do not fit: they must be the same, or one of them 1", what, a, b));
}

// PyTorch's broadcasting.
MapShape shape_of_binary(const Node&, Shapes in) {
  return {joined(in[0].channels, in[1].channels, "channels"),
          {joined(in[0].extent.height, in[1].extent.height, "heights"),
           joined(in[0].extent.width, in[1].extent.width, "widths")}};
}

AxisMap read_of(std::int64_t mine, std::int64_t other) {
  if (mine == 1 && other > 1) return AxisGlobal{other};
  return AxisWindow{};
}

PlaneMap reads_of_binary(const Node&, std::size_t input, Shapes in) {
  const Extent2 mine = in[input].extent;
  const Extent2 other = in[1 - input].extent;
  return {read_of(mine.height, other.height), read_of(mine.width, other.width)};
}

double flops_of_binary(const Node&, Shapes, const MapShape& out) {
  return static_cast<double>(out.elements());
}

OpRow binary_row(const char* type, void (*read)(YamlMap&, Node&, Shapes)) {
  OpRow row{type};
  row.inputs = row.most = 2;
  row.read = read;
  row.shape = shape_of_binary;
  row.reads = reads_of_binary;
  row.flops = flops_of_binary;
  return row;
}

MapShape shape_of_concat(const Node&, Shapes in) {
  MapShape shape = in.front();
  for (std::size_t i = 1; i < in.size(); ++i) {
    if (in[i].extent != shape.extent) {
      throw ShapeError(fmt::format("it concatenates maps of {} and {}; they must have the same extent",
                                   to_string(shape.extent), to_string(in[i].extent)));
    }
    shape.channels += in[i].channels;
  }
  return shape;
}

OpRow concat_row() {
  OpRow row{"concat"};
  row.inputs = 2;
  row.most = 1 << 20;
  row.needs_map = true;
  row.read = [](YamlMap&, Node& node, Shapes) { node.op = Concat{}; };
  row.shape = shape_of_concat;
  return row;
}

}  // namespace

std::vector<OpRow> join_rows() {
  return {
      binary_row("add", [](YamlMap&, Node& node, Shapes) { node.op = Binary{BinaryKind::add}; }),
      binary_row("subtract", [](YamlMap&, Node& node, Shapes) { node.op = Binary{BinaryKind::subtract}; }),
      binary_row("multiply", [](YamlMap&, Node& node, Shapes) { node.op = Binary{BinaryKind::multiply}; }),
      concat_row()};
}

}  // namespace halotile
