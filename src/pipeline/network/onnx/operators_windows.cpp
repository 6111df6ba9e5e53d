// Pools, reductions over rows and columns, and padding.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "pipeline/network/onnx/operators.hpp"

namespace halotile {
namespace {

// Every window must hold a position of the map: an average of none is no number.
bool all_hold_positions(const OnnxWindows& w, const OnnxShape& outputs) {
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t size = w.sizes[i];
    const std::int64_t last = (outputs[i] - 1) * w.strides[i] - w.before[i];
    const std::int64_t reach = w.dilations[i] * (w.kernel[i] - 1);
    if (reach < w.before[i] || last >= size || (w.dilations[i] > size && w.before[i] > 0)) return false;
  }
  return true;
}

OnnxFlow read_pool(OnnxStep& step, PoolKind kind, bool counted) {
  const OnnxShape map = step.need_map();
  const OnnxWindows w(step.rules, {map[1], map[2]}, step.rules.integers("kernel_shape").value());
  const Padding& pad = step.x().padding;
  Pool2d pool{kind, {}};
  if (kind == PoolKind::average && w.dilations != OnnxShape{1, 1})
    throw NodeProblem("is a dilated average pool");
  if (pad != Padding{}) {  // its zeros are counted, those of the pool itself must be as well
    const bool own = w.before != OnnxShape{0, 0} || w.behind != OnnxShape{0, 0};
    if ((own && !counted) || w.ceil_mode) throw NodeProblem("pads, or has ceil_mode, behind a Pad");
    counted = true;
  } else if (!all_hold_positions(w, w.outputs())) {
    throw NodeProblem(fmt::format("pads by [{}, {}], so that windows hold nothing else",
                                  fmt::join(w.before, ", "), fmt::join(w.behind, ", ")));
  }
  pool.window.kernel = {w.kernel[0], w.kernel[1]};
  pool.window.stride = {w.strides[0], w.strides[1]};
  pool.window.dilation = {w.dilations[0], w.dilations[1]};
  pool.window.padding.begin = {w.before[0] + pad.begin.height, w.before[1] + pad.begin.width};
  pool.window.padding.end = {w.behind[0] + pad.end.height, w.behind[1] + pad.end.width};
  pool.window.ceil_mode = w.ceil_mode;
  pool.count_include_pad = counted;
  OnnxFlow flow = step.layer(kind == PoolKind::max ? "max_pool" : "avg_pool", pool);
  const OnnxShape made = step.layers.own_shape(flow.value);
  if (made != without_batch(step.shape)) {
    throw NodeProblem(fmt::format("makes a map of {}, where the same windows give {}",
                                  shown_shape(without_batch(step.shape)), shown_shape(made)));
  }
  return flow;
}

OnnxFlow read_max_pool(OnnxStep& step) { return read_pool(step, PoolKind::max, false); }

OnnxFlow read_average_pool(OnnxStep& step) {
  return read_pool(step, PoolKind::average, step.rules.integer("count_include_pad", 0) != 0);
}

Pool2d whole_average() {
  Pool2d pool{PoolKind::average, {}};
  pool.window.adaptive_output = Extent2{1, 1};
  return pool;
}

Pool2d pool_of(PoolKind kind, Extent2 window) {
  Pool2d pool{kind, {}};
  pool.window.kernel = pool.window.stride = window;
  return pool;
}

OnnxFlow read_global_average_pool(OnnxStep& step) {
  (void)step.need_map();
  return step.layer("adaptive_avg_pool", whole_average());
}

OnnxFlow read_global_max_pool(OnnxStep& step) {
  const OnnxShape map = step.need_map();
  return step.layer("max_pool", pool_of(PoolKind::max, {map[1], map[2]}));
}

// The window of the map, 1x1 or whole rows or columns or both, that a Reduce node takes together.
Extent2 reduced_window(const OnnxStep& step) {
  const std::set<std::size_t> axes = reduced_axes(step.rules, step.x().shape.size());
  const OnnxShape own = step.layers.own_shape(step.x().value);
  const auto groups = grouped_axes(own, without_batch(step.x().shape)).value();
  OnnxShape window(3, 1);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (!axes.contains(i + 1)) continue;
    for (const std::size_t axis : groups[i]) window[axis] = own[axis];
  }
  if (axes.contains(0) || window[0] != 1) {
    throw NodeProblem(fmt::format("reduces the axes [{}] of {}; only height and width can be",
                                  fmt::join(axes, ", "), step.shown()));
  }
  return {window[1], window[2]};
}

OnnxFlow read_reduce(OnnxStep& step, PoolKind kind) {
  const Extent2 window = reduced_window(step);
  if (window == Extent2{1, 1}) return step.same();
  const OnnxShape own = step.layers.own_shape(step.x().value);
  const bool whole = window == Extent2{own[1], own[2]};
  if (whole && kind == PoolKind::average) return step.layer("adaptive_avg_pool", whole_average());
  return step.layer(kind == PoolKind::max ? "max_pool" : "avg_pool", pool_of(kind, window));
}

OnnxFlow read_reduce_mean(OnnxStep& step) { return read_reduce(step, PoolKind::average); }
OnnxFlow read_reduce_max(OnnxStep& step) { return read_reduce(step, PoolKind::max); }

OnnxFlow read_pad(OnnxStep& step) {
  (void)step.need_map();
  const std::vector<AxisPadding> pads = pads_by_axis(step.rules, 4);
  OnnxFlow flow = step.same();
  if (std::ranges::all_of(pads, [](const AxisPadding& p) { return p == AxisPadding{}; })) return flow;
  const std::string mode = step.rules.word("mode", "constant");
  const double value = step.rules.number_at("value", 2).value_or(0);
  if (mode != "constant" || value != 0)
    throw NodeProblem(fmt::format("pads with something else than zeros (mode {}, value {})", mode, value));
  const auto only_adds = [](const AxisPadding& p) { return p.begin >= 0 && p.end >= 0; };
  if (pads[0] != AxisPadding{} || pads[1] != AxisPadding{} || !only_adds(pads[2]) || !only_adds(pads[3]))
    throw NodeProblem("pads batch or channels, or cuts; only rows and columns can be added");
  flow.padding.begin.height += pads[2].begin;
  flow.padding.begin.width += pads[3].begin;
  flow.padding.end.height += pads[2].end;
  flow.padding.end.width += pads[3].end;
  return flow;
}

}  // namespace

void add_window_operators(OnnxOperators& table) {
  table["MaxPool"] = {.read = read_max_pool};
  table["AveragePool"] = {.read = read_average_pool, .takes_padding = true};
  table["GlobalAveragePool"] = {.read = read_global_average_pool};
  table["GlobalMaxPool"] = {.read = read_global_max_pool};
  table["ReduceMean"] = {.read = read_reduce_mean};
  table["ReduceMax"] = {.read = read_reduce_max};
  table["Pad"] = {.read = read_pad, .takes_padding = true};
}

}  // namespace halotile
