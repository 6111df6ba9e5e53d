#include "kernels/engines/engine.hpp"

#include <vector>

#include "patching/error.hpp"

namespace halotile {
namespace {

class OneByOne final : public TileStep {
 public:
  explicit OneByOne(std::span<const TileCall> calls) : calls_(calls.begin(), calls.end()) {}
  void run(Stream&) override {
    for (const TileCall& call : calls_) call.operation->run(call.in, call.out, call.context);
  }

 private:
  std::vector<TileCall> calls_;
};

}  // namespace

std::unique_ptr<TileStep> Engine::tile_step(std::span<const TileCall> calls) {
  return std::make_unique<OneByOne>(calls);
}

std::unique_ptr<Operation> Engine::normalize(const std::array<float, 3>&, const std::array<float, 3>&) {
  throw UnsupportedError("engine " + std::string(name()) + " takes no 8-bit pixels");
}

std::unique_ptr<Operation> Engine::lrn_max_pool(const Lrn&, const Pool2d&, const MapGeometry&,
                                                const MapGeometry&) {
  throw UnsupportedError("engine " + std::string(name()) + " does not fuse LRN and pools");
}

std::unique_ptr<TileCopies> Engine::tile_copies(std::span<const TileCopy>) { return nullptr; }

std::unique_ptr<TileLedger> Engine::tile_ledger(const TileSet&) { return nullptr; }

std::optional<std::int64_t> Engine::differing(const ConstMapView&, const ConstMapView&) {
  return std::nullopt;
}

}  // namespace halotile
