// Random plans against brute force: for every tile, what each layer needs is exactly the bounding rectangle
// of the positions inside the map that the core depends on; cores partition the map; counts are counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "brute_force.hpp"
#include "rounds.hpp"

namespace halotile {
namespace {

using brute_force::Case;
using brute_force::Positions;

constexpr std::uint64_t seed = 20120930;
constexpr int chains = rounds(30000, 20);

// Per boundary of a stage's layers, the bounds of what the outputs `core` depend on along one axis.
std::vector<Interval> needed_by(std::span<const LayerGeometry> layers, Interval core,
                                AxisWindow (Window::*axis)() const, std::int64_t Extent2::*edge) {
  std::vector<Interval> needed(layers.size() + 1);
  Positions set(static_cast<std::size_t>(layers.back().output.*edge));
  for (std::int64_t p = core.begin; p < core.end; ++p) set.at(static_cast<std::size_t>(p)) = true;
  needed.back() = brute_force::bounds(set);
  for (std::size_t l = layers.size(); l-- > 0;) {
    set = brute_force::reads((layers[l].window.*axis)(), layers[l].input.*edge, set);
    needed[l] = brute_force::bounds(set);
  }
  return needed;
}

// Input pixels that lie before and behind the map under the taps of the outputs `out`.
std::pair<std::int64_t, std::int64_t> beyond(const AxisWindow& w, std::int64_t input, Interval out) {
  std::pair<std::int64_t, std::int64_t> most{0, 0};
  if (w.adaptive_output > 0) return most;
  for (std::int64_t o = out.begin; o < out.end; ++o) {
    for (std::int64_t k = 0; k < w.kernel; ++k) {
      const std::int64_t p = o * w.stride - w.padding.begin + k * w.dilation;
      most = {std::max(most.first, -p), std::max(most.second, p - input + 1)};
    }
  }
  return most;
}

// Positions of the stage's input that belong to outputs before `output`: each belongs to the output it falls
// to when outputs stand `stride` apart, those behind the last to the last.
std::int64_t owned_before(std::int64_t output, std::int64_t outputs, std::int64_t inputs,
                          std::int64_t stride) {
  std::int64_t count = 0;
  for (std::int64_t p = 0; p < inputs; ++p) count += std::min(p / stride, outputs - 1) < output ? 1 : 0;
  return count;
}

std::int64_t stage_stride(std::span<const LayerGeometry> layers, AxisWindow (Window::*axis)() const,
                          std::int64_t Extent2::*edge) {
  std::int64_t stride = 1;
  for (const LayerGeometry& l : layers) {
    const AxisWindow w = (l.window.*axis)();
    stride *= w.adaptive_output > 0 ? std::max<std::int64_t>(1, l.input.*edge / w.adaptive_output) : w.stride;
  }
  return stride;
}

// How the cores along one axis must lie: ascending without gaps, of the size or number asked for.
void check_cores(const std::vector<Interval>& cores, std::int64_t size, PatchSpec::Kind kind,
                 std::int64_t value, std::int64_t image_stride) {
  ASSERT_FALSE(cores.empty());
  std::int64_t next = 0;
  std::int64_t smallest = size;
  std::int64_t largest = 0;
  for (const Interval core : cores) {
    ASSERT_EQ(core.begin, next);
    ASSERT_FALSE(core.empty());
    next = core.end;
    smallest = std::min(smallest, core.size());
    largest = std::max(largest, core.size());
  }
  ASSERT_EQ(next, size);
  switch (kind) {
    case PatchSpec::Kind::whole:
      ASSERT_EQ(cores.size(), 1U);
      break;
    case PatchSpec::Kind::grid:
      ASSERT_EQ(static_cast<std::int64_t>(cores.size()), std::min(value, size));
      ASSERT_LE(largest - smallest, 1);
      break;
    case PatchSpec::Kind::size: {
      const std::int64_t edge = std::max<std::int64_t>(1, value / image_stride);
      for (std::size_t i = 0; i + 1 < cores.size(); ++i) ASSERT_EQ(cores[i].size(), edge);
      ASSERT_LE(cores.back().size(), edge);
      break;
    }
  }
}

struct AxisTiles {
  std::vector<std::vector<Interval>> needed;  // per tile row (or column), per boundary
};

void check_stage(const StagePlan& stage, std::span<const LayerGeometry> chain, const PatchSpec& patch,
                 Extent2 image_stride) {
  const Extent2 grid = stage.grid();
  AxisTiles rows;
  AxisTiles cols;
  std::vector<Interval> row_cores;
  std::vector<Interval> col_cores;
  for (std::int64_t r = 0; r < grid.height; ++r) {
    row_cores.push_back(stage.core(r, 0).rows);
    rows.needed.push_back(needed_by(chain, row_cores.back(), &Window::rows, &Extent2::height));
  }
  for (std::int64_t c = 0; c < grid.width; ++c) {
    col_cores.push_back(stage.core(0, c).cols);
    cols.needed.push_back(needed_by(chain, col_cores.back(), &Window::cols, &Extent2::width));
  }
  const Extent2 out = stage.graph().values.back().extent;
  ASSERT_NO_FATAL_FAILURE(
      check_cores(row_cores, out.height, patch.kind, patch.value.height, image_stride.height));
  ASSERT_NO_FATAL_FAILURE(
      check_cores(col_cores, out.width, patch.kind, patch.value.width, image_stride.width));

  const std::size_t layers = chain.size();
  std::vector<std::int64_t> computed(layers);
  std::vector<std::vector<bool>> touched(layers);
  for (std::size_t l = 0; l < layers; ++l)
    touched[l].resize(static_cast<std::size_t>(chain[l].output.area()));
  double all_flops = 0;
  for (std::int64_t r = 0; r < grid.height; ++r) {
    for (std::int64_t c = 0; c < grid.width; ++c) {
      SCOPED_TRACE("tile (" + std::to_string(r) + ", " + std::to_string(c) + ")");
      ASSERT_EQ(stage.core(r, c),
                (Rect{row_cores[static_cast<std::size_t>(r)], col_cores[static_cast<std::size_t>(c)]}));
      double flops = 0;
      for (std::size_t b = 0; b <= layers; ++b) {
        const Rect box{rows.needed[static_cast<std::size_t>(r)][b],
                       cols.needed[static_cast<std::size_t>(c)][b]};
        const Rect expected = box.empty() ? Rect{} : box;
        ASSERT_EQ(stage.needed(r, c, b), expected)
            << "boundary " << b << ": is " << to_string(stage.needed(r, c, b)) << ", brute force says "
            << to_string(expected);
        if (b == 0) continue;
        const LayerGeometry& layer = chain[b - 1];
        Halo outside;
        if (!expected.empty()) {
          std::tie(outside.top, outside.bottom) =
              beyond(layer.window.rows(), layer.input.height, expected.rows);
          std::tie(outside.left, outside.right) =
              beyond(layer.window.cols(), layer.input.width, expected.cols);
        }
        ASSERT_EQ(stage.outside(r, c, b - 1), outside) << "layer " << b - 1;
        computed[b - 1] += expected.area();
        flops += layer.flops_per_position * static_cast<double>(expected.area());
        for (std::int64_t y = expected.rows.begin; y < expected.rows.end; ++y) {
          for (std::int64_t x = expected.cols.begin; x < expected.cols.end; ++x)
            touched[b - 1][static_cast<std::size_t>(y * layer.output.width + x)] = true;
        }
      }
      ASSERT_DOUBLE_EQ(stage.flops(r, c), flops);
      all_flops += flops;

      const Rect input = stage.needed(r, c, 0);
      Halo halo;
      if (!input.empty()) {
        const Rect core = stage.core(r, c);
        const Extent2 in = stage.graph().values.front().extent;
        const std::int64_t row_stride = stage_stride(chain, &Window::rows, &Extent2::height);
        const std::int64_t col_stride = stage_stride(chain, &Window::cols, &Extent2::width);
        const auto over = [](std::int64_t x) { return std::max<std::int64_t>(0, x); };
        halo.top = over(owned_before(core.rows.begin, out.height, in.height, row_stride) - input.rows.begin);
        halo.left = over(owned_before(core.cols.begin, out.width, in.width, col_stride) - input.cols.begin);
        halo.bottom = over(input.rows.end - owned_before(core.rows.end, out.height, in.height, row_stride));
        halo.right = over(input.cols.end - owned_before(core.cols.end, out.width, in.width, col_stride));
      }
      ASSERT_EQ(stage.halo(r, c), halo);
    }
  }
  double recomputed = 0;
  for (std::size_t l = 0; l < layers; ++l) {
    const std::int64_t distinct = std::count(touched[l].begin(), touched[l].end(), true);
    ASSERT_EQ(stage.value_work(l + 1).computed, computed[l]) << "layer " << l;
    ASSERT_EQ(stage.value_work(l + 1).distinct, distinct) << "layer " << l;
    recomputed += chain[l].flops_per_position * static_cast<double>(computed[l] - distinct);
  }
  ASSERT_DOUBLE_EQ(stage.flops(), all_flops);
  ASSERT_DOUBLE_EQ(stage.recomputed_flops(), recomputed);
}

TEST(PlanProperty, EveryTileNeedsExactlyWhatItsCoreDependsOn) {
  std::mt19937_64 random(seed);
  std::int64_t tiles = 0;
  for (int i = 0; i < chains; ++i) {
    const Case c = brute_force::random_case(random, {96, 5});
    SCOPED_TRACE("seed " + std::to_string(seed) + ", chain " + std::to_string(i) + ":\n" +
                 brute_force::to_string(c));
    const std::vector<StagePlan> plan = make_plan(c.layers, c.stages, c.patch);
    ASSERT_EQ(plan.size(), c.stages.size());
    Extent2 image_stride{1, 1};
    for (std::size_t s = 0; s < plan.size(); ++s) {
      const auto [first, last] = c.stages[s];
      const std::span<const LayerGeometry> chain = std::span(c.layers).subspan(first, last - first);
      ASSERT_EQ(plan[s].made().size(), chain.size());
      image_stride.height *= stage_stride(chain, &Window::rows, &Extent2::height);
      image_stride.width *= stage_stride(chain, &Window::cols, &Extent2::width);
      ASSERT_NO_FATAL_FAILURE(check_stage(plan[s], chain, c.patch, image_stride)) << "stage " << s;
      tiles += plan[s].grid().area();
    }
  }
  RecordProperty("tiles", static_cast<int>(tiles));
}

// Rows and columns are traced apart; the dependence of positions in the plane is their product.
TEST(PlanProperty, AxesAreIndependentInThePlane) {
  constexpr std::uint64_t plane_seed = seed + 1;
  std::mt19937_64 random(plane_seed);
  for (int i = 0; i < rounds(400, 4); ++i) {
    Case c = brute_force::random_case(random, {12, 3});
    c.stages = {{0, c.layers.size()}};
    SCOPED_TRACE("seed " + std::to_string(plane_seed) + ", chain " + std::to_string(i) + ":\n" +
                 brute_force::to_string(c));
    const StagePlan stage = make_plan(c.layers, c.stages, c.patch).front();
    const auto tile_row =
        static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(stage.grid().height));
    const auto tile_col =
        static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(stage.grid().width));
    std::set<std::pair<std::int64_t, std::int64_t>> set;
    const Rect core = stage.core(tile_row, tile_col);
    for (std::int64_t y = core.rows.begin; y < core.rows.end; ++y) {
      for (std::int64_t x = core.cols.begin; x < core.cols.end; ++x) set.insert({y, x});
    }
    for (std::size_t l = c.layers.size(); l-- > 0;) {
      const LayerGeometry& layer = c.layers[l];
      std::set<std::pair<std::int64_t, std::int64_t>> before;
      for (const auto& [y, x] : set) {
        Positions row(static_cast<std::size_t>(layer.output.height));
        Positions col(static_cast<std::size_t>(layer.output.width));
        row[static_cast<std::size_t>(y)] = col[static_cast<std::size_t>(x)] = true;
        const Positions row_reads = brute_force::reads(layer.window.rows(), layer.input.height, row);
        const Positions col_reads = brute_force::reads(layer.window.cols(), layer.input.width, col);
        for (std::size_t v = 0; v < row_reads.size(); ++v) {
          for (std::size_t u = 0; u < col_reads.size(); ++u) {
            if (row_reads[v] && col_reads[u])
              before.insert({static_cast<std::int64_t>(v), static_cast<std::int64_t>(u)});
          }
        }
      }
      set = std::move(before);
      Rect box;
      for (const auto& [y, x] : set)
        box = {hull(box.rows, Interval{y, y + 1}), hull(box.cols, Interval{x, x + 1})};
      ASSERT_EQ(stage.needed(tile_row, tile_col, l), box)
          << "tile (" << tile_row << ", " << tile_col << "), layer " << l;
    }
  }
}

}  // namespace
}  // namespace halotile
