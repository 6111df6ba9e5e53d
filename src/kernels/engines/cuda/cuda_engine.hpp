// What the engines of CUDA devices share: everything but convolutions and fully connected layers.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/engine.hpp"

namespace halotile {

/// An operation that needs nothing but its launcher: launch(in, out, cudaStream_t).
template <typename Launch>
class LaunchOperation final : public Operation {
 public:
  explicit LaunchOperation(Launch launch) : launch_(std::move(launch)) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override {
    launch_(in.front(), out, cuda_stream(context.stream).handle());
  }

 private:
  Launch launch_;
};

template <typename Launch>
[[nodiscard]] std::unique_ptr<Operation> launch_operation(Launch launch) {
  return std::make_unique<LaunchOperation<Launch>>(std::move(launch));
}

/// An operation whose launcher takes the tiles of a step together: launch(tiles, cudaStream_t).
class TilesOperation : public Operation {
 public:
  using Launch = std::function<void(std::span<const cuda::TileMaps>, cudaStream_t)>;
  explicit TilesOperation(Launch launch) : launch_(std::move(launch)) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override;
  void launch(std::span<const cuda::TileMaps> tiles, cudaStream_t stream) const { launch_(tiles, stream); }

 private:
  Launch launch_;
};

class CudaEngine : public Engine {
 public:
  /// Throws CudaError as CudaDevice does.
  explicit CudaEngine(int device) : device_(device) {}
  /// Waits for the device: kernels may still read what is given back next.
  ~CudaEngine() override;

  [[nodiscard]] Device& device() override { return device_; }
  [[nodiscard]] CudaDevice& cuda_device() { return device_; }

  [[nodiscard]] std::unique_ptr<TileCopies> tile_copies(std::span<const TileCopy> copies) override;
  [[nodiscard]] std::unique_ptr<TileLedger> tile_ledger(const TileSet& tiles) override;
  [[nodiscard]] std::unique_ptr<TileStep> tile_step(std::span<const TileCall> calls) override;
  [[nodiscard]] std::optional<std::int64_t> differing(const ConstMapView& a, const ConstMapView& b) override;

 protected:
  /// The operations whose kernels all engines share.
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override;

  CudaDevice device_;  // NOLINT: the engines' own
};

}  // namespace halotile
