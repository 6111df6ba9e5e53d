#include "pipeline/running/tile_work.hpp"

namespace halotile {

TileCall TileOperation::call(Stream& stream) const {
  RunContext context{stream, {scratch->data(), scratch->bytes}};
  context.first_image = first_image;
  return {operation, in.view(), out.view(), context};
}

void TileWork::run(Stream& stream) {
  const TileCall call = work_.call(stream);
  call.operation->run(call.in, call.out, call.context);
}

void TilesWork::prepare(Engine& engine) {
  std::vector<TileCall> calls;
  for (const TileOperation& tile : tiles_) calls.push_back(tile.call(stream_));
  step_ = engine.tile_step(calls);
}

std::vector<Access> TilesWork::accesses() const {
  std::vector<Access> all;
  for (const TileOperation& tile : tiles_) {
    all.push_back({tile.in, false});
    all.push_back({tile.out, true});
  }
  return all;
}

void AcceptWork::run(Stream&) {
  TileKey key = key_;
  for (std::int64_t image = 0; image < images_; ++image) {
    key.image = key_.image + image;
    reassembler_.accept(key, core_);
  }
}

}  // namespace halotile
