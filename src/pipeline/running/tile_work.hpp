// Work on tiles: an operation on a tile's views, the same operation on several tiles at once, and the account
// of a tile that has come.
#pragma once

#include <memory>
#include <vector>

#include "patching/reassembler.hpp"
#include "pipeline/running/program.hpp"

namespace halotile {

/// One operation on one tile, or on one block of a layer behind the feature maps.
struct TileOperation {
  Operation* operation = nullptr;
  std::vector<PlacedMap> in;
  PlacedMap out;
  const Place* scratch = nullptr;  ///< the operation's own
  std::int64_t first_image = 0;    ///< number in the batch of the views' first image

  /// With the addresses of now.
  [[nodiscard]] TileCall call(Stream& stream) const;
  void add_accesses(std::vector<Access>& to) const;
};

class TileWork final : public Work {
 public:
  explicit TileWork(TileOperation work) : work_(std::move(work)) {}
  void run(Stream& stream) override;
  [[nodiscard]] std::vector<Access> accesses() const override;

 private:
  TileOperation work_;
};

/// Several tiles that take a step together, between addresses that do not change.
class TilesWork final : public Work {
 public:
  /// `stream`: the one that the step will run on.
  TilesWork(std::vector<TileOperation> tiles, Stream& stream) : tiles_(std::move(tiles)), stream_(stream) {}
  void prepare(Engine& engine) override;
  void run(Stream& stream) override { step_->run(stream); }
  [[nodiscard]] std::vector<Access> accesses() const override;

 private:
  std::vector<TileOperation> tiles_;
  Stream& stream_;
  std::unique_ptr<TileStep> step_;
};

/// A tile of each of a chunk's images is there: counts them in by the key that the tile got when it was cut.
class AcceptWork final : public Work {
 public:
  AcceptWork(Reassembler& reassembler, const TileKey& key, std::int64_t images, const Rect& core)
      : reassembler_(reassembler), key_(key), images_(images), core_(core) {}
  void run(Stream& stream) override;

 private:
  Reassembler& reassembler_;
  TileKey key_;
  std::int64_t images_;
  Rect core_;
};

}  // namespace halotile
