// Convolutions.
#include <fmt/format.h>

#include "patching/error.hpp"
#include "pipeline/network/ops/windows.hpp"

namespace halotile {
namespace {

void read_conv(YamlMap& map, Node& node, Shapes in) {
  static constexpr Extent2 one{1, 1};
  Conv2d conv;
  if (const auto channels = map.require("out_channels", "out_channels: 96"))
    conv.out_channels = channels->integer(1, largest_size).value_or(1);
  conv.groups = map.integer("groups", 1, 1, largest_size);
  node.has_bias = map.boolean("bias", true);
  conv.window = read_window(map, {&one, true, false});
  const std::int64_t channels = in.front().channels;
  if (channels % conv.groups != 0 || conv.out_channels % conv.groups != 0) {
    map.error(fmt::format("has groups {}, which does not divide its {} input and {} output channels",
                          conv.groups, channels, conv.out_channels));
    conv.groups = 1;
  }
  node.op = conv;
}

void complete_conv(Node& node, Shapes in) { std::get<Conv2d>(node.op).in_channels = in.front().channels; }

std::int64_t reduction_of(const Conv2d& conv) {
  return checked_multiply(conv.window.kernel.area(), conv.in_channels / conv.groups, "the filter's size");
}

MapShape shape_of_conv(const Node& node, Shapes in) {
  const auto& conv = std::get<Conv2d>(node.op);
  const MapShape out{conv.out_channels, output_extent(conv.window, in.front().extent)};
  const std::int64_t weights =
      checked_multiply(reduction_of(conv), conv.out_channels, "the number of weights");
  (void)checked_multiply(weights, 4, "the bytes of the weights");
  return out;
}

PlaneMap reads_of_conv(const Node& node, std::size_t, Shapes) {
  return plane_map(std::get<Conv2d>(node.op).window);
}

double flops_of_conv(const Node& node, Shapes, const MapShape& out) {
  return 2.0 * static_cast<double>(reduction_of(std::get<Conv2d>(node.op))) *
         static_cast<double>(out.elements());
}

std::vector<ParameterSlot> parameters_of_conv(Node& node) {
  auto& conv = std::get<Conv2d>(node.op);
  const Extent2 kernel = conv.window.kernel;
  const std::int64_t channels = conv.in_channels / conv.groups;
  const std::int64_t fan_in = channels * kernel.area();
  std::vector<ParameterSlot> slots{
      {"weight", {conv.out_channels, channels, kernel.height, kernel.width}, &conv.weight, fan_in}};
  if (node.has_bias) slots.push_back({"bias", {conv.out_channels}, &conv.bias, fan_in});
  return slots;
}

}  // namespace

std::vector<OpRow> convolution_rows() {
  OpRow conv{"conv"};
  conv.needs_map = true;
  conv.slides = true;
  conv.read = read_conv;
  conv.complete = complete_conv;
  conv.shape = shape_of_conv;
  conv.reads = reads_of_conv;
  conv.flops = flops_of_conv;
  conv.parameters = parameters_of_conv;
  return {conv};
}

}  // namespace halotile
