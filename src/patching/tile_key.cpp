#include "patching/tile_key.hpp"

#include "patching/error.hpp"

namespace halotile {
namespace {

std::uint64_t field(std::int64_t value, int bits, const TileKey& key, const char* name) {
  if (value < 0 || value >= (std::int64_t{1} << bits)) {
    throw TileError("tile key (" + to_string(key) + "): the " + name + " does not fit in " +
                    std::to_string(bits) + " bits; use larger tiles or a smaller batch");
  }
  return static_cast<std::uint64_t>(value);
}

}  // namespace

std::uint64_t TileKey::pack() const {
  std::uint64_t packed = field(image, image_bits, *this, "image");
  packed = (packed << stage_bits) | field(stage, stage_bits, *this, "stage");
  packed = (packed << row_bits) | field(row, row_bits, *this, "row");
  return (packed << column_bits) | field(column, column_bits, *this, "column");
}

TileKey TileKey::unpack(std::uint64_t packed) {
  const auto take = [&packed](int bits) {
    const auto value = static_cast<std::int64_t>(packed & ((std::uint64_t{1} << bits) - 1));
    packed >>= bits;
    return value;
  };
  TileKey key;
  key.column = take(column_bits);
  key.row = take(row_bits);
  key.stage = take(stage_bits);
  key.image = take(image_bits);
  return key;
}

std::string to_string(const TileKey& key) {
  return "image " + std::to_string(key.image) + ", stage " + std::to_string(key.stage) + ", row " +
         std::to_string(key.row) + ", column " + std::to_string(key.column);
}

}  // namespace halotile
