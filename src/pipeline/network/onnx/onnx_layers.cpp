#include "pipeline/network/onnx/onnx_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/op_table.hpp"

namespace halotile {
namespace {

// A diagonal matrix for more features than this would take over a gigabyte.
constexpr std::int64_t most_diagonal = 16384;

// A number for each of `elements` elements, from one for each channel or each element.
std::vector<double> spread(const std::vector<double>& values, std::size_t elements) {
  std::vector<double> out;
  out.reserve(elements);
  const std::size_t each = elements / values.size();
  for (const double value : values) out.insert(out.end(), each, value);
  return out;
}

OnnxAffine composed(OnnxAffine first, OnnxAffine second) {
  const std::size_t size = std::max(first.scale.size(), second.scale.size());
  for (std::vector<double>* values : {&first.scale, &first.shift, &second.scale, &second.shift}) {
    if (values->size() != size) *values = spread(*values, size);
  }
  for (std::size_t i = 0; i < size; ++i) {
    second.shift[i] += first.shift[i] * second.scale[i];
    second.scale[i] *= first.scale[i];
  }
  return second;
}

// Letters that config keys and file names can have.
std::string plain_name(const std::string& wish) {
  std::string name;
  for (const char c : wish) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    if (plain) {
      name += c;
    } else if (name.empty() || name.back() != '_') {
      name += '_';
    }
  }
  const auto edge = [](char c) { return c == '_' || c == '.' || c == '-'; };
  while (!name.empty() && edge(name.back())) name.pop_back();
  name.erase(name.begin(), std::ranges::find_if_not(name, edge));
  return name;
}

}  // namespace

std::vector<double> by_channel(std::vector<double> values, const OnnxShape& own) {
  const auto channels = static_cast<std::size_t>(own.front());
  if (values.size() == channels) return values;
  const std::size_t area = values.size() / channels;
  std::vector<double> out;
  for (std::size_t c = 0; c < channels; ++c) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(c * area);
    if (std::any_of(begin, begin + static_cast<std::ptrdiff_t>(area), [&](double v) { return v != *begin; }))
      return values;
    out.push_back(*begin);
  }
  return out;
}

OnnxShape OnnxLayers::own_shape(std::size_t value) const {
  const MapShape& shape = network.values[value].shape;
  if (!spatial(value)) return {shape.channels};
  return {shape.channels, shape.extent.height, shape.extent.width};
}

std::string OnnxLayers::unique(const std::string& wish, const std::string& type) {
  std::string name = plain_name(wish);
  if (!name.empty() && names_.insert(name).second) return name;
  const std::string stem = name.empty() ? type : name + "_";
  do {
    name = fmt::format("{}{}", stem, ++counts_[stem]);
  } while (!names_.insert(name).second);
  return name;
}

std::size_t OnnxLayers::add(const std::string& type, const std::string& name, NodeOp op,
                            std::vector<std::size_t> inputs) {
  return network.add(type, unique(name, type), std::move(op), std::move(inputs));
}

std::size_t OnnxLayers::flatten(std::size_t value) {
  return spatial(value) ? add("flatten", "", Flatten{}, {value}) : value;
}

std::size_t OnnxLayers::weighted(const std::string& type, const std::string& name, NodeOp op,
                                 std::size_t input, Filters filters) {
  Node node;
  node.name = unique(name, type);
  node.row = &op_row(type);
  node.op = std::move(op);
  node.inputs = {input};
  node.has_bias = !filters.bias.empty();
  filters_[node.name] = std::move(filters);
  return network.add(std::move(node));
}

std::size_t OnnxLayers::conv(const std::string& name, Conv2d conv, std::size_t input,
                             const OnnxTensor& weight, std::vector<double> bias) {
  Filters filters;
  filters.shape = weight.shape;
  filters.weight.reserve(weight.size());
  for (std::size_t i = 0; i < weight.size(); ++i)
    filters.weight.push_back(static_cast<float>(weight.number(i)));
  filters.scale.assign(static_cast<std::size_t>(conv.out_channels), 1);
  filters.bias = std::move(bias);
  return weighted("conv", name, std::move(conv), input, std::move(filters));
}

std::size_t OnnxLayers::fully_connected(const std::string& name, const OnnxFlow& flow,
                                        std::vector<float> weight, std::int64_t outputs,
                                        std::vector<double> bias, double factor) {
  const auto rows = static_cast<std::size_t>(outputs);
  const std::size_t columns = weight.size() / rows;
  if (flow.affine) {
    const std::vector<double> scale = spread(flow.affine->scale, columns);
    const std::vector<double> shift = spread(flow.affine->shift, columns);
    bias.resize(rows, 0);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < columns; ++column) {
        float& value = weight[row * columns + column];
        bias[row] += static_cast<double>(value) * shift[column] * factor;
        value = static_cast<float>(static_cast<double>(value) * scale[column]);
      }
    }
  }
  FullyConnected op;
  op.out_features = outputs;
  Filters filters{std::move(weight), {outputs, static_cast<std::int64_t>(columns)}, {}, std::move(bias)};
  filters.scale.assign(rows, factor);
  return weighted("fully_connected", name, op, flatten(flow.value), std::move(filters));
}

// -- arithmetic -------------------------------------------------------------------------------------------

bool OnnxLayers::fold(const OnnxFlow& flow, const OnnxAffine& affine) {
  if (!flow.sole || flow.value == 0) return false;
  Node& node = network.nodes[flow.value - 1];
  const auto found = filters_.find(node.name);
  if (found == filters_.end() || found->second.scale.size() != affine.scale.size()) return false;
  Filters& filters = found->second;
  const bool shifts = std::ranges::any_of(affine.shift, [](double v) { return v != 0; });
  if (shifts) filters.bias.resize(affine.shift.size(), 0);
  for (std::size_t o = 0; o < affine.scale.size(); ++o) {
    filters.scale[o] *= affine.scale[o];
    if (!filters.bias.empty()) filters.bias[o] = filters.bias[o] * affine.scale[o] + affine.shift[o];
  }
  node.has_bias = !filters.bias.empty();
  return true;
}

void OnnxLayers::apply(OnnxFlow& flow, OnnxAffine affine) {
  if (!flow.affine && fold(flow, affine)) return;
  if (flow.affine) affine = composed(std::move(*flow.affine), std::move(affine));
  flow.affine = std::move(affine);
}

void OnnxLayers::settle(OnnxFlow& flow) {
  if (!flow.affine) return;
  const OnnxAffine affine = *flow.affine;
  flow.affine.reset();
  const OnnxShape own = own_shape(flow.value);
  const auto elements = static_cast<std::size_t>(product(own));
  const auto channels = static_cast<std::size_t>(own.front());
  if (spatial(flow.value) && affine.scale.size() == channels) {
    Conv2d op;
    op.out_channels = op.groups = own.front();
    OnnxTensor weight;
    weight.type = onnx_type::f64;
    weight.shape = {own.front(), 1, 1, 1};
    weight.doubles = affine.scale;
    flow.value = conv(affine.name, op, flow.value, weight, affine.shift);
    return;
  }
  if (flow.shape.size() != 2) {
    throw NodeProblem(
        fmt::format("follows {}, which scales or shifts places of a map differently: only a fully connected "
                    "layer right behind it could take that in",
                    affine.place));
  }
  if (static_cast<std::int64_t>(elements) > most_diagonal) {
    throw NodeProblem(
        fmt::format("follows {}, which scales or shifts {} features with no fully connected layer behind it; "
                    "a matrix for that is made for at most {}",
                    affine.place, elements, most_diagonal));
  }
  std::vector<float> diagonal(elements * elements, 0.0F);
  const std::vector<double> scale = spread(affine.scale, elements);
  for (std::size_t i = 0; i < elements; ++i) diagonal[i * elements + i] = static_cast<float>(scale[i]);
  flow.value = fully_connected(affine.name, flow, std::move(diagonal), static_cast<std::int64_t>(elements),
                               spread(affine.shift, elements));
}

std::map<std::string, NpyArray> OnnxLayers::take_weights() {
  std::map<std::string, NpyArray> tensors;
  for (auto& [name, filters] : filters_) {
    const std::size_t each = filters.weight.size() / filters.scale.size();
    bool finite = true;
    for (std::size_t i = 0; i < filters.weight.size(); ++i) {
      float& value = filters.weight[i];
      if (filters.scale[i / each] != 1)
        value = static_cast<float>(static_cast<double>(value) * filters.scale[i / each]);
      finite = finite && std::isfinite(value);
    }
    std::vector<float> bias(filters.bias.begin(), filters.bias.end());
    finite = finite && std::ranges::all_of(bias, [](float v) { return std::isfinite(v); });
    if (!finite) {
      throw ConfigError(
          fmt::format("the weights of layer {} hold infinite numbers or NaN, as they are or after folding",
                      shown_name(name)));
    }
    if (!bias.empty()) tensors[name + ".bias"] = {{filters.shape.front()}, std::move(bias)};
    tensors[name + ".weight"] = {filters.shape, std::move(filters.weight)};
  }
  filters_.clear();
  return tensors;
}

}  // namespace halotile
