// Where the tiles of a stage begin on a map, along one axis.
#pragma once

#include <vector>

#include "patching/geometry.hpp"
#include "patching/ratio.hpp"

namespace halotile {

/// How a stage's tiling value is cut.
struct PatchSpec {
  enum class Kind : std::uint8_t { whole, size, grid };
  Kind kind = Kind::whole;
  /// size: patch edge in image pixels; grid: tiles per stage. At least 1x1. Unused for whole.
  Extent2 value;

  bool operator==(const PatchSpec&) const = default;
};

/// Tile i owns [cuts[i], cuts[i + 1]) of a map: ascending from 0 to the map's size, so that every position is
/// owned by exactly one tile. A tile may own nothing.
using Cuts = std::vector<std::int64_t>;

[[nodiscard]] inline Interval owned(const Cuts& cuts, std::int64_t tile) {
  const auto t = static_cast<std::size_t>(tile);
  return {cuts.at(t), cuts.at(t + 1)};
}

/// One axis of a PatchSpec.
struct AxisPatch {
  PatchSpec::Kind kind = PatchSpec::Kind::whole;
  std::int64_t value = 1;
};

/// Cuts a map of `size` positions, each of which stands for `stride` image pixels: into pieces of patch.value
/// pixels (at least one position), or into patch.value pieces as even as they can be, but none empty. Throws
/// ShapeError when there are more pieces than 2^key_bits.
[[nodiscard]] Cuts cut(std::int64_t size, AxisPatch patch, Ratio stride, int key_bits);

/// Cuts another map of `size` positions along with one that is cut by `tiling`, so that tiles own what stands
/// where their cores stand: position p belongs to the tile that owns position floor(p * stride /
/// tiling_stride), those behind the last to the last.
[[nodiscard]] Cuts cut_along(const Cuts& tiling, Ratio tiling_stride, std::int64_t size, Ratio stride);

/// First to last tile that owns positions of `interval`; {} when none does. Tiles between that own nothing
/// are counted in.
[[nodiscard]] Interval tiles_meeting(const Cuts& cuts, Interval interval);

}  // namespace halotile
