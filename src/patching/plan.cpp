#include "patching/plan.hpp"

#include <functional>

#include "patching/error.hpp"

namespace halotile {
namespace {

using Numbers = std::vector<std::size_t>;  // of values, ascending

bool holds(const Numbers& numbers, std::size_t number) {
  return std::binary_search(numbers.begin(), numbers.end(), number);
}

std::size_t index_of(const Numbers& numbers, std::size_t number) {
  return static_cast<std::size_t>(std::lower_bound(numbers.begin(), numbers.end(), number) - numbers.begin());
}

// What the stage makes and what it reads.
Numbers values_of(const GraphGeometry& graph, const StageValues& stage) {
  Numbers numbers = stage.made;
  for (const PlaneEdge& e : graph.edges) {
    if (holds(stage.made, e.to)) numbers.push_back(e.from);
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

GraphGeometry part_of(const GraphGeometry& graph, const StageValues& stage, const Numbers& numbers) {
  GraphGeometry part;
  for (const std::size_t number : numbers) part.values.push_back(graph.values[number]);
  for (const PlaneEdge& e : graph.edges) {
    if (holds(stage.made, e.to))
      part.edges.push_back({e.map, index_of(numbers, e.from), index_of(numbers, e.to)});
  }
  return part;
}

std::vector<Ratio> along(std::span<const PlaneStride> strides, Ratio PlaneStride::*axis) {
  std::vector<Ratio> all;
  for (const PlaneStride& s : strides) all.push_back(s.*axis);
  return all;
}

// Tiles that own `cuts` of the tiling value.
AxisTiles tiles_of(AxisGraph graph, const std::vector<Ratio>& strides, const Numbers& outputs,
                   std::size_t tiling, Cuts cuts) {
  AxisTiles axis{std::move(graph), std::vector<Cuts>(strides.size()), {}};
  for (const std::size_t v : outputs) {
    if (v != tiling) axis.cores[v] = cut_along(cuts, strides[tiling], axis.graph.size(v), strides[v]);
  }
  axis.cores[tiling] = std::move(cuts);
  std::vector<AxisCore> cores(outputs.size());
  for (std::size_t tile = 0; tile + 1 < axis.cores[tiling].size(); ++tile) {
    for (std::size_t i = 0; i < outputs.size(); ++i)
      cores[i] = {outputs[i], owned(axis.cores[outputs[i]], static_cast<std::int64_t>(tile))};
    axis.needed.push_back(needed(axis.graph, cores));
  }
  return axis;
}

// Positions of all intervals together, and positions in at least one of them.
struct Coverage {
  std::int64_t total = 0;
  std::int64_t distinct = 0;
};

Coverage coverage(const AxisTiles& axis, std::size_t value) {
  std::vector<Interval> intervals;
  for (const auto& of_tile : axis.needed) {
    if (!of_tile.at(value).empty()) intervals.push_back(of_tile[value]);
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

std::int64_t beyond(std::int64_t positions) { return std::max<std::int64_t>(0, positions); }

// The share of an input of `size` positions that a core stands on, `step` of the input for one of its own;
// the last core owns the rest.
Interval share(Interval core, bool last, Ratio step, std::int64_t size) {
  return {std::min(floor_of(core.begin, step), size), last ? size : std::min(floor_of(core.end, step), size)};
}

void check_patch(const PatchSpec& patch) {
  if (patch.kind == PatchSpec::Kind::whole || (patch.value.height > 0 && patch.value.width > 0)) return;
  throw ShapeError("a patch of " + to_string(patch.value) + " holds nothing; it must be at least 1x1");
}

void check_stage_count(std::size_t stages) {
  if (stages <= std::size_t{1} << TileKey::stage_bits) return;
  throw ShapeError(std::to_string(stages) + " stages do not fit a tile key of " +
                   std::to_string(TileKey::stage_bits) +
                   " bits; use fewer stages, patch.stages: fused for one");
}

// Checks stages in the order in which they run.
class StageCheck {
 public:
  explicit StageCheck(const GraphGeometry& graph)
      : graph_(graph), sources_(graph.values.size(), true), made_(graph.values.size()) {
    for (const PlaneEdge& e : graph.edges) sources_[e.to] = false;
    readable_ = sources_;
  }

  void next(const StageValues& stage) {
    check_lists(stage);
    for (const std::size_t v : stage.made) {
      require(!sources_[v] && !made_[v], v, "is made by a stage, but is a source, or made before");
      made_[v] = true;
    }
    for (const PlaneEdge& e : graph_.edges) {
      if (!holds(stage.made, e.to) || holds(stage.made, e.from)) continue;
      require(readable_[e.from], e.from,
              "is read by a stage, but no output of one before; make it an output of its stage");
    }
    for (const std::size_t v : stage.outputs) readable_[v] = true;
  }

  void finish() const {
    for (std::size_t v = 0; v < made_.size(); ++v)
      require(sources_[v] || made_[v], v, "is made by no stage; stages must cover the graph");
  }

 private:
  void check_lists(const StageValues& stage) const {
    const auto listed = [&](const Numbers& numbers) {
      return !numbers.empty() && numbers.back() < made_.size() &&
             std::adjacent_find(numbers.begin(), numbers.end(), std::greater_equal<>()) == numbers.end();
    };
    if (!listed(stage.made) || !listed(stage.outputs)) {
      throw ShapeError("a stage must make values of the graph and have outputs, both in ascending order");
    }
    for (const std::size_t v : stage.outputs)
      require(holds(stage.made, v), v, "is an output of a stage that does not make it");
    require(holds(stage.outputs, stage.tiling), stage.tiling,
            "is what the tiles of a stage are cut on, but no output of it");
  }

  void require(bool good, std::size_t value, const std::string& what) const {
    if (good) return;
    const std::string name = value < graph_.values.size() ? graph_.values[value].name : "";
    throw ShapeError("value " + std::to_string(value) + (name.empty() ? "" : " (" + name + ")") + " " + what);
  }

  const GraphGeometry& graph_;
  std::vector<bool> sources_;
  std::vector<bool> made_;
  std::vector<bool> readable_;
};

}  // namespace

StagePlan::StagePlan(std::int64_t number, const GraphGeometry& graph, std::span<const PlaneStride> strides,
                     const StageValues& stage, const PatchSpec& patch)
    : number_(number), numbers_(values_of(graph, stage)), graph_(part_of(graph, stage, numbers_)) {
  for (std::size_t v = 0; v < numbers_.size(); ++v) {
    strides_.push_back(strides[numbers_[v]]);
    (holds(stage.made, numbers_[v]) ? made_ : inputs_).push_back(v);
    if (holds(stage.outputs, numbers_[v])) outputs_.push_back(v);
  }
  tiling_ = index_of(numbers_, stage.tiling);
  const Extent2 whole = graph_.values[tiling_].extent;
  const PlaneStride stride = strides_[tiling_];
  Cuts rows = cut(whole.height, {patch.kind, patch.value.height}, stride.rows, TileKey::row_bits);
  Cuts cols = cut(whole.width, {patch.kind, patch.value.width}, stride.cols, TileKey::column_bits);
  axes_.push_back(
      tiles_of(graph_.rows(), along(strides_, &PlaneStride::rows), outputs_, tiling_, std::move(rows)));
  axes_.push_back(
      tiles_of(graph_.cols(), along(strides_, &PlaneStride::cols), outputs_, tiling_, std::move(cols)));
}

Extent2 StagePlan::grid() const {
  return {static_cast<std::int64_t>(axes_[0].needed.size()),
          static_cast<std::int64_t>(axes_[1].needed.size())};
}

std::string StagePlan::name() const {
  const std::string& first = graph_.values[made_.front()].name;
  return made_.size() == 1 ? first : first + ".." + graph_.values[made_.back()].name;
}

std::size_t StagePlan::value(std::size_t number_in_graph) const {
  if (holds(numbers_, number_in_graph)) return index_of(numbers_, number_in_graph);
  throw ShapeError("stage " + std::to_string(number_) + " neither makes nor reads value " +
                   std::to_string(number_in_graph));
}

void StagePlan::check_output(std::size_t value) const {
  if (holds(outputs_, value)) return;
  throw ShapeError("value " + std::to_string(value) + " of stage " + std::to_string(number_) +
                   " is no output of it: no tile owns any of it");
}

Rect StagePlan::core(std::int64_t row, std::int64_t column, std::size_t output) const {
  check_output(output);
  const Rect rect{owned(axes_[0].cores[output], row), owned(axes_[1].cores[output], column)};
  return rect.empty() ? Rect{} : rect;
}

Rect StagePlan::needed(std::int64_t row, std::int64_t column, std::size_t value) const {
  const Rect rect{axes_[0].needed.at(static_cast<std::size_t>(row)).at(value),
                  axes_[1].needed.at(static_cast<std::size_t>(column)).at(value)};
  return rect.empty() ? Rect{} : rect;
}

Rect StagePlan::tiles_meeting(const Rect& rect, std::size_t output) const {
  check_output(output);
  const Rect tiles{halotile::tiles_meeting(axes_[0].cores[output], rect.rows),
                   halotile::tiles_meeting(axes_[1].cores[output], rect.cols)};
  return tiles.empty() ? Rect{} : tiles;
}

Rect StagePlan::seen_input(std::int64_t row, std::int64_t column, std::size_t input) const {
  return seen_input(needed(row, column, input), core(row, column), input);
}

Rect StagePlan::seen_input(const Rect& need, const Rect& core, std::size_t input) const {
  Rect seen = need;
  if (seen.empty()) return seen;
  const Extent2 cut = graph_.values[tiling_].extent;
  const Extent2 whole = graph_.values.at(input).extent;
  if (core.rows.end == cut.height) seen.rows.end = whole.height;
  if (core.cols.end == cut.width) seen.cols.end = whole.width;
  return seen;
}

Halo StagePlan::outside(std::int64_t row, std::int64_t column, std::size_t edge) const {
  const PlaneEdge& e = graph_.edges.at(edge);
  const Rect out = needed(row, column, e.to);
  if (out.empty()) return {};
  const Extent2 whole = graph_.values[e.from].extent;
  const Interval rows = reach(e.map.rows, whole.height, out.rows);
  const Interval cols = reach(e.map.cols, whole.width, out.cols);
  return {beyond(-rows.begin), beyond(-cols.begin), beyond(rows.end - whole.height),
          beyond(cols.end - whole.width)};
}

Halo StagePlan::halo(std::int64_t row, std::int64_t column, std::size_t input) const {
  const Rect read = needed(row, column, input);
  if (read.empty()) return {};
  const auto step = [&](Ratio PlaneStride::*axis) {
    return multiply(strides_[tiling_].*axis, inverse(strides_[input].*axis), "a stage's stride");
  };
  const Rect mine = core(row, column);
  const Extent2 whole = graph_.values[input].extent;
  const Interval rows = share(mine.rows, row + 1 == grid().height, step(&PlaneStride::rows), whole.height);
  const Interval cols = share(mine.cols, column + 1 == grid().width, step(&PlaneStride::cols), whole.width);
  return {beyond(rows.begin - read.rows.begin), beyond(cols.begin - read.cols.begin),
          beyond(read.rows.end - rows.end), beyond(read.cols.end - cols.end)};
}

double StagePlan::flops(std::int64_t row, std::int64_t column) const {
  double sum = 0;
  for (const std::size_t v : made_) {
    sum += graph_.values[v].flops_per_position * static_cast<double>(needed(row, column, v).area());
  }
  return sum;
}

LayerWork StagePlan::value_work(std::size_t value) const {
  const Coverage r = coverage(axes_[0], value);
  const Coverage c = coverage(axes_[1], value);
  return {checked_multiply(r.total, c.total, "the work of a layer"),
          checked_multiply(r.distinct, c.distinct, "the work of a layer")};
}

double StagePlan::flops() const {
  double sum = 0;
  for (const std::size_t v : made_) {
    sum += graph_.values[v].flops_per_position * static_cast<double>(value_work(v).computed);
  }
  return sum;
}

double StagePlan::recomputed_flops() const {
  double sum = 0;
  for (const std::size_t v : made_) {
    const LayerWork w = value_work(v);
    sum += graph_.values[v].flops_per_position * static_cast<double>(w.computed - w.distinct);
  }
  return sum;
}

std::vector<StagePlan> make_plan(const GraphGeometry& graph, std::span<const StageValues> stages,
                                 const PatchSpec& patch) {
  check_patch(patch);
  check_stage_count(stages.size());
  check_sizes(graph.rows());
  check_sizes(graph.cols());
  StageCheck check(graph);
  for (const StageValues& stage : stages) check.next(stage);
  check.finish();
  const std::vector<PlaneStride> strides = plane_strides(graph);
  std::vector<StagePlan> plan;
  for (const StageValues& stage : stages)
    plan.emplace_back(static_cast<std::int64_t>(plan.size()), graph, strides, stage, patch);
  return plan;
}

}  // namespace halotile
