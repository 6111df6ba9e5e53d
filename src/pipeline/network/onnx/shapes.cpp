#include "pipeline/network/onnx/shapes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace halotile {
namespace {

using OnnxShapes = std::vector<OnnxShape>;
using Rule = OnnxShape (*)(const NodeRules&, const OnnxShapes&);

OnnxShape same(const NodeRules&, const OnnxShapes& in) { return in.at(0); }

OnnxShape broadcast(const NodeRules& rules, const OnnxShapes& in) {
  if (rules.opset < 7 && rules.integer("broadcast", 0) != 0) return in.at(0);
  return broadcast_shape(in);
}

OnnxShape behind_channels(const OnnxShape& shape) {
  if (shape.size() < 3) throw NodeProblem(fmt::format("needs a map, not {}", shown_shape(shape)));
  return {shape.begin() + 2, shape.end()};
}

OnnxShape with_sizes(std::int64_t batch, std::int64_t channels, const OnnxShape& sizes) {
  OnnxShape out{batch, channels};
  out.insert(out.end(), sizes.begin(), sizes.end());
  return out;
}

OnnxShape conv(const NodeRules& rules, const OnnxShapes& in) {
  const OnnxShape& x = in.at(0);
  const OnnxShape& weight = in.at(1);
  if (x.size() != weight.size() || x.size() < 3)
    throw NodeProblem(fmt::format("has a weight of shape {} on {}", shown_shape(weight), shown_shape(x)));
  const OnnxShape own = behind_channels(weight);
  const OnnxShape kernel = rules.integers("kernel_shape").value_or(own);
  if (kernel != own) {
    throw NodeProblem(fmt::format("has kernel_shape {} and a weight of shape {}", shown_shape(kernel),
                                  shown_shape(weight)));
  }
  const std::int64_t groups = rules.integer("group", 1);
  if (groups < 1 || x[1] % groups != 0 || x[1] / groups != weight[1] || weight[0] % groups != 0 ||
      weight[0] < 1) {
    throw NodeProblem(fmt::format("has {} groups and a weight of shape {} on a map of {} channels", groups,
                                  shown_shape(weight), x[1]));
  }
  return with_sizes(x[0], weight[0], OnnxWindows(rules, behind_channels(x), kernel).outputs());
}

OnnxShape pool(const NodeRules& rules, const OnnxShapes& in) {
  const auto kernel = rules.integers("kernel_shape");
  if (!kernel) throw NodeProblem("lacks its kernel_shape");
  const OnnxShape& x = in.at(0);
  return with_sizes(x.at(0), x.at(1), OnnxWindows(rules, behind_channels(x), *kernel).outputs());
}

OnnxShape global_pool(const NodeRules&, const OnnxShapes& in) {
  const OnnxShape sizes = behind_channels(in.at(0));
  return with_sizes(in[0][0], in[0][1], OnnxShape(sizes.size(), 1));
}

OnnxShape reduce(const NodeRules& rules, const OnnxShapes& in) {
  const std::set<std::size_t> axes = reduced_axes(rules, in.at(0).size());
  const bool keep = rules.integer("keepdims", 1) != 0;
  OnnxShape out;
  for (std::size_t i = 0; i < in[0].size(); ++i) {
    if (!axes.contains(i)) {
      out.push_back(in[0][i]);
    } else if (keep) {
      out.push_back(1);
    }
  }
  return out;
}

OnnxShape flatten(const NodeRules& rules, const OnnxShapes& in) {
  const std::int64_t axis = rules.integer("axis", 1);
  const std::size_t rank = in.at(0).size();
  const std::size_t cut = axis == static_cast<std::int64_t>(rank) ? rank : axis_of(axis, rank);
  const auto middle = in[0].begin() + static_cast<std::ptrdiff_t>(cut);
  return {product({in[0].begin(), middle}), product({middle, in[0].end()})};
}

// 0 copies a size (unless allowzero), -1 takes what is left.
OnnxShape reshape(const NodeRules& rules, const OnnxShapes& in) {
  const auto target = rules.integers("shape", 1);
  if (!target) throw NodeProblem("lacks its shape");
  const bool copies = rules.integer("allowzero", 0) == 0;
  OnnxShape out = *target;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && copies && i < in.at(0).size()) out[i] = in[0][i];
  }
  const std::int64_t total = product(in.at(0));
  if (std::ranges::count(out, -1) == 1) {
    OnnxShape others = out;
    std::erase(others, -1);
    const std::int64_t rest = product(others);
    *std::ranges::find(out, -1) = rest == 0 ? 0 : total / rest;
  }
  if (std::ranges::any_of(out, [](std::int64_t d) { return d < 0; }) || product(out) != total) {
    throw NodeProblem(fmt::format("reshapes {} to {}, which have not the same number of elements",
                                  shown_shape(in[0]), shown_shape(*target)));
  }
  return out;
}

OnnxShape squeeze(const NodeRules& rules, const OnnxShapes& in) {
  const OnnxShape& x = in.at(0);
  const auto axes = rules.integers("axes", 1);
  const std::set<std::size_t> chosen = axes ? axes_of(*axes, x.size()) : std::set<std::size_t>{};
  OnnxShape out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool gone = axes ? chosen.contains(i) : x[i] == 1;
    if (gone && x[i] != 1)
      throw NodeProblem(fmt::format("squeezes the axis {} of {}, which is not 1", i, shown_shape(x)));
    if (!gone) out.push_back(x[i]);
  }
  return out;
}

OnnxShape unsqueeze(const NodeRules& rules, const OnnxShapes& in) {
  const auto axes = rules.integers("axes", 1);
  if (!axes) throw NodeProblem("lacks its axes");
  const std::size_t rank = in.at(0).size() + axes->size();
  const std::set<std::size_t> chosen = axes_of(*axes, rank);
  if (chosen.size() != axes->size()) throw NodeProblem("names an axis twice");
  OnnxShape out;
  for (std::size_t i = 0, next = 0; i < rank; ++i) out.push_back(chosen.contains(i) ? 1 : in[0].at(next++));
  return out;
}

OnnxShape transpose(const NodeRules& rules, const OnnxShapes& in) {
  OnnxShape reversed;
  for (std::size_t i = in.at(0).size(); i-- > 0;) reversed.push_back(static_cast<std::int64_t>(i));
  const OnnxShape order = rules.integers("perm").value_or(reversed);
  OnnxShape sorted = order;
  std::ranges::sort(sorted);
  if (!std::ranges::equal(sorted,
                          reversed.empty() ? reversed : OnnxShape(reversed.rbegin(), reversed.rend()))) {
    throw NodeProblem(fmt::format("has the order [{}] for {} axes", fmt::join(order, ", "), in[0].size()));
  }
  OnnxShape out;
  for (const std::int64_t axis : order) out.push_back(in[0][static_cast<std::size_t>(axis)]);
  return out;
}

OnnxShape pad(const NodeRules& rules, const OnnxShapes& in) {
  OnnxShape out = in.at(0);
  const std::vector<AxisPadding> pads = pads_by_axis(rules, out.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] += pads[i].begin + pads[i].end;
    if (out[i] < 1) throw NodeProblem(fmt::format("cuts all of the axis {} of {}", i, shown_shape(in[0])));
  }
  return out;
}

OnnxShape gather(const NodeRules& rules, const OnnxShapes& in) {
  const OnnxShape& x = in.at(0);
  const std::size_t axis = axis_of(rules.integer("axis", 0), x.size());
  OnnxShape out(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(axis));
  out.insert(out.end(), in.at(1).begin(), in.at(1).end());
  out.insert(out.end(), x.begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.end());
  return out;
}

OnnxShape slice(const NodeRules& rules, const OnnxShapes& in) {
  OnnxShape out;
  for (const SliceRange& range : slice_ranges(rules, in.at(0))) out.push_back(range.count);
  return out;
}

OnnxShape concat(const NodeRules& rules, const OnnxShapes& in) {
  OnnxShape out = in.at(0);
  const std::size_t axis = axis_of(rules.integer("axis", 1), out.size());
  for (std::size_t k = 1; k < in.size(); ++k) {
    bool fits = in[k].size() == out.size();
    for (std::size_t i = 0; i < out.size() && fits; ++i) fits = i == axis || in[k][i] == out[i];
    if (!fits) {
      throw NodeProblem(
          fmt::format("joins {} and {}, which do not fit together", shown_shape(in[0]), shown_shape(in[k])));
    }
    out[axis] += in[k][axis];
  }
  return out;
}

OnnxShape gemm(const NodeRules& rules, const OnnxShapes& in) {
  if (rules.integer("transA", 0) != 0) throw NodeProblem("has transA, which would mix the images of a batch");
  const OnnxShape& a = in.at(0);
  OnnxShape b = in.at(1);
  if (rules.integer("transB", 0) != 0) std::ranges::reverse(b);
  if (a.size() != 2 || b.size() != 2 || a[1] != b[0])
    throw NodeProblem(fmt::format("multiplies {} by {}", shown_shape(a), shown_shape(b)));
  return {a[0], b[1]};
}

OnnxShape matmul(const NodeRules&, const OnnxShapes& in) {
  const OnnxShape& a = in.at(0);
  const OnnxShape& b = in.at(1);
  if (a.size() < 2 || b.size() != 2 || a.back() != b[0])
    throw NodeProblem(fmt::format("multiplies {} by {}", shown_shape(a), shown_shape(b)));
  OnnxShape out = a;
  out.back() = b[1];
  return out;
}

const std::map<std::string, Rule>& rules_by_operator() {
  static const std::map<std::string, Rule> table = [] {
    std::map<std::string, Rule> rules{{"AveragePool", pool},
                                      {"Concat", concat},
                                      {"Conv", conv},
                                      {"Flatten", flatten},
                                      {"Gather", gather},
                                      {"Gemm", gemm},
                                      {"GlobalAveragePool", global_pool},
                                      {"GlobalMaxPool", global_pool},
                                      {"MatMul", matmul},
                                      {"MaxPool", pool},
                                      {"Pad", pad},
                                      {"ReduceMax", reduce},
                                      {"ReduceMean", reduce},
                                      {"ReduceMin", reduce},
                                      {"ReduceProd", reduce},
                                      {"ReduceSum", reduce},
                                      {"Reshape", reshape},
                                      {"Slice", slice},
                                      {"Squeeze", squeeze},
                                      {"Transpose", transpose},
                                      {"Unsqueeze", unsqueeze}};
    for (const char* name : {"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"})
      rules.emplace(name, broadcast);
    for (const char* name : {"BatchNormalization",
                             "Cast",
                             "Clip",
                             "Dropout",
                             "Elu",
                             "Exp",
                             "Gelu",
                             "HardSigmoid",
                             "HardSwish",
                             "Identity",
                             "InstanceNormalization",
                             "LRN",
                             "LeakyRelu",
                             "LogSoftmax",
                             "Mish",
                             "Neg",
                             "PRelu",
                             "Relu",
                             "Sigmoid",
                             "Softmax",
                             "Softplus",
                             "Sqrt",
                             "Tanh"})
      rules.emplace(name, same);
    return rules;
  }();
  return table;
}

}  // namespace

OnnxShape broadcast_shape(const std::vector<OnnxShape>& shapes) {
  std::size_t rank = 0;
  for (const OnnxShape& shape : shapes) rank = std::max(rank, shape.size());
  OnnxShape out(rank, 1);
  for (const OnnxShape& shape : shapes) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      std::int64_t& size = out[rank - shape.size() + i];
      if (size != 1 && shape[i] != 1 && size != shape[i]) {
        std::vector<std::string> words;
        for (const OnnxShape& other : shapes) words.push_back(shown_shape(other));
        throw NodeProblem(fmt::format("joins {}, which do not fit together", fmt::join(words, " and ")));
      }
      if (size == 1) size = shape[i];
    }
  }
  return out;
}

std::optional<OnnxShape> output_shape(const NodeRules& rules, const std::vector<OnnxShape>& inputs) {
  const auto& table = rules_by_operator();
  const auto rule = table.find(rules.node().type);
  if (rule == table.end() || !rules.node().domain.empty() || inputs.empty()) return std::nullopt;
  try {
    return rule->second(rules, inputs);
  } catch (const std::out_of_range&) {  // fewer inputs or axes than the operator has
    throw NodeProblem("breaks ONNX's rules for its kind: it lacks inputs, or axes of them");
  }
}

}  // namespace halotile
