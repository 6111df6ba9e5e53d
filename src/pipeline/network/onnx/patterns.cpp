#include "pipeline/network/onnx/patterns.hpp"

#include <algorithm>

namespace halotile {
namespace {

const std::set<std::string> views{"Reshape", "Squeeze", "Unsqueeze"};

std::optional<double> scalar(const PlainGraph& graph, const std::string& name) {
  const auto found = graph.constants.find(name);
  if (found == graph.constants.end() || found->second->size() != 1) return std::nullopt;
  return found->second->number(0);
}

std::string behind_views(const PlainGraph& graph, std::string name) {
  for (const OnnxNode* node = graph.made_by(name, views); node != nullptr; node = graph.made_by(name, views))
    name = node->inputs.at(0);
  return name;
}

// Steps over a node that joins `value` with a number, and returns the number; where there is none, what
// changes nothing.
double step_over(const PlainGraph& graph, std::string& value, const char* type, double absent,
                 bool swapped = true) {
  const OnnxNode* const node = graph.made_by(value, {type});
  if (node == nullptr || node->inputs.size() != 2) return absent;
  for (const std::size_t place : {1U, 0U}) {
    if (place == 0 && !swapped) break;
    if (const auto number = scalar(graph, node->inputs[place])) {
      value = node->inputs[1 - place];
      return *number;
    }
  }
  return absent;
}

bool is_square(const PlainGraph& graph, const std::string& value, const std::string& x) {
  const OnnxNode* const node = graph.made_by(value, {"Mul", "Pow"});
  if (node == nullptr || node->inputs.size() != 2 || node->inputs[0] != x) return false;
  return node->type == "Mul" ? node->inputs[1] == x : scalar(graph, node->inputs[1]) == 2.0;
}

// Zeros that a Pad node adds before and behind the axis of channels (the third); nothing where it does more.
std::optional<AxisPadding> channel_padding(const PlainGraph& graph, const OnnxNode& pad, std::size_t rank) {
  const NodeRules rules = graph.rules(pad);
  std::vector<AxisPadding> amounts = pads_by_axis(rules, rank);
  const AxisPadding channels = amounts.at(2);
  amounts[2] = {};
  const bool others = std::ranges::any_of(amounts, [](const AxisPadding& p) { return p != AxisPadding{}; });
  if (others || rules.word("mode", "constant") != "constant" || rules.number_at("value", 2).value_or(0) != 0)
    return std::nullopt;
  return channels;
}

// The size of the window, where an AveragePool and the Pad before it take PyTorch's window of channels.
std::optional<std::int64_t> channel_window(const PlainGraph& graph, const OnnxNode& pool,
                                           const std::string& x) {
  const NodeRules rules = graph.rules(pool);
  const OnnxShape padded = graph.shapes.at(pool.inputs.at(0));
  const OnnxNode* const pad = graph.made_by(pool.inputs[0], {"Pad"});
  const std::string source = pad == nullptr ? pool.inputs[0] : pad->inputs.at(0);
  const OnnxShape& shape = graph.shapes.at(source);
  const OnnxShape& map = graph.shapes.at(x);
  if (shape.size() < 4 || shape[0] != map[0] || shape[1] != 1 || shape[2] != map[1] ||
      product(shape) != product(map))
    return std::nullopt;
  AxisPadding channels{};
  if (pad != nullptr) {
    const auto found = channel_padding(graph, *pad, shape.size());
    if (!found) return std::nullopt;
    channels = *found;
  }
  const OnnxWindows windows(rules, {padded.begin() + 2, padded.end()},
                            rules.integers("kernel_shape").value_or(OnnxShape{}));
  const auto ones = [](const OnnxShape& values, std::size_t from, std::int64_t one) {
    return std::ranges::all_of(values.begin() + static_cast<std::ptrdiff_t>(from), values.end(),
                               [one](std::int64_t v) { return v == one; });
  };
  const bool alone = ones(windows.kernel, 1, 1) && ones(windows.strides, 0, 1) &&
                     ones(windows.dilations, 0, 1) && ones(windows.before, 1, 0) &&
                     ones(windows.behind, 1, 0);
  const bool own = windows.before[0] != 0 || windows.behind[0] != 0;
  if (!alone || (own && rules.integer("count_include_pad", 0) == 0)) return std::nullopt;
  const std::int64_t size = windows.kernel[0];
  const bool centred =
      channels.begin + windows.before[0] == size / 2 && channels.end + windows.behind[0] == (size - 1) / 2;
  if (!centred || !is_square(graph, behind_views(graph, source), x)) return std::nullopt;
  return size;
}

OnnxAttribute number(double value) {
  OnnxAttribute attribute;
  attribute.number = value;
  return attribute;
}

std::optional<OnnxNode> local_response_norm(const PlainGraph& graph, const OnnxNode& div) {
  if (div.type != "Div" || !div.domain.empty() || div.inputs.size() != 2) return std::nullopt;
  const std::string& x = div.inputs[0];
  const auto shape = graph.shapes.find(x);
  if (shape == graph.shapes.end() || shape->second.size() != 4) return std::nullopt;
  std::string at = div.inputs[1];
  const double beta = step_over(graph, at, "Pow", 1, false);
  const double k = step_over(graph, at, "Add", 0);
  const double alpha = step_over(graph, at, "Mul", 1);
  const OnnxNode* const pool = graph.made_by(behind_views(graph, at), {"AveragePool"});
  const auto divisor = graph.shapes.find(at);
  if (pool == nullptr || divisor == graph.shapes.end() || divisor->second != shape->second)
    return std::nullopt;
  const auto size = channel_window(graph, *pool, x);
  if (!size) return std::nullopt;
  OnnxNode node{div.name, "LocalResponseNorm", joined_domain, {x}, div.outputs, {}};
  node.attributes["size"].integer = *size;
  node.attributes["alpha"] = number(alpha);
  node.attributes["beta"] = number(beta);
  node.attributes["k"] = number(k);
  return node;
}

std::optional<OnnxNode> channel_softmax(const PlainGraph& graph, const OnnxNode& back) {
  if (back.type != "Transpose" || !back.domain.empty() || back.inputs.empty()) return std::nullopt;
  const OnnxNode* const softmax = graph.made_by(back.inputs[0], {"Softmax"});
  const OnnxNode* const there =
      softmax == nullptr ? nullptr : graph.made_by(softmax->inputs.at(0), {"Transpose"});
  if (there == nullptr) return std::nullopt;
  const auto shape = graph.shapes.find(there->inputs.at(0));
  const auto order = graph.rules(*there).integers("perm");
  const auto inverse = graph.rules(back).integers("perm");
  if (shape == graph.shapes.end() || shape->second.size() != 4 || !order || !inverse) return std::nullopt;
  if (order->size() != 4 || inverse->size() != 4 || (*order)[3] != 1) return std::nullopt;
  for (std::size_t i = 0; i < 4; ++i) {
    if ((*order)[axis_of((*inverse)[i], 4)] != static_cast<std::int64_t>(i)) return std::nullopt;
  }
  const std::int64_t axis = graph.rules(*softmax).integer("axis", graph.opset() < 13 ? 1 : -1);
  if (axis != 3 && axis != -1) return std::nullopt;
  return OnnxNode{softmax->name, "ChannelSoftmax", joined_domain, {there->inputs[0]}, back.outputs, {}};
}

}  // namespace

void join_patterns(PlainGraph& graph) {
  for (OnnxNode& node : graph.nodes) {
    try {
      std::optional<OnnxNode> joined = local_response_norm(graph, node);
      if (!joined) joined = channel_softmax(graph, node);
      if (joined) node = std::move(*joined);
    } catch (const NodeProblem&) {  // a node of it breaks its rules: told where it is read by itself
    } catch (const std::out_of_range&) {
    }
  }
}

}  // namespace halotile
