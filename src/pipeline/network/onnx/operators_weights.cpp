// Operators with weights.
#include <fmt/format.h>

#include <algorithm>

#include "pipeline/network/onnx/operators.hpp"

namespace halotile {
namespace {

std::vector<double> numbers_of(const OnnxConstant& tensor) {
  std::vector<double> values;
  for (std::size_t i = 0; tensor != nullptr && i < tensor->size(); ++i) values.push_back(tensor->number(i));
  return values;
}

std::vector<double> bias_of(const OnnxStep& step, std::int64_t outputs) {
  std::vector<double> bias = numbers_of(step.rules.constant(2, "bias"));
  if (!bias.empty() && static_cast<std::int64_t>(bias.size()) != outputs)
    throw NodeProblem(fmt::format("has a bias of {} numbers for {} outputs", bias.size(), outputs));
  return bias;
}

// A matrix of (outputs, features), from one that may lie the other way.
std::vector<float> rows_of(const OnnxTensor& matrix, bool transposed) {
  std::vector<float> rows;
  rows.reserve(matrix.size());
  const auto height = static_cast<std::size_t>(matrix.shape.at(0));
  const auto width = static_cast<std::size_t>(matrix.shape.at(1));
  if (transposed) {
    for (std::size_t column = 0; column < width; ++column) {
      for (std::size_t row = 0; row < height; ++row)
        rows.push_back(static_cast<float>(matrix.number(row * width + column)));
    }
  } else {
    for (std::size_t i = 0; i < matrix.size(); ++i) rows.push_back(static_cast<float>(matrix.number(i)));
  }
  return rows;
}

void need_features(const OnnxStep& step) {
  if (step.x().shape.size() != 2) {
    throw NodeProblem(
        fmt::format("multiplies {} by a matrix; only the features of a whole image can be", step.shown()));
  }
}

OnnxFlow read_conv(OnnxStep& step) {
  const OnnxConstant weight = step.rules.needed(1, "weight");
  Conv2d conv;
  conv.out_channels = weight->shape.at(0);
  conv.groups = step.rules.integer("group", 1);
  const OnnxShape kernel(weight->shape.begin() + 2, weight->shape.end());
  std::vector<double> bias = bias_of(step, conv.out_channels);
  const bool one_pixel = without_batch(without_batch(step.x().shape)) == OnnxShape{1, 1};
  if (!step.layers.spatial(step.x().value) && one_pixel && kernel == OnnxShape{1, 1} && conv.groups == 1 &&
      step.shape == OnnxShape{step.x().shape[0], conv.out_channels, 1, 1}) {
    return step.made(step.layers.fully_connected(step.node.name, step.x(), rows_of(*weight, false),
                                                 conv.out_channels, std::move(bias)));
  }
  const OnnxShape map = step.need_map();
  const OnnxWindows windows(step.rules, {map[1], map[2]}, kernel);
  const Padding& pad = step.x().padding;
  conv.window.kernel = {kernel[0], kernel[1]};
  conv.window.stride = {windows.strides[0], windows.strides[1]};
  conv.window.dilation = {windows.dilations[0], windows.dilations[1]};
  conv.window.padding.begin = {windows.before[0] + pad.begin.height, windows.before[1] + pad.begin.width};
  conv.window.padding.end = {windows.behind[0] + pad.end.height, windows.behind[1] + pad.end.width};
  return step.made(step.layers.conv(step.node.name, conv, step.x().value, *weight, std::move(bias)));
}

OnnxFlow read_gemm(OnnxStep& step) {
  const OnnxConstant matrix = step.rules.needed(1, "matrix");
  need_features(step);
  const std::int64_t outputs = step.shape.at(1);
  std::vector<double> bias;
  if (const OnnxConstant summand = step.rules.constant(2, "summand")) {
    const OnnxShape& shape = summand->shape;
    const bool one_row = shape.size() < 2 || (shape.size() == 2 && shape[0] == 1);
    if (!one_row || (summand->size() != 1 && static_cast<std::int64_t>(summand->size()) != outputs)) {
      throw NodeProblem(
          fmt::format("has a summand of shape {}, which differs from image to image or fits nothing",
                      shown_shape(shape)));
    }
    bias = numbers_of(summand);
    bias.resize(static_cast<std::size_t>(outputs), bias.front());
    for (double& value : bias) value *= step.rules.number("beta", 1);
  }
  std::vector<float> rows = rows_of(*matrix, step.rules.integer("transB", 0) == 0);
  return step.made(step.layers.fully_connected(step.node.name, step.x(), std::move(rows), outputs,
                                               std::move(bias), step.rules.number("alpha", 1)));
}

OnnxFlow read_matmul(OnnxStep& step) {
  const OnnxConstant matrix = step.rules.needed(1, "matrix");
  need_features(step);
  return step.made(
      step.layers.fully_connected(step.node.name, step.x(), rows_of(*matrix, true), step.shape.at(1), {}));
}

}  // namespace

void add_weight_operators(OnnxOperators& table) {
  table["Conv"] = {.read = read_conv, .takes_padding = true};
  table["Gemm"] = {.read = read_gemm, .takes_affine = true};
  table["MatMul"] = {.read = read_matmul, .takes_affine = true};
}

}  // namespace halotile
