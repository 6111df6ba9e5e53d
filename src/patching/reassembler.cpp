#include "patching/reassembler.hpp"

#include "patching/error.hpp"

namespace halotile {

Reassembler::Reassembler(const StagePlan& plan, std::int64_t stage, std::int64_t images)
    : plan_(&plan), stage_(stage), images_(images), grid_(plan.grid()) {
  (void)TileKey{images - 1, stage, grid_.height - 1, grid_.width - 1}.pack();
  arrived_ = std::make_unique<std::atomic<bool>[]>(static_cast<std::size_t>(size()));
}

void Reassembler::reset() {
  for (std::int64_t i = 0; i < size(); ++i)
    arrived_[static_cast<std::size_t>(i)].store(false, std::memory_order_relaxed);
}

void Reassembler::accept(const TileKey& key, const Rect& core) {
  const bool ours = key.stage == stage_ && Interval{0, images_}.contains(key.image) &&
                    Interval{0, grid_.height}.contains(key.row) &&
                    Interval{0, grid_.width}.contains(key.column);
  if (!ours) {
    throw TileError("foreign tile (" + to_string(key) + "): stage " + std::to_string(stage_) + " has " +
                    to_string(grid_) + " tiles for each of " + std::to_string(images_) + " images");
  }
  const Rect expected = plan_->core(key.row, key.column);
  if (core != expected) {
    throw TileError("wrong-sized tile (" + to_string(key) + "): it brings " + to_string(core) +
                    ", its core is " + to_string(expected));
  }
  const auto index =
      static_cast<std::size_t>((key.image * grid_.height + key.row) * grid_.width + key.column);
  if (arrived_[index].exchange(true, std::memory_order_acq_rel)) {
    throw TileError("doubled tile (" + to_string(key) + "): it was placed before");
  }
}

void Reassembler::finish() const {
  std::int64_t missing = 0;
  std::int64_t first = -1;
  for (std::int64_t i = 0; i < size(); ++i) {
    if (arrived_[static_cast<std::size_t>(i)].load(std::memory_order_acquire)) continue;
    if (missing++ == 0) first = i;
  }
  if (missing == 0) return;
  const TileKey key{first / grid_.area(), stage_, first / grid_.width % grid_.height, first % grid_.width};
  throw TileError("missing tile (" + to_string(key) + "): " + std::to_string(missing) + " of " +
                  std::to_string(size()) + " tiles of the stage never came");
}

}  // namespace halotile
