#include "kernels/engines/cuda/cuda_engine.hpp"

#include <algorithm>
#include <vector>

#include "kernels/engines/cuda/compare.hpp"
#include "kernels/engines/cuda/pack.hpp"
#include "kernels/engines/cuda/tile_ledger.hpp"

namespace halotile {
namespace {

class TogetherStep final : public TileStep {
 public:
  explicit TogetherStep(std::span<const TileCall> calls)
      : operation_(static_cast<const TilesOperation&>(*calls.front().operation)) {
    for (const TileCall& call : calls) tiles_.push_back({call.in, call.out});
  }
  void run(Stream& stream) override { operation_.launch(tiles_, cuda_stream(stream).handle()); }

 private:
  const TilesOperation& operation_;  // the layer's, whichever tile it was made for
  std::vector<cuda::TileMaps> tiles_;
};

}  // namespace

void TilesOperation::run(const ConstMapView& in, const MapView& out, const RunContext& context) {
  const cuda::TileMaps tile{in, out};
  launch({&tile, 1}, cuda_stream(context.stream).handle());
}

CudaEngine::~CudaEngine() {
  cudaSetDevice(device_.index());
  cudaDeviceSynchronize();
}

std::unique_ptr<Operation> CudaEngine::pool2d(const Pool2d& layer, const MapGeometry&, const MapGeometry&) {
  return std::make_unique<TilesOperation>(
      [layer](std::span<const cuda::TileMaps> tiles, cudaStream_t stream) {
        cuda::pool2d(layer, tiles, stream);
      });
}

std::unique_ptr<Operation> CudaEngine::lrn(const Lrn& layer, const MapGeometry&, const MapGeometry&) {
  return launch_operation([layer](const ConstMapView& in, const MapView& out, cudaStream_t stream) {
    cuda::lrn(layer, in, out, stream);
  });
}

std::unique_ptr<Operation> CudaEngine::relu(const MapGeometry&, const MapGeometry&) {
  return launch_operation(cuda::relu);
}

std::unique_ptr<Operation> CudaEngine::softmax(const MapGeometry&, const MapGeometry&) {
  return launch_operation(cuda::softmax);
}

std::unique_ptr<Operation> CudaEngine::copy(const MapGeometry&, const MapGeometry&) {
  return std::make_unique<TilesOperation>(cuda::copy_maps);
}

std::unique_ptr<Operation> CudaEngine::normalize(const std::array<float, 3>& mean,
                                                 const std::array<float, 3>& stddev) {
  return launch_operation([normalization = cuda::PixelNormalization(mean, stddev)](
                              const ConstMapView& in, const MapView& out, cudaStream_t stream) {
    cuda::normalize(normalization, in, out, stream);
  });
}

std::unique_ptr<TileCopies> CudaEngine::tile_copies(std::span<const TileCopy> copies) {
  device_.make_current();
  return std::make_unique<cuda::BatchedCopy>(device_, copies);
}

std::unique_ptr<TileLedger> CudaEngine::tile_ledger(const TileSet& tiles) {
  device_.make_current();
  return cuda::make_tile_ledger(device_, tiles);
}

std::unique_ptr<TileStep> CudaEngine::tile_step(std::span<const TileCall> calls) {
  const auto takes_tiles = [](const TileCall& call) {
    return dynamic_cast<const TilesOperation*>(call.operation) != nullptr;
  };
  if (!std::ranges::all_of(calls, takes_tiles)) return Engine::tile_step(calls);
  return std::make_unique<TogetherStep>(calls);
}

std::optional<std::int64_t> CudaEngine::differing(const ConstMapView& a, const ConstMapView& b) {
  const CudaStream stream(device_.index());
  return cuda::compare_maps(a, b, stream.handle()).differing;
}

}  // namespace halotile
