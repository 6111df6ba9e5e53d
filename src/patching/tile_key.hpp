// Where a tile belongs: the key that the patcher gives it and the reassembler places it by.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace halotile {

/// Image of the batch, stage of the plan, row and column in the stage's grid of tiles. Ordered in that order.
struct TileKey {
  std::int64_t image = 0;
  std::int64_t stage = 0;
  std::int64_t row = 0;
  std::int64_t column = 0;

  auto operator<=>(const TileKey&) const = default;

  static constexpr int image_bits = 20;
  static constexpr int stage_bits = 8;
  static constexpr int row_bits = 18;
  static constexpr int column_bits = 18;

  /// Packs into 64 bits, most significant first: image, stage, row, column; packed keys order as keys do.
  /// Throws TileError when a part does not fit its bits.
  [[nodiscard]] std::uint64_t pack() const;
  [[nodiscard]] static TileKey unpack(std::uint64_t packed);
};

/// "image 0, stage 2, row 1, column 3".
[[nodiscard]] std::string to_string(const TileKey& key);

}  // namespace halotile

template <>
struct std::hash<halotile::TileKey> {
  std::size_t operator()(const halotile::TileKey& key) const noexcept {
    const auto mix = [](std::size_t seed, std::int64_t value) {
      return (seed ^ static_cast<std::size_t>(value)) * 0x9e3779b97f4a7c15ULL;
    };
    return mix(mix(mix(mix(0, key.image), key.stage), key.row), key.column);
  }
};
