// Tile keys: how they pack, order and print, and where their limits are.
#include "patching/tile_key.hpp"

#include <gtest/gtest.h>

#include <random>
#include <unordered_set>

#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::uint64_t key_seed = 20240501;

constexpr TileKey largest{
    (std::int64_t{1} << TileKey::image_bits) - 1, (std::int64_t{1} << TileKey::stage_bits) - 1,
    (std::int64_t{1} << TileKey::row_bits) - 1, (std::int64_t{1} << TileKey::column_bits) - 1};

TileKey random_key(std::mt19937_64& random) {
  // Small ranges, so that equal parts and therefore all levels of the order occur.
  const auto part = [&](std::int64_t limit) {
    const std::int64_t range = random() % 2 == 0 ? std::int64_t{3} : limit + 1;
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(range));
  };
  return {part(largest.image), part(largest.stage), part(largest.row), part(largest.column)};
}

TEST(TileKey, PacksMostSignificantFirst) {
  EXPECT_EQ((TileKey{0, 0, 0, 1}).pack(), 1U);
  EXPECT_EQ((TileKey{0, 0, 1, 0}).pack(), std::uint64_t{1} << 18);
  EXPECT_EQ((TileKey{0, 1, 0, 0}).pack(), std::uint64_t{1} << 36);
  EXPECT_EQ((TileKey{1, 0, 0, 0}).pack(), std::uint64_t{1} << 44);
  EXPECT_EQ((TileKey{}).pack(), 0U);
  EXPECT_EQ(largest.pack(), ~std::uint64_t{0});
}

TEST(TileKey, PackedKeysOrderAsKeysDo) {
  SCOPED_TRACE("seed " + std::to_string(key_seed));
  std::mt19937_64 random(key_seed);
  for (int i = 0; i < 20000; ++i) {
    const TileKey a = random_key(random);
    const TileKey b = random_key(random);
    ASSERT_EQ(a <=> b, a.pack() <=> b.pack()) << to_string(a) << " / " << to_string(b);
    ASSERT_EQ(a == b, a.pack() == b.pack()) << to_string(a) << " / " << to_string(b);
    ASSERT_EQ(TileKey::unpack(a.pack()), a) << to_string(a);
  }
}

TEST(TileKey, OrdersByImageStageRowColumn) {
  EXPECT_LT((TileKey{0, 9, 9, 9}), (TileKey{1, 0, 0, 0}));
  EXPECT_LT((TileKey{1, 0, 9, 9}), (TileKey{1, 1, 0, 0}));
  EXPECT_LT((TileKey{1, 1, 0, 9}), (TileKey{1, 1, 1, 0}));
  EXPECT_LT((TileKey{1, 1, 1, 0}), (TileKey{1, 1, 1, 1}));
}

TEST(TileKey, RefusesWhatDoesNotFit) {
  struct Case {
    std::int64_t TileKey::*part;
    std::string name;
    std::string bits;
  };
  const Case cases[] = {{&TileKey::image, "image", "20 bits"},
                        {&TileKey::stage, "stage", "8 bits"},
                        {&TileKey::row, "row", "18 bits"},
                        {&TileKey::column, "column", "18 bits"}};
  for (const Case& c : cases) {
    for (const std::int64_t value : {std::int64_t{-1}, largest.*c.part + 1, INT64_MIN, INT64_MAX}) {
      SCOPED_TRACE(c.name + " = " + std::to_string(value));
      TileKey key;
      key.*c.part = value;
      try {
        (void)key.pack();
        FAIL() << "not refused";
      } catch (const TileError& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("the " + c.name + " does not fit in " + c.bits), std::string::npos) << message;
        EXPECT_NE(message.find(to_string(key)), std::string::npos) << message;
        EXPECT_NE(message.find("use larger tiles or a smaller batch"), std::string::npos) << message;
      }
    }
  }
}

TEST(TileKey, Prints) { EXPECT_EQ(to_string(TileKey{4, 3, 2, 1}), "image 4, stage 3, row 2, column 1"); }

TEST(TileKey, HashesSpread) {
  std::unordered_set<std::size_t> hashes;
  std::unordered_set<TileKey> keys;
  for (std::int64_t image = 0; image < 8; ++image) {
    for (std::int64_t stage = 0; stage < 8; ++stage) {
      for (std::int64_t row = 0; row < 16; ++row) {
        for (std::int64_t column = 0; column < 16; ++column) {
          hashes.insert(std::hash<TileKey>{}({image, stage, row, column}));
          keys.insert({image, stage, row, column});
        }
      }
    }
  }
  EXPECT_EQ(keys.size(), 8U * 8 * 16 * 16);
  EXPECT_GT(hashes.size(), keys.size() * 99 / 100);
}

}  // namespace
}  // namespace halotile
