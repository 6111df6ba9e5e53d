// One launch for several tiles of a layer: the kernel takes the parameters of each by value, and its blocks
// lie in `z` tile by tile. A tile may need fewer blocks than another of the launch: those beyond its own end
// at once. For nvcc only.
#pragma once

#include <span>

#include "kernels/engines/cuda/device_map.cuh"

namespace halotile::cuda {

/// Tiles of one launch, of the 4 KiB that any launch may pass.
template <typename P>
inline constexpr int tiles_at_once = 4000 / static_cast<int>(sizeof(P));

/// The parameters of `most` tiles. A kernel for one tile, most = 1, indexes nothing.
template <typename P, int most>
struct TileParameters {
  static constexpr bool several = most > 1;
  P tile[most];

  /// The calling block's.
  [[nodiscard]] __device__ __forceinline__ const P& here() const { return tile[several ? blockIdx.z : 0]; }
};

/// Calls launch(parameters, count) for `tiles` in groups, as large as a launch takes; make(tile, P&) fills
/// the parameters and says whether the tile has anything to do. `P` holds plain data.
template <typename P, typename Tile, typename Make, typename Launch>
void for_tile_groups(std::span<const Tile> tiles, const Make& make, const Launch& launch) {
  if (tiles.size() == 1) {
    TileParameters<P, 1> one{};
    if (make(tiles.front(), one.tile[0])) launch(one, 1);
    return;
  }
  TileParameters<P, tiles_at_once<P>> group{};
  int count = 0;
  for (const Tile& tile : tiles) {
    P& place = group.tile[count];
    place = P{};
    if (!make(tile, place)) continue;
    if (++count < tiles_at_once<P>) continue;
    launch(group, count);
    count = 0;
  }
  if (count > 0) launch(group, count);
}

}  // namespace halotile::cuda
