// Activations, normalization across channels, dropout; and what is told by name why it cannot be.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "pipeline/network/onnx/operators.hpp"

namespace halotile {
namespace {

OnnxFlow read_relu(OnnxStep& step) { return step.layer("relu", Relu{}); }

OnnxFlow read_leaky_relu(OnnxStep& step) {
  return step.layer("leaky_relu", LeakyRelu{static_cast<float>(step.rules.number("alpha", 0.01))});
}

OnnxFlow read_clip(OnnxStep& step) {
  constexpr double largest = std::numeric_limits<float>::max();
  const double low = step.rules.number_at("min", 1).value_or(-INFINITY);
  const double high = step.rules.number_at("max", 2).value_or(INFINITY);
  const bool open_above = high >= largest;
  const bool open_below = low <= -largest;
  if (open_above && open_below) return step.same();
  if (!open_above || low != 0)
    throw NodeProblem(fmt::format("clips to [{}, {}]; only [0, infinity), a Relu, can be so far", low, high));
  return step.layer("relu", Relu{});
}

OnnxFlow add_lrn(OnnxStep& step, const char* offset) {
  (void)step.need_map();
  Lrn lrn;
  lrn.size = step.rules.integer("size", 0);
  if (lrn.size < 1) throw NodeProblem(fmt::format("has the size {}", lrn.size));
  lrn.alpha = static_cast<float>(shortest(step.rules.number("alpha", 1e-4)));
  lrn.beta = static_cast<float>(shortest(step.rules.number("beta", 0.75)));
  lrn.k = static_cast<float>(shortest(step.rules.number(offset, 1)));
  return step.layer("lrn", lrn);
}

OnnxFlow read_lrn(OnnxStep& step) {
  const std::int64_t size = step.rules.integer("size", 0);
  if (size % 2 == 0) {
    throw NodeProblem(
        fmt::format("has the even size {}: ONNX's window begins {} channels before its own and ends {} "
                    "behind, halotile's "
                    "(PyTorch's) begins {} before and ends {} behind",
                    size, size / 2 - 1, size / 2, size / 2, size / 2 - 1));
  }
  return add_lrn(step, "bias");
}

// PyTorch's, put together by join_patterns(); even sizes are halotile's too.
OnnxFlow read_local_response_norm(OnnxStep& step) { return add_lrn(step, "k"); }

// Over all numbers of an image, or at each place of a map over its channels. Before operator set 13 all axes
// from the named one on are taken together.
OnnxFlow read_softmax(OnnxStep& step) {
  const bool older = step.rules.opset < 13;
  const OnnxShape sizes = without_batch(step.x().shape);
  const std::size_t axis = axis_of(step.rules.integer("axis", older ? 1 : -1), step.x().shape.size());
  const OnnxShape own = step.layers.own_shape(step.x().value);
  if (axis > 0) {
    const auto named = sizes.begin() + static_cast<std::ptrdiff_t>(axis) - 1;
    const std::int64_t together = older ? product({named, sizes.end()}) : *named;
    const bool channels = own.size() == 3 && together == own[0] && product({sizes.begin(), named}) == 1;
    const bool map_of_one_pixel = own.size() == 3 && own[1] == 1 && own[2] == 1;
    if (together == product(sizes)) {
      const std::size_t value = map_of_one_pixel ? step.x().value : step.layers.flatten(step.x().value);
      return step.made(step.layers.add("softmax", step.node.name, Softmax{}, {value}));
    }
    if (channels && !older) return step.layer("softmax", Softmax{});
  }
  throw NodeProblem(
      fmt::format("is over the axis {} of {}; only over all numbers of an image or over channels it can be",
                  axis, step.shown()));
}

// At each place of a map, put together by join_patterns().
OnnxFlow read_channel_softmax(OnnxStep& step) {
  (void)step.need_map();
  return step.layer("softmax", Softmax{});
}

OnnxFlow read_dropout(OnnxStep& step) {
  const OnnxConstant mode = step.rules.constant(2, "training_mode");
  const bool training = mode != nullptr && mode->size() > 0 && mode->number(0) != 0;
  if (training || step.rules.integer("is_test", 1) == 0)
    throw NodeProblem("is in training mode; export the network for inference");
  const double ratio = step.rules.number_at("ratio", 1).value_or(0.5);
  if (!(ratio >= 0 && ratio <= 1)) throw NodeProblem(fmt::format("has the ratio {}", ratio));
  return step.layer("dropout", Dropout{static_cast<float>(ratio), false});
}

}  // namespace

void add_pointwise_operators(OnnxOperators& table) {
  table["Relu"] = {.read = read_relu};
  table["LeakyRelu"] = {.read = read_leaky_relu};
  table["Clip"] = {.read = read_clip};
  table["LRN"] = {.read = read_lrn};
  table["LocalResponseNorm"] = {.read = read_local_response_norm};
  table["Softmax"] = {.read = read_softmax};
  table["ChannelSoftmax"] = {.read = read_channel_softmax};
  table["LogSoftmax"] = {
      .refusal =
          "takes the logarithm of a softmax, which no layer does; export the network without it "
          "(its logits) or with Softmax"};
  table["Dropout"] = {.read = read_dropout};
}

}  // namespace halotile
