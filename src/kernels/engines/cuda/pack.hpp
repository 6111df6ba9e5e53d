// Moving many tiles at once: packed tiles are gathered from a map, or their cores placed into one, by a
// single launch of a batched copy, whatever their number and sizes.
#pragma once

#include <span>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/tile_batch.hpp"

namespace halotile::cuda {

/// A prepared batch of copies in device memory; targets must not overlap each other or any source. The
/// addresses are fixed: run() can be repeated and captured in a graph.
class BatchedCopy final : public TileCopies {
 public:
  /// Uploads the list of contiguous stretches and allocates the copy's scratch. Blocks.
  /// Throws ShapeError for a target outside its source or of another kind.
  BatchedCopy(CudaDevice& device, std::span<const TileCopy> copies);
  /// Queues all copies on `stream`. Nothing for an empty batch. Not on two streams at the same time: the
  /// scratch is shared.
  void run(Stream& stream) override { run(cuda_stream(stream).handle()); }
  void run(cudaStream_t stream);
  [[nodiscard]] std::int64_t stretches() const { return stretches_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t stretches_ = 0;
  std::int64_t bytes_ = 0;
  Buffer list_;  // sources, targets, sizes
  Buffer scratch_;
};

/// Gathers tiles: `tiles[n]` receives its rectangle of `maps[n]`.
[[nodiscard]] BatchedCopy pack_tiles(CudaDevice& device, std::span<const ConstMapView> maps,
                                     std::span<const MapView> tiles);
/// Places tiles: the rectangle `cores[n]` (in whole-map coordinates) of `tiles[n]` goes into `maps[n]`.
[[nodiscard]] BatchedCopy place_tiles(CudaDevice& device, std::span<const ConstMapView> tiles,
                                      std::span<const Rect> cores, std::span<const MapView> maps);

}  // namespace halotile::cuda
