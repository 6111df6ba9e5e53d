// The memory of a run on one device: spaces for whole maps and for what tiles keep between their steps, as
// one arena or, for maps of chunks and tiles, from a pool in the order of the streams.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "kernels/devices/device.hpp"
#include "pipeline/running/memory_plan.hpp"
#include "pipeline/running/placement.hpp"

namespace halotile {

/// Spaces that are allocated together, once, in the order in which they were asked for.
class Arena {
 public:
  /// A space of so many bytes, or of as many as it is given before allocate(). Stays where it is.
  [[nodiscard]] Space& add(std::size_t bytes = 0);
  /// Of all spaces so far. Throws ShapeError on overflow.
  [[nodiscard]] std::size_t bytes() const;
  /// Throws UnsupportedError when the device has not enough.
  void allocate(Device& device);
  [[nodiscard]] const Buffer& memory() const { return memory_; }

 private:
  std::deque<Space> spaces_;
  Buffer memory_;
};

/// One map of the network: of the whole batch, or of a chunk of images at a time.
struct MapStore {
  MapShape shape;  ///< as it lies in memory
  DType dtype = DType::f32;
  bool whole_batch = false;
  std::size_t first = 0;  ///< stage that writes it, and the last that reads it; of chunks' maps
  std::size_t last = 0;
};

/// Whole maps in memory. Those of chunks lie in slots, chunk c in slot c % slots, where maps share memory
/// whose lifetimes do not meet; or each has a space of its own, from a pool.
class RunMaps {
 public:
  /// `largest`: images of the largest chunk. Adds its spaces to `arena`, whole maps first, the first map
  /// before all others. Throws ShapeError on overflow.
  RunMaps(std::vector<MapStore> maps, std::int64_t batch, std::vector<Interval> chunks, std::int64_t largest,
          std::int64_t slots, bool pool, Arena& arena);

  [[nodiscard]] const MapStore& operator[](std::size_t map) const { return maps_[map]; }
  [[nodiscard]] std::size_t size() const { return maps_.size(); }
  [[nodiscard]] const std::vector<Interval>& chunks() const { return chunks_; }
  [[nodiscard]] std::size_t slots() const { return slots_; }

  /// A map that has memory for the whole batch.
  [[nodiscard]] PlacedMap whole(std::size_t map) const;
  /// A chunk's part of any map.
  [[nodiscard]] PlacedMap of_chunk(std::size_t map, std::size_t chunk) const;
  /// Whether the two share memory of a slot.
  [[nodiscard]] bool overlap(std::size_t a, std::size_t b) const;

  /// With a pool: the space of a chunk's map.
  [[nodiscard]] Space& pooled(std::size_t map, std::size_t chunk) {
    return pooled_[map * chunks_.size() + chunk];
  }
  [[nodiscard]] std::span<Space> pooled() { return pooled_; }

 private:
  [[nodiscard]] PlacedMap dense(std::size_t map, std::int64_t images, const Place& place) const;

  std::vector<MapStore> maps_;
  std::int64_t batch_;
  std::vector<Interval> chunks_;
  std::size_t slots_;
  bool pool_;
  std::vector<Place> whole_;        // per map; of chunks' maps unused
  std::vector<Place> slot_places_;  // per slot, per map
  std::vector<Space> pooled_;       // per map, per chunk
  std::vector<Place> pool_places_;  // likewise
};

}  // namespace halotile
