#include "pipeline/running/merged_stage.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "pipeline/running/placement.hpp"

namespace halotile {
namespace {

// A border of one row, as of pools, is thin if a part holds it so many times.
constexpr std::int64_t thin_border = 50;

// The outputs of `parts` shares of the tiles along an axis, as even as can be, the first the largest.
std::vector<Interval> shared_cores(std::int64_t tiles, std::int64_t parts, const auto& core) {
  std::vector<Interval> shares;
  for (std::int64_t left = parts; left > 0; --left) {
    Interval& share = shares.emplace_back();
    for (std::int64_t t = tiles - left * tiles / parts; t < tiles - (left - 1) * tiles / parts; ++t)
      share = hull(share, core(t));
  }
  return shares;
}

// The layers of each step along an axis.
using Chains = std::vector<std::vector<AxisLayer>>;

// Maps whose borders are thin along both axes.
std::set<std::size_t> thin_maps(const MergedAxis& rows, const MergedAxis& cols, std::size_t maps) {
  std::set<std::size_t> thin;
  for (std::size_t map = 1; map < maps; ++map) {
    const auto is_thin = [map](const MergedAxis& axis) {
      const std::int64_t kept = axis.largest(map, &Held::kept);
      return kept <= 1 && thin_border * kept <= axis.largest(map, &Held::fresh);
    };
    if (is_thin(rows) && is_thin(cols)) thin.insert(map);
  }
  return thin;
}

}  // namespace

std::int64_t MergedAxis::largest(std::size_t map, Interval Held::*of) const {
  std::int64_t most = 0;
  for (const Held& h : held[map]) most = std::max(most, (h.*of).size());
  return most;
}

MergedStage::MergedStage(const Stage& stage, TileOperations& operations, std::span<const std::int64_t> images,
                         std::size_t lane_bytes)
    : stage_(stage), operations_(operations) {
  choose_cut(images.front(), lane_bytes);
  lane_ = lane_of(cut_, parts(), images);
  plan_tasks();
  place_borders(images.front());
}

MergedStage::Cut MergedStage::cut_into(std::int64_t rows, std::int64_t cols) const {
  const StagePlan& plan = stage_.plan;
  const GraphGeometry& graph = plan.graph();
  Chains down;
  Chains across;
  for (const Step& step : stage_.steps) {
    down.emplace_back();
    across.emplace_back();
    for (const std::size_t node : step.nodes) {
      const auto edge = std::ranges::find(graph.edges, plan.value(node + 1), &PlaneEdge::to);
      const Extent2 input = graph.values[edge->from].extent;
      const Extent2 output = graph.values[edge->to].extent;
      down.back().push_back({edge->map.rows, input.height, output.height});
      across.back().push_back({edge->map.cols, input.width, output.width});
    }
  }
  const std::vector<Interval> core_rows =
      shared_cores(plan.grid().height, rows, [&](std::int64_t row) { return plan.core(row, 0).rows; });
  const std::vector<Interval> core_cols =
      shared_cores(plan.grid().width, cols, [&](std::int64_t column) { return plan.core(0, column).cols; });
  const Cut all_kept{{held_by_parts(down, core_rows)}, {held_by_parts(across, core_cols)}};
  const std::set<std::size_t> repeated = thin_maps(all_kept.rows, all_kept.cols, output());
  return {{held_by_parts(down, core_rows, repeated)}, {held_by_parts(across, core_cols, repeated)}};
}

// Whole rows of tiles while there is room for one, else pieces of a row: long parts have few borders, and the
// input's rows stay in one piece.
void MergedStage::choose_cut(std::int64_t images, std::size_t lane_bytes) {
  const Extent2 grid = stage_.plan.grid();
  const auto fits = [&](std::int64_t rows, std::int64_t cols) {
    throw_if_stopped();
    cut_ = cut_into(rows, cols);
    // The first part holds borders of all that come behind it.
    return lane_of(cut_, 1, {&images, 1}).bytes() <= lane_bytes;
  };
  std::int64_t rows = 1;
  std::int64_t cols = 1;
  while (!fits(rows, cols) && (rows < grid.height || cols < grid.width)) ++(rows < grid.height ? rows : cols);
}

// For the first `parts` parts.
Lane MergedStage::lane_of(const Cut& cut, std::size_t parts, std::span<const std::int64_t> images) const {
  std::vector<std::size_t> maps(output() + 1);
  std::vector<std::size_t> scratch(output());
  for (std::size_t number = 0; number < parts; ++number) {
    const Part part = part_of(cut, number);
    for (const std::int64_t count : images) {
      for (std::size_t step = 0; step < output(); ++step) {
        const MapGeometry in = input_of(cut, part, step, count);
        const MapGeometry out = output_of(cut, part, step, count);
        maps[step] = std::max(maps[step], bytes_of(in));
        if (out.rect.empty()) continue;
        scratch[step] = std::max(scratch[step], operation_of(step, in, out)->scratch_bytes());
      }
    }
  }
  const bool several = cut.rows.parts() * cut.cols.parts() > 1;
  return {maps, scratch, several};
}

void MergedStage::plan_tasks() {
  kept_.resize(output() + 1);
  for (std::size_t map = 1; map < output(); ++map)
    kept_[map] = cut_.rows.largest(map, &Held::kept) > 0 || cut_.cols.largest(map, &Held::kept) > 0;
  tiles_.borders.resize(output());
  for (std::size_t step = 0; step < output(); ++step) {
    if (kept_[step]) tiles_.borders[step] = tiles_.borders[lane_.fetched_beside(step)] = true;
    tiles_.border_waits.push_back(lane_.waits_for(step, kept_));
  }
  for (std::size_t part = 0; part < parts(); ++part) {
    tiles_.inputs.push_back(held(cut_, part_of(cut_, part), 0));
    tiles_.outputs.push_back(fresh(cut_, part_of(cut_, part), output()));
  }
  tiles_.ahead = lane_.ahead();
}

void MergedStage::place_borders(std::int64_t images) {
  const auto place = [&](std::size_t map, std::int64_t rows, std::int64_t cols) {
    const Rect rect{{0, rows}, {0, cols}};
    return std::exchange(border_bytes_,
                         border_bytes_ + aligned(halotile::bytes_of(dense(map, images, rect))));
  };
  below_at_.resize(output());
  right_at_.resize(output());
  for (std::size_t map = 1; map < output(); ++map) {
    const std::int64_t kept_rows = cut_.rows.largest(map, &Held::kept);
    for (const Held& column : cut_.cols.held[map]) {
      below_at_[map].push_back(place(map, kept_rows, column.all().size()));
    }
    right_at_[map] = place(map, cut_.rows.largest(map, &Held::fresh), cut_.cols.largest(map, &Held::kept));
  }
}

double MergedStage::repeats(std::size_t step) const {
  const auto all = [&](const MergedAxis& axis) {
    std::int64_t sum = 0;
    for (const Held& h : axis.held[step + 1]) sum += h.fresh.size();
    return static_cast<double>(sum);
  };
  const std::int64_t distinct = stage_.plan.value_work(value(step + 1)).distinct;
  return distinct > 0 ? all(cut_.rows) * all(cut_.cols) / static_cast<double>(distinct) : 1;
}

MergedStage::Part MergedStage::part_of(const Cut& cut, std::size_t number) {
  return {number / cut.cols.parts(), number % cut.cols.parts()};
}

Rect MergedStage::held(const Cut& cut, Part part, std::size_t map) const {
  const Rect rect{cut.rows.held[map][part.row].all(), cut.cols.held[map][part.col].all()};
  if (map > 0) return rect;
  const StagePlan& plan = stage_.plan;
  return plan.seen_input(rect, fresh(cut, part, output()), plan.inputs().front());
}

Rect MergedStage::fresh(const Cut& cut, Part part, std::size_t map) const {
  return {cut.rows.held[map][part.row].fresh, cut.cols.held[map][part.col].fresh};
}

std::size_t MergedStage::value(std::size_t map) const {
  return map == 0 ? stage_.plan.inputs().front() : stage_.plan.value(stage_.steps[map - 1].output);
}

MapGeometry MergedStage::dense(std::size_t map, std::int64_t images, Rect rect) const {
  const ValueGeometry& shape = stage_.plan.graph().values[value(map)];
  return dense_geometry(stage_.type, images, shape.channels, rect, shape.extent);
}

MapGeometry MergedStage::input_of(const Cut& cut, Part part, std::size_t step, std::int64_t images) const {
  if (step > 0) return dense(step, images, held(cut, part, step));
  MapGeometry in = dense(0, images, Rect::whole(stage_.plan.graph().values[value(0)].extent));
  in.rect = held(cut, part, 0);
  return in;
}

MapGeometry MergedStage::output_of(const Cut& cut, Part part, std::size_t step, std::int64_t images) const {
  const std::size_t map = step + 1;
  const Extent2 whole = stage_.plan.graph().values[value(map)].extent;
  MapGeometry out = dense(map, images, map < output() ? held(cut, part, map) : Rect::whole(whole));
  out.rect = fresh(cut, part, map);
  return out;
}

Operation* MergedStage::operation_of(std::size_t step, const MapGeometry& in, const MapGeometry& out) const {
  const TileOperations::Caller caller{0, stage_.plan.number(), static_cast<std::int64_t>(step)};
  return operations_.on_map(caller, stage_.steps[step], {&in, 1}, out);
}

MapView MergedStage::between(Part part, std::size_t map, std::int64_t images, const Place& place) const {
  return {dense(map, images, held(cut_, part, map)), place.lane + lane_.map(map).at};
}

std::vector<TileCall> MergedStage::border_copies(Part part, std::size_t step, std::int64_t images,
                                                 const Place& place, const RunContext& context) const {
  std::vector<TileCall> copies;
  const auto add = [&](const ConstMapView& from, const MapView& to) {
    const auto call = static_cast<std::int64_t>(output());  // behind those of the steps
    copies.push_back({operations_.copying({0, stage_.plan.number(), call}, from, to), from, to, context});
  };
  const auto row = [&](std::size_t map, std::size_t number) { return cut_.rows.held[map][number]; };
  const auto col = [&](std::size_t map, std::size_t number) { return cut_.cols.held[map][number]; };
  const auto stored = [&](std::size_t map, Rect rect, std::size_t at) {
    return MapView{dense(map, images, rect), place.borders + at};
  };
  if (const std::size_t map = step; map > 0) {
    const MapView from = between(part, map, images, place);
    const auto keep = [&](Rect rect, std::size_t at) {
      if (!rect.empty()) add(subview(from, {0, images}, rect), stored(map, rect, at));
    };
    if (part.row + 1 < cut_.rows.parts())
      keep({row(map, part.row + 1).kept, col(map, part.col).all()}, below_at_[map][part.col]);
    if (part.col + 1 < cut_.cols.parts())
      keep({row(map, part.row).fresh, col(map, part.col + 1).kept}, right_at_[map]);
  }
  for (std::size_t map = step + 1; map < output(); ++map) {
    if (!kept_[map] || lane_.fetched_beside(map) != step) continue;
    const MapView to = between(part, map, images, place);
    const auto fetch = [&](Rect rect, std::size_t at) {
      if (!rect.empty()) add(stored(map, rect, at), subview(to, {0, images}, rect));
    };
    fetch({row(map, part.row).kept, col(map, part.col).all()}, below_at_[map][part.col]);
    fetch({row(map, part.row).fresh, col(map, part.col).kept}, right_at_[map]);
  }
  return copies;
}

void MergedStage::prepare_part(Engine& engine, std::size_t number, const ConstMapView& in, const MapView& out,
                               std::int64_t first_image, const Place& place) {
  const Part part = part_of(cut_, number);
  const Interval images{0, in.images};
  ConstMapView from = subview(in, images, held(cut_, part, 0));
  for (std::size_t step = 0; step < output(); ++step) {
    const std::size_t map = step + 1;
    const RunContext context{
        *place.stream, {place.lane + lane_.scratch(step).at, lane_.scratch(step).bytes}, first_image};
    PreparedStep& made = prepared_.emplace_back();
    const std::vector<TileCall> copies = border_copies(part, step, in.images, place, context);
    if (!copies.empty()) made.borders = engine.tile_step(copies);
    const MapView whole = map < output() ? between(part, map, in.images, place) : out;
    if (const Rect written = fresh(cut_, part, map); !written.empty()) {
      const MapView to = subview(whole, images, written);
      const TileCall call{operation_of(step, from, to), from, to, context};
      made.compute = engine.tile_step({&call, 1});
    }
    from = whole;
  }
}

void MergedStage::compute(std::size_t chunk, std::size_t part, std::size_t step, Stream& stream) {
  TileStep* const work = prepared(chunk, part, step).compute.get();
  if (work == nullptr) return;
  if (step == 0 && begins_ahead(part)) {
    work->finish(stream);
  } else {
    work->run(stream);
  }
}

void MergedStage::copy_borders(std::size_t chunk, std::size_t part, std::size_t step, Stream& stream) {
  if (TileStep* const copies = prepared(chunk, part, step).borders.get()) copies->run(stream);
}

void MergedStage::begin(std::size_t chunk, std::size_t part, Stream& stream) {
  if (TileStep* const work = prepared(chunk, part, 0).compute.get()) work->begin(stream);
}

}  // namespace halotile
