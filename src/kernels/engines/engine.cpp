#include "kernels/engines/engine.hpp"

#include <algorithm>
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

InputViews::InputViews(std::span<const ConstMapView> views) : count_(views.size()) {
  if (count_ > capacity) {
    throw ShapeError("an operation of " + std::to_string(count_) + " inputs; " + std::to_string(capacity) +
                     " are the most");
  }
  std::ranges::copy(views, views_.begin());
}

std::unique_ptr<Operation> Engine::prepare(const Op& op, std::span<const MapGeometry> in,
                                           const MapGeometry& out) {
  if (const std::string why = obstacle(op); !why.empty()) refuse(op, why);
  return make(op, in, out);
}

void Engine::refuse(const Op& op, const std::string& obstacle) const {
  throw UnsupportedError("engine " + std::string(name()) + ": " + std::string(name_of(op)) + ": " + obstacle);
}

std::unique_ptr<TileStep> Engine::tile_step(std::span<const TileCall> calls) {
  return std::make_unique<OneByOne>(calls);
}

std::unique_ptr<TileCopies> Engine::tile_copies(std::span<const TileCopy>) { return nullptr; }

std::unique_ptr<TileLedger> Engine::tile_ledger(const TileSet&) { return nullptr; }

std::optional<std::int64_t> Engine::differing(const ConstMapView&, const ConstMapView&) {
  return std::nullopt;
}

}  // namespace halotile
