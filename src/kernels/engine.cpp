#include "kernels/engine.hpp"

#include "patching/error.hpp"

namespace halotile {

std::unique_ptr<Operation> Engine::normalize(const std::array<float, 3>&, const std::array<float, 3>&) {
  throw UnsupportedError("engine " + std::string(name()) + " takes no 8-bit pixels");
}

std::unique_ptr<TileCopies> Engine::tile_copies(std::span<const TileCopy>) { return nullptr; }

std::unique_ptr<TileLedger> Engine::tile_ledger(const TileSet&) { return nullptr; }

std::optional<std::int64_t> Engine::differing(const ConstMapView&, const ConstMapView&) {
  return std::nullopt;
}

}  // namespace halotile
