#include "patching/cuts.hpp"

#include <string>

#include "patching/error.hpp"

namespace halotile {
namespace {

// Before they are made: a map of millions of positions cut into single ones would fill the memory.
void check_count(std::int64_t count, int key_bits) {
  if (count <= std::int64_t{1} << key_bits) return;
  throw ShapeError(std::to_string(count) + " tiles along one axis of a stage do not fit a tile key of " +
                   std::to_string(key_bits) + " bits; use larger patches or a smaller grid");
}

}  // namespace

Cuts cut(std::int64_t size, AxisPatch patch, Ratio stride, int key_bits) {
  Cuts cuts{0};
  switch (patch.kind) {
    case PatchSpec::Kind::whole:
      cuts.push_back(size);
      break;
    case PatchSpec::Kind::size: {
      const std::int64_t edge = std::max<std::int64_t>(1, floor_of(patch.value, inverse(stride)));
      check_count((size - 1) / edge + 1, key_bits);
      while (cuts.back() < size) cuts.push_back(size - cuts.back() > edge ? cuts.back() + edge : size);
      break;
    }
    case PatchSpec::Kind::grid: {
      const std::int64_t count = std::min(patch.value, size);
      check_count(count, key_bits);
      for (std::int64_t i = 1; i <= count; ++i)
        cuts.push_back(i * (size / count) + std::min(i, size % count));
      break;
    }
  }
  return cuts;
}

Cuts cut_along(const Cuts& tiling, Ratio tiling_stride, std::int64_t size, Ratio stride) {
  // floor(p * stride / tiling_stride) >= c where p is at least c * tiling_stride / stride.
  const Ratio step = multiply(tiling_stride, inverse(stride), "a ratio of strides");
  Cuts cuts;
  for (const std::int64_t c : tiling) cuts.push_back(std::min(size, ceil_of(c, step)));
  cuts.back() = size;
  return cuts;
}

Interval tiles_meeting(const Cuts& cuts, Interval interval) {
  const Interval inside = intersect(interval, {cuts.front(), cuts.back()});
  if (inside.empty()) return {};
  const auto owner = [&](std::int64_t position) {  // the last tile that begins there or before
    return std::upper_bound(cuts.begin(), cuts.end(), position) - cuts.begin() - 1;
  };
  return {owner(inside.begin), owner(inside.end - 1) + 1};
}

}  // namespace halotile
