// Keeps account of a stage's tiles by key: cores may come in any order and from any thread, and a map counts
// as rebuilt only when every tile came exactly once with exactly its core. Moving the values is the caller's
// business: a tile written in place and a packed tile that is copied are accounted alike.
#pragma once

#include <atomic>
#include <memory>

#include "patching/plan.hpp"

namespace halotile {

class Reassembler {
 public:
  /// For stage number `stage` of a plan and the images [0, images) of a batch. Keeps a reference to `plan`.
  Reassembler(const StagePlan& plan, std::int64_t stage, std::int64_t images);

  /// Forgets all tiles: the next batch. Not concurrently with accept.
  void reset();
  /// Counts a tile in. Throws TileError for a foreign key, a core that is not the one the plan gives this
  /// key, or a key that came before. Thread-safe; allocates only to throw.
  void accept(const TileKey& key, const Rect& core);
  /// Throws TileError naming the first missing tile and how many are missing.
  void finish() const;
  /// Tiles expected.
  [[nodiscard]] std::int64_t size() const { return images_ * grid_.area(); }

 private:
  const StagePlan* plan_;
  std::int64_t stage_;
  std::int64_t images_;
  Extent2 grid_;
  std::unique_ptr<std::atomic<bool>[]> arrived_;
};

}  // namespace halotile
