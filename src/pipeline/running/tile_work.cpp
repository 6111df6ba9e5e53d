#include "pipeline/running/tile_work.hpp"

namespace halotile {

TileCall TileOperation::call(Stream& stream) const {
  RunContext context{stream, {scratch->data(), scratch->bytes}};
  context.first_image = first_image;
  std::array<ConstMapView, InputViews::capacity> views;
  for (std::size_t i = 0; i < in.size(); ++i) views.at(i) = in[i].view();
  return {operation, InputViews(std::span<const ConstMapView>(views).first(in.size())), out.view(), context};
}

void TileOperation::add_accesses(std::vector<Access>& to) const {
  for (const PlacedMap& map : in) to.push_back({map, false});
  to.push_back({out, true});
}

std::vector<Access> TileWork::accesses() const {
  std::vector<Access> all;
  work_.add_accesses(all);
  return all;
}

void TileWork::run(Stream& stream) {
  const TileCall call = work_.call(stream);
  call.operation->run({call.in.begin(), call.in.size()}, call.out, call.context);
}

void TilesWork::prepare(Engine& engine) {
  std::vector<TileCall> calls;
  for (const TileOperation& tile : tiles_) calls.push_back(tile.call(stream_));
  step_ = engine.tile_step(calls);
}

std::vector<Access> TilesWork::accesses() const {
  std::vector<Access> all;
  for (const TileOperation& tile : tiles_) tile.add_accesses(all);
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
