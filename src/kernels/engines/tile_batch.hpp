// Packed tiles of a stage as a whole, on devices that cut and place all of them at once.
#pragma once

#include <cstdint>

#include "kernels/devices/stream.hpp"
#include "kernels/maps/map.hpp"
#include "patching/tile_key.hpp"

namespace halotile {

/// One rectangle to copy: `to.rect` must lie in `from.rect`; both of the same images, channels and element
/// type.
struct TileCopy {
  ConstMapView from;
  MapView to;
};

/// A prepared batch of such copies, between fixed addresses.
class TileCopies {
 public:
  virtual ~TileCopies() = default;
  virtual void run(Stream& stream) = 0;
};

/// The tiles that a ledger expects: all of one stage's grid, for the images [first_image, first_image +
/// images) of a batch.
struct TileSet {
  std::int64_t stage = 0;
  std::int64_t first_image = 0;
  std::int64_t images = 0;
  Extent2 grid;
  [[nodiscard]] std::int64_t size() const { return images * grid.area(); }
};

/// Keeps account, on the device, of a stage's packed tiles. Tile (row, column) of all images lies at one
/// place of the packed memory; its images' keys have the positions from (row * grid.width + column) * images
/// on.
class TileLedger {
 public:
  virtual ~TileLedger() = default;
  /// Forgets all keys: the next run.
  virtual void clear(Stream& stream) = 0;
  /// Tile (row, column) of all images is there.
  virtual void arrive(Stream& stream, std::int64_t row, std::int64_t column) = 0;
  /// Sorts the keys with their positions and compares them with those expected.
  virtual void check(Stream& stream) = 0;
  /// Throws TileError for the first tile that is missing, doubled, foreign or not in its place. When the
  /// check is through.
  virtual void finish() = 0;
};

}  // namespace halotile
