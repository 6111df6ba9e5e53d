// Where the maps of a run and the tiles in flight lie in memory.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "kernels/maps/map.hpp"

namespace halotile {

/// Bytes rounded up so that what follows is aligned.
[[nodiscard]] constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

[[nodiscard]] inline std::size_t bytes_of(const MapGeometry& map) {
  return static_cast<std::size_t>(map.elements() * size_of(map.dtype));
}

/// A map of the whole batch, or of a chunk in its slot.
struct MapStore {
  MapShape shape;  ///< as it lies in memory
  DType dtype = DType::f32;
  bool whole_batch = true;
  std::size_t offset = 0;  ///< in the arena; for a chunk's map in its slot
};

struct MapPlan {
  std::size_t whole_bytes = 0;  ///< of all maps of the whole batch
  std::size_t slot_bytes = 0;   ///< of one slot: chunks' maps alternate between its halves
};

/// Gives every map its offset. Throws ShapeError on overflow.
[[nodiscard]] MapPlan place_maps(std::vector<MapStore>& maps, std::int64_t batch, std::int64_t sub_batch);

/// Where a stream keeps the tile it works on: the bytes of each part, one behind the other.
struct Scratch {
  std::array<std::size_t, 2> between{};  ///< intermediate maps, alternating
  std::size_t packed_in = 0;
  std::size_t packed_out = 0;
  std::size_t operation = 0;
  std::byte* base = nullptr;  ///< in the arena, or the pool's; null while operations are prepared

  [[nodiscard]] static std::size_t at_packed_in() { return 0; }
  [[nodiscard]] std::size_t at_packed_out() const { return aligned(packed_in); }
  [[nodiscard]] std::size_t at_between(std::size_t i) const {
    return at_packed_out() + aligned(packed_out) + (i == 0 ? 0 : aligned(between[0]));
  }
  [[nodiscard]] std::size_t at_operation() const { return at_between(1) + aligned(between[1]); }
  [[nodiscard]] std::size_t bytes() const { return at_operation() + aligned(operation); }
};

}  // namespace halotile
