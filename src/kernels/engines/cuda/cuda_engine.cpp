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
    for (const TileCall& call : calls) tiles_.push_back({call.in.front(), call.out});
  }
  void run(Stream& stream) override { operation_.launch(tiles_, cuda_stream(stream).handle()); }

 private:
  const TilesOperation& operation_;  // the layer's, whichever tile it was made for
  std::vector<cuda::TileMaps> tiles_;
};

class BinaryOperation final : public Operation {
 public:
  explicit BinaryOperation(const Binary& layer) : layer_(layer) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override {
    cuda::binary(layer_, in[0], in[1], out, cuda_stream(context.stream).handle());
  }

 private:
  Binary layer_;
};

}  // namespace

void TilesOperation::run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) {
  const cuda::TileMaps tile{in.front(), out};
  launch({&tile, 1}, cuda_stream(context.stream).handle());
}

CudaEngine::~CudaEngine() {
  cudaSetDevice(device_.index());
  cudaDeviceSynchronize();
}

std::unique_ptr<Operation> CudaEngine::make(const Op& op, std::span<const MapGeometry>, const MapGeometry&) {
  using Made = std::unique_ptr<Operation>;
  return std::visit(
      Overloaded{
          [](const Pool2d& layer) -> Made {
            return std::make_unique<TilesOperation>(
                [layer](std::span<const cuda::TileMaps> tiles, cudaStream_t stream) {
                  cuda::pool2d(layer, tiles, stream);
                });
          },
          [](const Lrn& layer) -> Made {
            return launch_operation([layer](const ConstMapView& in, const MapView& out, cudaStream_t stream) {
              cuda::lrn(layer, in, out, stream);
            });
          },
          [](const Relu&) -> Made { return launch_operation(cuda::relu); },
          [](const LeakyRelu& layer) -> Made {
            return launch_operation([layer](const ConstMapView& in, const MapView& out, cudaStream_t stream) {
              cuda::leaky_relu(layer, in, out, stream);
            });
          },
          [](const Binary& layer) -> Made { return std::make_unique<BinaryOperation>(layer); },
          [](const Softmax&) -> Made { return launch_operation(cuda::softmax); },
          [](const Copy&) -> Made { return std::make_unique<TilesOperation>(cuda::copy_maps); },
          [](const Normalize& pixels) -> Made {
            return launch_operation([normalization = cuda::PixelNormalization(pixels.mean, pixels.stddev)](
                                        const ConstMapView& in, const MapView& out, cudaStream_t stream) {
              cuda::normalize(normalization, in, out, stream);
            });
          },
          [&](const auto&) -> Made { refuse(op, "is the engine's own"); }},
      op);
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
