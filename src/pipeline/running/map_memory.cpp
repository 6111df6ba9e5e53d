#include "pipeline/running/map_memory.hpp"

#include <algorithm>

namespace halotile {

MapPlan place_maps(std::vector<MapStore>& maps, std::int64_t batch, std::int64_t sub_batch) {
  MapPlan plan;
  std::array<std::size_t, 2> halves{};
  for (std::size_t m = 0; m < maps.size(); ++m) {
    MapStore& map = maps[m];
    const std::int64_t images = map.whole_batch ? batch : sub_batch;
    const std::int64_t bytes =
        checked_multiply(checked_multiply(map.shape.elements(), size_of(map.dtype), "the bytes of a map"),
                         images, "the bytes of a map");
    if (map.whole_batch) {
      map.offset = plan.whole_bytes;
      plan.whole_bytes += aligned(static_cast<std::size_t>(bytes));
    } else {
      halves[m % 2] = std::max(halves[m % 2], aligned(static_cast<std::size_t>(bytes)));
    }
  }
  for (std::size_t m = 0; m < maps.size(); ++m) {
    if (!maps[m].whole_batch) maps[m].offset = m % 2 == 0 ? 0 : halves[0];
  }
  plan.slot_bytes = halves[0] + halves[1];
  return plan;
}

}  // namespace halotile
