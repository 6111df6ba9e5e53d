// Arithmetic with constants, which layers before or behind take in.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/printable.hpp"
#include "pipeline/network/onnx/operators.hpp"

namespace halotile {
namespace {

// A constant that broadcasts over the input, as a number for each channel (or feature) of the layers' own
// shape, or for each element where positions differ.
std::vector<double> aligned(const OnnxStep& step, const OnnxTensor& tensor, OnnxShape dims) {
  const OnnxShape& shape = step.x().shape;
  while (dims.size() > shape.size() && dims.front() == 1) dims.erase(dims.begin());
  if (dims.size() < shape.size()) dims.insert(dims.begin(), shape.size() - dims.size(), 1);
  if (dims.front() != 1)
    throw NodeProblem(fmt::format("has a constant of shape {}, which differs from image to image",
                                  shown_shape(tensor.shape)));
  for (std::size_t i = 1; i < dims.size(); ++i) {
    if (dims.size() != shape.size() || (dims[i] != 1 && dims[i] != shape[i]))
      throw NodeProblem(fmt::format("has a constant of shape {}, which does not fit {}",
                                    shown_shape(tensor.shape), step.shown()));
  }
  const OnnxShape own = step.layers.own_shape(step.x().value);
  const auto groups = grouped_axes(own, without_batch(shape)).value();
  OnnxShape varies(3, 1);  // sizes of the constant along the layers' axes
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const std::size_t axis : groups[i]) varies[axis] = dims[i + 1] == 1 ? 1 : own[axis];
  }
  const bool places = varies[1] != 1 || varies[2] != 1;
  const OnnxShape all{own[0], places ? own[1] : 1, places ? own[2] : 1};
  std::vector<double> values;
  for (std::int64_t c = 0; c < all[0]; ++c) {
    for (std::int64_t h = 0; h < all[1]; ++h) {
      for (std::int64_t w = 0; w < all[2]; ++w) {
        const std::int64_t row = (varies[0] == 1 ? 0 : c) * varies[1] + (varies[1] == 1 ? 0 : h);
        values.push_back(tensor.number(static_cast<std::size_t>(row * varies[2] + (varies[2] == 1 ? 0 : w))));
      }
    }
  }
  return by_channel(std::move(values), own);
}

// Both sides with a number for each channel, or both with one for each element.
OnnxFlow affine(const OnnxStep& step, std::vector<double> scale, std::vector<double> shift) {
  OnnxFlow flow = step.same();
  const auto widen = [](std::vector<double>& values, std::size_t size) {
    const std::size_t each = size / values.size();
    std::vector<double> wide;
    for (const double value : values) wide.insert(wide.end(), each, value);
    values = std::move(wide);
  };
  const std::size_t size = std::max(scale.size(), shift.size());
  widen(scale, size);
  widen(shift, size);
  const std::string name = step.node.name.empty() ? step.node.outputs.front() : step.node.name;
  step.layers.apply(flow, {std::move(scale), std::move(shift), label_of(step.node), name});
  return flow;
}

std::vector<double> each(const OnnxStep& step, double value) {
  return std::vector<double>(static_cast<std::size_t>(step.layers.own_shape(step.x().value).front()), value);
}

struct Operand {
  std::vector<double> values;
  bool first = false;  ///< stands before the input
};

// The constant of a node with two inputs.
Operand operand(const OnnxStep& step, const char* what) {
  if (step.in.size() > 1) {
    throw NodeProblem(fmt::format("joins {} and {}, and halotile has no layer for that yet",
                                  shown_name(step.node.inputs.at(0)), shown_name(step.node.inputs.at(1))));
  }
  if (step.shape != step.x().shape) {
    throw NodeProblem(fmt::format("makes {} of {}; only constants that fit can be taken in",
                                  shown_shape(step.shape), step.shown()));
  }
  bool first = false;
  OnnxConstant constant;
  try {
    constant = step.rules.needed(1, what);
  } catch (const NodeProblem&) {  // then it is the other one
    first = true;
    constant = step.rules.needed(0, what);
  }
  OnnxShape dims = constant->shape;
  // Before operator set 7 an axis may say where the constant's first one lies.
  if (step.rules.opset < 7 && step.rules.integer("broadcast", 0) != 0 && step.rules.has("axis")) {
    const std::size_t rank = step.x().shape.size();
    const std::size_t axis = axis_of(step.rules.integer("axis", 0), rank);
    while (dims.size() + axis < rank) dims.push_back(1);
  }
  return {aligned(step, *constant, std::move(dims)), first};
}

OnnxFlow read_batch_normalization(OnnxStep& step) {
  if (step.rules.integer("training_mode", 0) != 0 || step.rules.integer("is_test", 1) == 0)
    throw NodeProblem("is in training mode; export the network for inference");
  const double epsilon = step.rules.number("epsilon", 1e-5);
  std::vector<std::vector<double>> statistics;
  for (std::size_t place = 1; place < 5; ++place) {
    const OnnxConstant tensor = step.rules.needed(place, "statistics");
    // Up to operator set 8, spatial: 0 keeps statistics for every element of an image.
    OnnxShape dims = tensor->shape;
    if (step.rules.integer("spatial", 1) != 0) {
      if (dims.size() != 1 || dims[0] != step.x().shape.at(1))
        throw NodeProblem(fmt::format("has statistics of shape {} on {}", shown_shape(dims), step.shown()));
      while (dims.size() + 1 < step.x().shape.size()) dims.push_back(1);
    }
    statistics.push_back(aligned(step, *tensor, std::move(dims)));
  }
  std::size_t size = 0;
  for (const std::vector<double>& values : statistics) size = std::max(size, values.size());
  const auto at = [&](std::size_t which, std::size_t i) {
    return statistics[which][i / (size / statistics[which].size())];
  };
  std::vector<double> scale(size);
  std::vector<double> shift(size);
  for (std::size_t i = 0; i < size; ++i) {
    scale[i] = at(0, i) / std::sqrt(at(3, i) + epsilon);
    shift[i] = at(1, i) - at(2, i) * scale[i];
  }
  return affine(step, std::move(scale), std::move(shift));
}

OnnxFlow read_add(OnnxStep& step) { return affine(step, each(step, 1), operand(step, "summand").values); }

OnnxFlow read_sum(OnnxStep& step) {
  if (step.node.inputs.size() == 1) return step.same();
  if (step.node.inputs.size() > 2)
    throw NodeProblem(fmt::format("adds {} values; two can be", step.node.inputs.size()));
  return read_add(step);
}

OnnxFlow read_subtract(OnnxStep& step) {
  Operand value = operand(step, "subtrahend");
  if (!value.first) {
    for (double& v : value.values) v = -v;
  }
  return affine(step, each(step, value.first ? -1 : 1), std::move(value.values));
}

OnnxFlow read_negate(OnnxStep& step) { return affine(step, each(step, -1), each(step, 0)); }

OnnxFlow read_multiply(OnnxStep& step) { return affine(step, operand(step, "factor").values, each(step, 0)); }

OnnxFlow read_divide(OnnxStep& step) {
  Operand value = operand(step, "divisor");
  if (value.first || std::ranges::find(value.values, 0.0) != value.values.end())
    throw NodeProblem("divides by the map, or by zero");
  for (double& v : value.values) v = 1 / v;
  return affine(step, std::move(value.values), each(step, 0));
}

// With 0: a Relu.
OnnxFlow read_maximum(OnnxStep& step) {
  if (step.node.inputs.size() == 1) return step.same();
  if (step.node.inputs.size() > 2)
    throw NodeProblem(
        fmt::format("takes the maximum of {} values; that with 0, a Relu, can be", step.node.inputs.size()));
  const Operand bound = operand(step, "bound");
  if (std::ranges::any_of(bound.values, [](double v) { return v != 0; }))
    throw NodeProblem("takes the maximum with something else than 0, which would be a Relu");
  return step.layer("relu", Relu{});
}

}  // namespace

void add_arithmetic_operators(OnnxOperators& table) {
  table["BatchNormalization"] = {.read = read_batch_normalization, .takes_affine = true};
  table["Add"] = {.read = read_add, .takes_affine = true, .joins = true};
  table["Sum"] = {.read = read_sum, .takes_affine = true, .joins = true};
  table["Sub"] = {.read = read_subtract, .takes_affine = true, .joins = true};
  table["Neg"] = {.read = read_negate, .takes_affine = true};
  table["Mul"] = {.read = read_multiply, .takes_affine = true, .joins = true};
  table["Div"] = {.read = read_divide, .takes_affine = true, .joins = true};
  table["Max"] = {.read = read_maximum, .joins = true};
}

}  // namespace halotile
