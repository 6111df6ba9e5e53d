// The patcher: cuts each stage's output map into tiles and works out what every layer of every tile must
// compute and read. Pure geometry, made before anything runs; it never sees data.
//
// Rows and columns are independent, so a stage stores one list of needed intervals per tile row and one per
// tile column; a tile's rectangles are their products.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "patching/axis_graph.hpp"
#include "patching/tile_key.hpp"

namespace halotile {

/// What the plan must know of one spatial layer.
struct LayerGeometry {
  std::string name;
  Window window;
  Extent2 input;
  Extent2 output;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  double flops_per_position = 0;  ///< work of all channels of one output position of one image
};

/// How a stage's output map is cut.
struct PatchSpec {
  enum class Kind : std::uint8_t { whole, size, grid };
  Kind kind = Kind::whole;
  /// size: patch edge in image pixels; grid: tiles per stage. At least 1x1. Unused for whole.
  Extent2 value;

  bool operator==(const PatchSpec&) const = default;
};

/// Layers [first, last) that a tile passes through before its core is placed.
struct StageRange {
  std::size_t first = 0;
  std::size_t last = 0;

  bool operator==(const StageRange&) const = default;
};

/// One layer's work over all tiles of a stage, for one image.
struct LayerWork {
  std::int64_t computed = 0;  ///< output positions computed, summed over tiles
  std::int64_t distinct = 0;  ///< output positions that at least one tile computes
  /// Share of the computed positions that another tile computes too: 1 - distinct / computed.
  [[nodiscard]] double recomputed_share() const {
    return computed == 0 ? 0 : 1 - static_cast<double>(distinct) / static_cast<double>(computed);
  }
};

/// The tiles of one stage.
class StagePlan {
 public:
  /// `layers` are the stage's own; `stride_to_output` is the image pixels per position of its output map (at
  /// least 1). Throws ShapeError when there are more tile rows or columns than a TileKey holds.
  StagePlan(StageRange range, std::vector<LayerGeometry> layers, const PatchSpec& patch,
            Extent2 stride_to_output);

  [[nodiscard]] StageRange range() const { return range_; }
  [[nodiscard]] const std::vector<LayerGeometry>& layers() const { return layers_; }
  /// Tiles down and across.
  [[nodiscard]] Extent2 grid() const;
  [[nodiscard]] Extent2 input_extent() const { return layers_.front().input; }
  [[nodiscard]] Extent2 output_extent() const { return layers_.back().output; }

  /// What tile (row, column) owns of the stage's output map.
  [[nodiscard]] Rect core(std::int64_t row, std::int64_t column) const {
    return needed(row, column, layers_.size());
  }
  /// What it needs of the map before the stage's layer `layer`; layer == layers().size() gives the core. May
  /// be empty.
  [[nodiscard]] Rect needed(std::int64_t row, std::int64_t column, std::size_t layer) const;
  /// How far the windows of `layer` reach outside the image for this tile, per side.
  [[nodiscard]] Halo outside(std::int64_t row, std::int64_t column, std::size_t layer) const;
  /// What it reads of the stage's input beyond the share of the input its core stands on, per side.
  [[nodiscard]] Halo halo(std::int64_t row, std::int64_t column) const;
  /// Work of one image's tile, all layers.
  [[nodiscard]] double flops(std::int64_t row, std::int64_t column) const;

  [[nodiscard]] LayerWork work(std::size_t layer) const;
  /// Work of one image over all tiles, and the part of it that halos make tiles repeat.
  [[nodiscard]] double flops() const;
  [[nodiscard]] double recomputed_flops() const;

 private:
  StageRange range_;
  std::vector<LayerGeometry> layers_;
  std::vector<std::vector<Interval>> rows_;  // per tile row, per layer boundary
  std::vector<std::vector<Interval>> cols_;
};

/// All stages of a chain of spatial layers.
/// Throws ShapeError when the ranges do not cover the layers in order without gaps, when a patch is below
/// 1x1, or when a stage, row or column does not fit a TileKey.
[[nodiscard]] std::vector<StagePlan> make_plan(std::span<const LayerGeometry> layers,
                                               std::span<const StageRange> stages, const PatchSpec& patch);

}  // namespace halotile
