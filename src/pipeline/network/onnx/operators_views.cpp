// Other names for the same values: the elements of an image keep their order, only axes come and go.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "pipeline/network/onnx/operators.hpp"

namespace halotile {
namespace {

// (batch, features), axes of one element more or less, or several as one.
OnnxFlow view(const OnnxStep& step) {
  const OnnxShape out = without_batch(step.shape);
  if (!grouped_axes(step.layers.own_shape(step.x().value), out)) {
    throw NodeProblem(fmt::format("reshapes {} to ({}); only (batch, features) can be, or axes as one",
                                  step.shown(), fmt::join(out, ", ")));
  }
  return step.same();
}

OnnxFlow read_view(OnnxStep& step) { return view(step); }

OnnxFlow read_flatten(OnnxStep& step) {
  const std::int64_t axis = step.rules.integer("axis", 1);
  const auto rank = static_cast<std::int64_t>(step.x().shape.size());
  if (axis != 1 && axis != 1 - rank)
    throw NodeProblem(fmt::format("flattens from axis {}; only 1 (all of an image) can be", axis));
  return view(step);
}

OnnxFlow read_transpose(OnnxStep& step) {
  const OnnxShape& shape = step.x().shape;
  OnnxShape order;
  for (std::size_t i = shape.size(); i-- > 0;) order.push_back(static_cast<std::int64_t>(i));
  order = step.rules.integers("perm").value_or(order);
  OnnxShape moved;
  for (const std::int64_t axis : order) {
    if (axis > 0 && shape.at(static_cast<std::size_t>(axis)) != 1) moved.push_back(axis);
  }
  if (order.at(0) != 0 || !std::ranges::is_sorted(moved)) {
    throw NodeProblem(
        fmt::format("moves the axes of {} to [{}], which there is no layer for: maps stay (channels, height, "
                    "width)",
                    step.shown(), fmt::join(order, ", ")));
  }
  return view(step);
}

// x[:, :, 0, 0] of a map of one pixel.
OnnxFlow read_gather(OnnxStep& step) {
  const OnnxShape& shape = step.x().shape;
  const OnnxConstant index = step.rules.needed(1, "index");
  const std::size_t axis = axis_of(step.rules.integer("axis", 0), shape.size());
  const bool only = index->size() == 1 && (index->integer(0) == 0 || index->integer(0) == -1);
  if (axis == 0 || shape[axis] != 1 || !only) {
    throw NodeProblem(fmt::format(
        "picks from the axis {} of {}; only the one pixel of a 1x1 map can be picked", axis, step.shown()));
  }
  return view(step);
}

OnnxFlow read_slice(OnnxStep& step) {
  const std::vector<SliceRange> ranges = slice_ranges(step.rules, step.x().shape);
  const bool turned =
      std::ranges::any_of(ranges, [](const SliceRange& r) { return r.step != 1 && r.count > 1; });
  if (step.shape != step.x().shape || turned)
    throw NodeProblem(
        fmt::format("cuts {} out of {}, which no layer does", shown_shape(step.shape), step.shown()));
  return step.same();
}

OnnxFlow read_cast(OnnxStep& step) {
  const int type = static_cast<int>(step.rules.integer("to", 0));
  if (!is_floating(type))
    throw NodeProblem(fmt::format("makes {} of the values, which no layer does", onnx_type_name(type)));
  return step.same();
}

}  // namespace

void add_view_operators(OnnxOperators& table) {
  for (const char* const name : {"Reshape", "Squeeze", "Unsqueeze"})
    table[name] = {.read = read_view, .takes_affine = true, .any_type = true};
  table["Flatten"] = {.read = read_flatten, .takes_affine = true, .any_type = true};
  table["Transpose"] = {.read = read_transpose, .takes_affine = true, .any_type = true};
  table["Gather"] = {.read = read_gather, .takes_affine = true, .any_type = true};
  table["Slice"] = {.read = read_slice, .takes_affine = true, .any_type = true};
  table["Cast"] = {.read = read_cast, .takes_padding = true, .takes_affine = true, .any_type = true};
  for (const char* const name : {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv",
                                 "QLinearMatMul", "ConvInteger", "MatMulInteger"})
    table[name] = {.refusal = "is of a quantized network (QDQ), which is not supported yet"};
}

}  // namespace halotile
