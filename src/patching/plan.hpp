// The patcher: cuts what each stage makes into tiles and works out what every tile must compute and read of
// every value. Pure geometry, made before anything runs; it never sees data.
//
// Rows and columns are independent, so a stage stores one list of needed intervals per tile row and one per
// tile column; a tile's rectangles are their products.
//
// A stage makes values of a graph from values made before, its inputs. Tiles are cut on one of its outputs,
// the tiling value. Other outputs may have other extents (a skip and a pooled map, say): tiles own the parts
// of them that stand where their cores stand, position by position (cut_along), so that the cores of every
// output partition it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "patching/cuts.hpp"
#include "patching/graph_geometry.hpp"
#include "patching/tile_key.hpp"

namespace halotile {

/// A part of a graph that a tile passes through before its cores are placed. Values by their numbers in the
/// graph, ascending.
struct StageValues {
  std::vector<std::size_t> made;
  std::vector<std::size_t> outputs;  ///< those of `made` that are placed, and that later stages may read
  std::size_t tiling = 0;            ///< the output on which tiles are cut
};

/// Work on one value over all tiles of a stage, for one image.
struct LayerWork {
  std::int64_t computed = 0;  ///< positions computed, summed over tiles
  std::int64_t distinct = 0;  ///< positions that at least one tile computes
  /// Share of the computed positions that another tile computes too: 1 - distinct / computed.
  [[nodiscard]] double recomputed_share() const {
    return computed == 0 ? 0 : 1 - static_cast<double>(distinct) / static_cast<double>(computed);
  }
};

/// One axis of a stage's tiles.
struct AxisTiles {
  AxisGraph graph;
  std::vector<Cuts> cores;                    ///< per value; none of values that are no outputs
  std::vector<std::vector<Interval>> needed;  ///< per tile, per value
};

/// The tiles of one stage. Values have numbers of the stage's own: its inputs and what it makes, in the
/// graph's order. `row` and `column` are a tile's in the grid.
class StagePlan {
 public:
  /// Stage `number` of a plan for `graph`, whose values have the strides `strides`. `stage` has been checked
  /// by make_plan. Throws ShapeError when there are more tile rows or columns than a TileKey holds.
  StagePlan(std::int64_t number, const GraphGeometry& graph, std::span<const PlaneStride> strides,
            const StageValues& stage, const PatchSpec& patch);

  [[nodiscard]] std::int64_t number() const { return number_; }
  [[nodiscard]] const GraphGeometry& graph() const { return graph_; }
  /// Number in the whole graph of one of the stage's values.
  [[nodiscard]] std::size_t number_in_graph(std::size_t value) const { return numbers_.at(value); }
  /// The other way round. Throws ShapeError when the stage neither makes nor reads the value.
  [[nodiscard]] std::size_t value(std::size_t number_in_graph) const;
  [[nodiscard]] const std::vector<std::size_t>& inputs() const { return inputs_; }
  [[nodiscard]] const std::vector<std::size_t>& outputs() const { return outputs_; }
  [[nodiscard]] std::size_t tiling() const { return tiling_; }
  /// What it makes.
  [[nodiscard]] const std::vector<std::size_t>& made() const { return made_; }
  /// "conv1", or "conv1..pool1": the first and the last value that it makes.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] PlaneStride stride(std::size_t value) const { return strides_.at(value); }

  /// Tiles down and across.
  [[nodiscard]] Extent2 grid() const;
  [[nodiscard]] TileKey key(std::int64_t row, std::int64_t column, std::int64_t image) const {
    return {image, number_, row, column};
  }
  /// What the tile owns of the tiling value: never empty.
  [[nodiscard]] Rect core(std::int64_t row, std::int64_t column) const { return core(row, column, tiling_); }
  /// What it owns of an output; may be empty. Throws ShapeError for a value that is no output.
  [[nodiscard]] Rect core(std::int64_t row, std::int64_t column, std::size_t output) const;
  /// What it needs of a value, its core among it: computes, of what the stage makes; reads, of inputs. May be
  /// empty.
  [[nodiscard]] Rect needed(std::int64_t row, std::int64_t column, std::size_t value) const;
  /// Rows and columns of the tiles that own parts of `rect` of an output; empty when none does. Throws
  /// ShapeError for a value that is no output.
  [[nodiscard]] Rect tiles_meeting(const Rect& rect, std::size_t output) const;
  [[nodiscard]] Rect tiles_meeting(const Rect& rect) const { return tiles_meeting(rect, tiling_); }

  /// What a tile's view of an input shows: what it needs, and at the end of the map also the positions behind
  /// its last window, so that its rows stay contiguous. Kernels may read all of it (to pack it, say).
  [[nodiscard]] Rect seen_input(std::int64_t row, std::int64_t column, std::size_t input) const;
  [[nodiscard]] Rect seen_input(std::int64_t row, std::int64_t column) const {
    return seen_input(row, column, inputs_.front());
  }
  /// The same for neighbouring tiles taken as one: they need `need` of the input, their cores are `core`.
  [[nodiscard]] Rect seen_input(const Rect& need, const Rect& core, std::size_t input) const;

  /// How far the map of one of graph().edges reaches outside of the value that it reads, per side.
  [[nodiscard]] Halo outside(std::int64_t row, std::int64_t column, std::size_t edge) const;
  /// What the tile reads of an input beyond the share of it that its core stands on, per side: core positions
  /// times their stride, and for the last tiles all behind.
  [[nodiscard]] Halo halo(std::int64_t row, std::int64_t column, std::size_t input) const;
  [[nodiscard]] Halo halo(std::int64_t row, std::int64_t column) const {
    return halo(row, column, inputs_.front());
  }

  /// Work of one image's tile, all values that the stage makes.
  [[nodiscard]] double flops(std::int64_t row, std::int64_t column) const;
  [[nodiscard]] LayerWork value_work(std::size_t value) const;
  /// Work of one image over all tiles, and the part of it that halos make tiles repeat.
  [[nodiscard]] double flops() const;
  [[nodiscard]] double recomputed_flops() const;

 private:
  void check_output(std::size_t value) const;

  std::int64_t number_;
  std::vector<std::size_t> numbers_;  // per value
  GraphGeometry graph_;
  std::vector<PlaneStride> strides_;  // per value
  std::vector<std::size_t> inputs_;
  std::vector<std::size_t> outputs_;
  std::size_t tiling_ = 0;
  std::vector<std::size_t> made_;
  std::vector<AxisTiles> axes_;  // rows, columns
};

/// All stages of a graph, in the order in which they run.
/// Throws ShapeError when an edge does not make its value's extent;
/// when values other than sources are not made exactly once, or read before their stage or without being an
/// output; when a stage has no outputs, or is not cut on one of them; when a patch is below 1x1; or when a
/// stage, row or column does not fit a TileKey.
[[nodiscard]] std::vector<StagePlan> make_plan(const GraphGeometry& graph,
                                               std::span<const StageValues> stages, const PatchSpec& patch);

}  // namespace halotile
