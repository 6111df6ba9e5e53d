// Where things lie: spaces of memory, places in them, and maps in places. Made before there is any memory: a
// place learns its bytes while instructions are made, its offset when all are, its address when memory is
// allocated, for good (arena) or in every run (pool).
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/maps/map.hpp"

namespace halotile {

/// Bytes rounded up so that what follows is aligned.
[[nodiscard]] constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

[[nodiscard]] inline std::size_t bytes_of(const MapGeometry& map) {
  return static_cast<std::size_t>(map.elements() * size_of(map.dtype));
}

/// A stretch of one device's memory that is there as a whole or not at all.
struct Space {
  std::byte* base = nullptr;  ///< null while it is not there
  std::size_t bytes = 0;
};

/// A stretch of a space.
struct Place {
  const Space* space = nullptr;
  std::size_t offset = 0;
  std::size_t bytes = 0;

  /// Does not touch it where there is room: streams may be looking.
  void hold(std::size_t needed) {
    if (needed > bytes) bytes = needed;
  }
  [[nodiscard]] std::byte* data() const { return space->base == nullptr ? nullptr : space->base + offset; }
};

/// A map in a place, or a part of one.
struct PlacedMap : MapGeometry {
  const Place* place = nullptr;
  std::int64_t first = 0;  ///< elements of the place before the view's data

  /// Without data while the place has no memory.
  [[nodiscard]] MapView view() const {
    MapView view{*this, place->data()};
    if (view.data != nullptr) view.data = static_cast<std::byte*>(view.data) + first * size_of(dtype);
    return view;
  }
};

/// As subview() of views.
[[nodiscard]] inline PlacedMap subview(const PlacedMap& map, Interval images, Rect rect) {
  PlacedMap part = map;
  if (!rect.empty()) part.first += map.offset(images.begin, rect.rows.begin, rect.cols.begin);
  part.images = images.size();
  part.rect = rect;
  return part;
}

/// Some channels of a map.
[[nodiscard]] inline PlacedMap channels_of(const PlacedMap& map, Interval channels) {
  PlacedMap part = map;
  part.first += channels.begin;
  part.channels = channels.size();
  return part;
}

}  // namespace halotile
