#include "pipeline/running/run_maps.hpp"

#include <algorithm>

namespace halotile {
namespace {

std::size_t bytes_of(const MapStore& map, std::int64_t images) {
  const std::int64_t image = checked_multiply(map.shape.elements(), size_of(map.dtype), "the bytes of a map");
  return static_cast<std::size_t>(checked_multiply(image, images, "the bytes of a map"));
}

}  // namespace

Space& Arena::add(std::size_t bytes) { return spaces_.emplace_back(Space{nullptr, bytes}); }

std::size_t Arena::bytes() const {
  std::size_t sum = 0;
  for (const Space& space : spaces_) sum += aligned(space.bytes);
  return sum;
}

void Arena::allocate(Device& device) {
  memory_ = device.allocate(bytes());
  std::byte* next = memory_.data();
  for (Space& space : spaces_) {
    space.base = next;
    next += aligned(space.bytes);
  }
}

RunMaps::RunMaps(std::vector<MapStore> maps, std::int64_t batch, std::vector<Interval> chunks,
                 std::int64_t largest, std::int64_t slots, bool pool, Arena& arena)
    : maps_(std::move(maps)),
      batch_(batch),
      chunks_(std::move(chunks)),
      slots_(static_cast<std::size_t>(slots)),
      pool_(pool),
      whole_(maps_.size()),
      slot_places_(slots_ * maps_.size()) {
  Space& whole = arena.add();
  std::vector<Lifetime> lifetimes;
  for (std::size_t m = 0; m < maps_.size(); ++m) {
    const MapStore& map = maps_[m];
    const std::size_t bytes = bytes_of(map, map.whole_batch ? batch_ : largest);
    lifetimes.push_back({map.whole_batch ? 0 : bytes, map.first, map.last});
    if (!map.whole_batch) continue;
    whole_[m] = {&whole, whole.bytes, bytes};
    whole.bytes += aligned(bytes);
  }
  if (pool_) {
    pooled_.resize(maps_.size() * chunks_.size());
    for (const Space& space : pooled_) pool_places_.push_back({&space, 0, 0});
    return;
  }
  const MemoryPlan plan = plan_memory(lifetimes);
  for (std::size_t slot = 0; slot < slots_; ++slot) {
    const Space& space = arena.add(plan.bytes);
    for (std::size_t m = 0; m < maps_.size(); ++m)
      slot_places_[slot * maps_.size() + m] = {&space, plan.offsets[m], lifetimes[m].bytes};
  }
}

PlacedMap RunMaps::dense(std::size_t map, std::int64_t images, const Place& place) const {
  const MapShape& shape = maps_[map].shape;
  return {dense_geometry(maps_[map].dtype, images, shape.channels, Rect::whole(shape.extent), shape.extent),
          &place, 0};
}

PlacedMap RunMaps::whole(std::size_t map) const { return dense(map, batch_, whole_[map]); }

PlacedMap RunMaps::of_chunk(std::size_t map, std::size_t chunk) const {
  const Interval images = chunks_[chunk];
  if (maps_[map].whole_batch) {
    const PlacedMap all = whole(map);
    return subview(all, images, all.rect);
  }
  return dense(
      map, images.size(),
      pool_ ? pool_places_[map * chunks_.size() + chunk] : slot_places_[chunk % slots_ * maps_.size() + map]);
}

bool RunMaps::overlap(std::size_t a, std::size_t b) const {
  if (pool_ || maps_[a].whole_batch || maps_[b].whole_batch) return false;
  const Place& one = slot_places_[a];
  const Place& other = slot_places_[b];
  return one.offset < other.offset + other.bytes && other.offset < one.offset + one.bytes;
}

}  // namespace halotile
