#include "patching/plan.hpp"

#include "patching/error.hpp"

namespace halotile {
namespace {

// Before they are made: a map of millions of positions cut into single ones would fill the memory.
void check_count(std::int64_t count, int key_bits) {
  if (count <= std::int64_t{1} << key_bits) return;
  throw ShapeError(std::to_string(count) + " tiles along one axis of a stage do not fit a tile key of " +
                   std::to_string(key_bits) + " bits; use larger patches or a smaller grid");
}

// Cores along one axis of `size` positions: pieces of `edge`, or `count` pieces as even as they can be.
std::vector<Interval> cut(std::int64_t size, PatchSpec::Kind kind, std::int64_t value, std::int64_t stride,
                          int key_bits) {
  std::vector<Interval> cores;
  switch (kind) {
    case PatchSpec::Kind::whole:
      cores.push_back({0, size});
      break;
    case PatchSpec::Kind::size: {
      const std::int64_t edge = std::max<std::int64_t>(1, value / stride);
      check_count((size - 1) / edge + 1, key_bits);
      for (std::int64_t begin = 0; begin < size; begin += edge)
        cores.push_back({begin, std::min(size, begin + edge)});
      break;
    }
    case PatchSpec::Kind::grid: {
      const std::int64_t count = std::min(value, size);
      check_count(count, key_bits);
      for (std::int64_t i = 0; i < count; ++i) {
        const auto edge = [&](std::int64_t k) { return k * (size / count) + std::min(k, size % count); };
        cores.push_back({edge(i), edge(i + 1)});
      }
      break;
    }
  }
  return cores;
}

std::vector<std::vector<Interval>> trace(std::span<const AxisLayer> chain,
                                         const std::vector<Interval>& cores) {
  std::vector<std::vector<Interval>> needs;
  needs.reserve(cores.size());
  for (const Interval core : cores) needs.push_back(needed_intervals(chain, core));
  return needs;
}

std::int64_t axis_stride(const AxisWindow& w, std::int64_t input) {
  return w.adaptive_output > 0 ? std::max<std::int64_t>(1, input / w.adaptive_output) : w.stride;
}

Extent2 layer_stride(const LayerGeometry& layer) {
  return {axis_stride(layer.window.rows(), layer.input.height),
          axis_stride(layer.window.cols(), layer.input.width)};
}

// Positions of all intervals together, and positions in at least one of them.
struct Coverage {
  std::int64_t total = 0;
  std::int64_t distinct = 0;
};

Coverage coverage(const std::vector<std::vector<Interval>>& needs, std::size_t boundary) {
  std::vector<Interval> intervals;
  for (const auto& per_layer : needs) {
    if (!per_layer[boundary].empty()) intervals.push_back(per_layer[boundary]);
  }
  std::sort(intervals.begin(), intervals.end(), [](Interval a, Interval b) { return a.begin < b.begin; });
  Coverage c;
  std::int64_t covered_to = 0;
  for (const Interval i : intervals) {
    c.total += i.size();
    c.distinct += std::max<std::int64_t>(0, i.end - std::max(i.begin, covered_to));
    covered_to = std::max(covered_to, i.end);
  }
  return c;
}

}  // namespace

StagePlan::StagePlan(StageRange range, std::vector<LayerGeometry> layers, const PatchSpec& patch,
                     Extent2 stride_to_output)
    : range_(range), layers_(std::move(layers)) {
  std::vector<AxisLayer> row_chain;
  std::vector<AxisLayer> col_chain;
  for (const LayerGeometry& l : layers_) {
    row_chain.push_back({l.window.rows(), l.input.height, l.output.height});
    col_chain.push_back({l.window.cols(), l.input.width, l.output.width});
  }
  const Extent2 out = output_extent();
  rows_ = trace(row_chain,
                cut(out.height, patch.kind, patch.value.height, stride_to_output.height, TileKey::row_bits));
  cols_ = trace(col_chain,
                cut(out.width, patch.kind, patch.value.width, stride_to_output.width, TileKey::column_bits));
}

Extent2 StagePlan::grid() const {
  return {static_cast<std::int64_t>(rows_.size()), static_cast<std::int64_t>(cols_.size())};
}

Rect StagePlan::needed(std::int64_t row, std::int64_t column, std::size_t layer) const {
  const Rect rect{rows_.at(static_cast<std::size_t>(row)).at(layer),
                  cols_.at(static_cast<std::size_t>(column)).at(layer)};
  return rect.empty() ? Rect{} : rect;
}

Halo StagePlan::outside(std::int64_t row, std::int64_t column, std::size_t layer) const {
  const LayerGeometry& l = layers_.at(layer);
  const Rect out = needed(row, column, layer + 1);
  if (out.empty()) return {};
  const Interval rows = reach(l.window.rows(), l.input.height, out.rows);
  const Interval cols = reach(l.window.cols(), l.input.width, out.cols);
  const auto beyond = [](std::int64_t x) { return std::max<std::int64_t>(0, x); };
  return {beyond(-rows.begin), beyond(-cols.begin), beyond(rows.end - l.input.height),
          beyond(cols.end - l.input.width)};
}

Halo StagePlan::halo(std::int64_t row, std::int64_t column) const {
  const Rect input = needed(row, column, 0);
  if (input.empty()) return {};
  Extent2 stride{1, 1};
  for (const LayerGeometry& l : layers_) {
    const Extent2 s = layer_stride(l);
    stride = {stride.height * s.height, stride.width * s.width};
  }
  // The share of the input that a core stands on: its positions times the stride; the last one owns the rest.
  const auto share = [](Interval core, std::int64_t s, std::int64_t outputs, std::int64_t inputs) {
    return Interval{std::min(core.begin * s, inputs),
                    core.end == outputs ? inputs : std::min(core.end * s, inputs)};
  };
  const Rect owned = core(row, column);
  const Interval rows = share(owned.rows, stride.height, output_extent().height, input_extent().height);
  const Interval cols = share(owned.cols, stride.width, output_extent().width, input_extent().width);
  const auto beyond = [](std::int64_t x) { return std::max<std::int64_t>(0, x); };
  return {beyond(rows.begin - input.rows.begin), beyond(cols.begin - input.cols.begin),
          beyond(input.rows.end - rows.end), beyond(input.cols.end - cols.end)};
}

double StagePlan::flops(std::int64_t row, std::int64_t column) const {
  double sum = 0;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    sum += layers_[l].flops_per_position * static_cast<double>(needed(row, column, l + 1).area());
  }
  return sum;
}

LayerWork StagePlan::work(std::size_t layer) const {
  const Coverage r = coverage(rows_, layer + 1);
  const Coverage c = coverage(cols_, layer + 1);
  return {checked_multiply(r.total, c.total, "the work of a layer"),
          checked_multiply(r.distinct, c.distinct, "the work of a layer")};
}

double StagePlan::flops() const {
  double sum = 0;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    sum += layers_[l].flops_per_position * static_cast<double>(work(l).computed);
  }
  return sum;
}

double StagePlan::recomputed_flops() const {
  double sum = 0;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const LayerWork w = work(l);
    sum += layers_[l].flops_per_position * static_cast<double>(w.computed - w.distinct);
  }
  return sum;
}

std::vector<StagePlan> make_plan(std::span<const LayerGeometry> layers, std::span<const StageRange> stages,
                                 const PatchSpec& patch) {
  if (patch.kind != PatchSpec::Kind::whole && (patch.value.height < 1 || patch.value.width < 1)) {
    throw ShapeError("a patch of " + to_string(patch.value) + " holds nothing; it must be at least 1x1");
  }
  if (stages.size() > std::size_t{1} << TileKey::stage_bits) {
    throw ShapeError(std::to_string(stages.size()) + " stages do not fit a tile key of " +
                     std::to_string(TileKey::stage_bits) +
                     " bits; use fewer stages, patch.stages: fused for one");
  }
  std::vector<StagePlan> plan;
  Extent2 stride{1, 1};
  std::size_t next = 0;
  for (const StageRange range : stages) {
    if (range.first != next || range.last <= range.first || range.last > layers.size()) {
      throw ShapeError("stages must cover the layers in order, each with at least one layer");
    }
    for (std::size_t l = range.first; l < range.last; ++l) {
      const Extent2 s = layer_stride(layers[l]);
      stride.height = checked_multiply(stride.height, s.height, "the accumulated stride");
      stride.width = checked_multiply(stride.width, s.width, "the accumulated stride");
    }
    plan.emplace_back(range,
                      std::vector<LayerGeometry>(layers.begin() + static_cast<std::ptrdiff_t>(range.first),
                                                 layers.begin() + static_cast<std::ptrdiff_t>(range.last)),
                      patch, stride);
    next = range.last;
  }
  if (next != layers.size()) throw ShapeError("stages must cover all spatial layers");
  return plan;
}

}  // namespace halotile
