// The account of packed tiles on the device.
#include <gtest/gtest.h>

#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/cuda/tile_ledger.hpp"
#include "patching/error.hpp"

namespace halotile::testing {
namespace {

constexpr TileSet tiles{3, 5, 4, {3, 2}};  // stage 3, images 5 to 8, 3 x 2 tiles

void arrive(TileLedger& ledger, const TileKey& without) {
  for (std::int64_t column = 0; column < tiles.grid.width; ++column) {
    for (std::int64_t row = tiles.grid.height - 1; row >= 0; --row) {
      if (row != without.row || column != without.column) ledger.arrive(stream(), row, column);
    }
  }
}

TEST(SmallTileLedger, AcceptsAllTilesInAnyOrder) {
  HALOTILE_NEEDS_GPU();
  const auto ledger = cuda::make_tile_ledger(device(), tiles);
  for (int run = 0; run < 3; ++run) {
    ledger->clear(stream());
    arrive(*ledger, {0, 0, -1, -1});
    ledger->check(stream());
    stream().synchronize();
    EXPECT_NO_THROW(ledger->finish());
  }
}

TEST(SmallTileLedger, NamesTheTileThatNeverCame) {
  HALOTILE_NEEDS_GPU();
  const auto ledger = cuda::make_tile_ledger(device(), tiles);
  for (const TileKey missing : {TileKey{0, 0, 0, 0}, TileKey{0, 0, 1, 1}, TileKey{0, 0, 2, 1}}) {
    ledger->clear(stream());
    arrive(*ledger, missing);
    ledger->check(stream());
    stream().synchronize();
    try {
      ledger->finish();
      FAIL() << "no error";
    } catch (const TileError& error) {
      const std::string key = to_string(TileKey{5, 3, missing.row, missing.column});
      EXPECT_NE(std::string(error.what()).find("missing tile (" + key + ")"), std::string::npos)
          << error.what();
    }
    ledger->clear(stream());
    arrive(*ledger, {0, 0, -1, -1});
    ledger->check(stream());
    stream().synchronize();
    EXPECT_NO_THROW(ledger->finish());
  }
}

TEST(SmallTileLedger, TilesOfTheRunBeforeDoNotCount) {
  HALOTILE_NEEDS_GPU();
  const auto ledger = cuda::make_tile_ledger(device(), tiles);
  arrive(*ledger, {0, 0, -1, -1});
  ledger->clear(stream());
  ledger->check(stream());
  stream().synchronize();
  EXPECT_THROW(ledger->finish(), TileError);
}

}  // namespace
}  // namespace halotile::testing
