// The order of instructions, with vector clocks: whatever the streams' speeds, whoever reads memory comes
// after its writers and before whoever overwrites it.
#include "pipeline/running/program.hpp"

#include <gtest/gtest.h>

#include <map>

#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"
#include "pipeline/running/far_engine.hpp"

namespace halotile {
namespace {

using support::Draw;
using support::FarEngine;
using support::Way;

#ifdef HALOTILE_SANITIZED
constexpr int cases = 40;
#else
constexpr int cases = 250;
#endif

// What happened before each instruction, as far as queues and waits promise: per stream, how many of its own.
class Clocks {
 public:
  explicit Clocks(const Program& program) {
    std::size_t streams = 0;
    for (const Instruction& i : program.instructions())
      streams = std::max(streams, static_cast<std::size_t>(i.stream) + 1);
    std::vector<std::vector<std::uint32_t>> now(streams, std::vector<std::uint32_t>(streams));
    for (const Instruction& i : program.instructions()) {
      const auto own = static_cast<std::size_t>(i.stream);
      for (const std::uint32_t wait : program.waits_of(i)) {
        EXPECT_LT(wait, clocks_.size()) << "waits for what is queued later";
        EXPECT_TRUE(program.instructions()[wait].awaited);
        EXPECT_NE(program.instructions()[wait].stream, i.stream);
        for (std::size_t s = 0; s < streams; ++s) now[own][s] = std::max(now[own][s], clocks_[wait][s]);
      }
      positions_.push_back(++now[own][own]);
      clocks_.push_back(now[own]);
      streams_.push_back(own);
    }
  }
  [[nodiscard]] bool before(std::size_t a, std::size_t b) const {
    return clocks_[b][streams_[a]] >= positions_[a];
  }

 private:
  std::vector<std::vector<std::uint32_t>> clocks_;  // behind each instruction
  std::vector<std::uint32_t> positions_;            // in its stream
  std::vector<std::size_t> streams_;
};

struct Touch {
  std::size_t instruction = 0;
  Access access;
};

Interval bytes_of(const Place& place) {
  const auto begin = static_cast<std::int64_t>(place.offset);
  return {begin, begin + static_cast<std::int64_t>(place.bytes)};
}

// Whether two accesses may meet in memory. Parts of one place by their rectangles and images, places that
// share memory as a whole.
bool meet(const PlacedMap& a, const PlacedMap& b) {
  if (a.place->space != b.place->space) return false;
  if (a.place != b.place) return !intersect(bytes_of(*a.place), bytes_of(*b.place)).empty();
  if (a.whole != b.whole) return true;
  const auto images = [](const PlacedMap& map) {
    const std::int64_t first = map.image_stride > 0 ? map.first / map.image_stride : 0;
    return Interval{first, first + map.images};
  };
  const bool channels = a.channels != a.col_stride || b.channels != b.col_stride || a.whole == Extent2{1, 1};
  return !intersect(images(a), images(b)).empty() && (channels || !intersect(a.rect, b.rect).empty());
}

// Instructions that may meet without an order between them.
std::string races(const Program& program) {
  const Clocks clocks(program);
  std::map<const Space*, std::vector<Touch>> by_space;
  for (std::size_t i = 0; i < program.instructions().size(); ++i) {
    for (const Piece& piece : program.pieces_of(program.instructions()[i])) {
      for (const Access& access : piece.work->accesses()) {
        if (access.map.rect.empty()) continue;
        by_space[access.map.place->space].push_back({i, access});
      }
    }
  }
  for (const auto& [space, touches] : by_space) {
    for (std::size_t b = 0; b < touches.size(); ++b) {
      for (std::size_t a = 0; a < b; ++a) {
        const Touch& one = touches[a];
        const Touch& other = touches[b];
        if (one.instruction == other.instruction || (!one.access.write && !other.access.write)) continue;
        if (clocks.before(one.instruction, other.instruction) || !meet(one.access.map, other.access.map))
          continue;
        // Blocks of a layer write channels of their own.
        const bool blocks =
            one.access.map.place == other.access.map.place && one.access.map.whole == Extent2{1, 1} &&
            one.access.map.first != other.access.map.first && one.access.write && other.access.write;
        if (blocks) continue;
        return program.text(program.instructions()[one.instruction].label) + " and " +
               program.text(program.instructions()[other.instruction].label);
      }
    }
  }
  return {};
}

const char* const model_text =
    "input: {channels: 2, height: 41, width: 37}\nlayers:\n"
    "  - {type: conv, name: conv1, out_channels: 3, kernel: [5, 3], stride: 2, padding: [2, 0]}\n"
    "  - {type: relu}\n"
    "  - {type: max_pool, name: pool1, kernel: 3, stride: 1, padding: 1}\n"
    "  - {type: conv, name: conv2, out_channels: 8, kernel: 3, padding: 2, dilation: 2}\n"
    "  - {type: lrn}\n"
    "  - {type: conv, out_channels: 4, kernel: [1, 5], stride: [2, 1], padding: [0, 2]}\n"
    "  - {type: conv, out_channels: 3, kernel: 3, padding: 1}\n"
    "  - {type: adaptive_avg_pool, name: last, output: [13, 4]}\n"
    "  - {type: fully_connected, name: fc1, out_features: 1100}\n"
    "  - {type: fully_connected, name: fc2, out_features: 7}\n";

class Order : public ::testing::Test {
 protected:
  static constexpr std::int64_t batch = 5;
  const support::Model model_{model_text};
  const std::set<std::size_t> keep_{model_.network().index_of("pool1"), model_.network().index_of("fc2")};
};

TEST_F(Order, OnTheHost) {
  const auto engine = make_reference_engine();
  Draw draw(20140904);
  for (int n = 0; n < cases; ++n) {
    const Way way =
        support::random_way(draw, model_.network(), batch, draw.once_in(2) ? keep_ : std::set<std::size_t>{});
    const auto executor = make_executor(model_, *engine, way);
    ASSERT_EQ(races(executor->program()), "") << to_string(way);
  }
}

TEST_F(Order, OnADeviceWithMemoryOfItsOwn) {
  FarEngine engine;
  Draw draw(3);
  for (int n = 0; n < cases; ++n) {
    Way way = support::random_way(draw, model_.network(), batch,
                                  draw.once_in(2) ? keep_ : std::set<std::size_t>{}, 6);
    way.settings.memory = draw.once_in(2) ? MemoryMode::arena : MemoryMode::pool;
    way.settings.download = draw.once_in(2);
    way.settings.resident_input = draw.once_in(4);
    const auto executor = make_executor(model_, engine, way);
    ASSERT_EQ(races(executor->program()), "") << to_string(way);
  }
}

TEST_F(Order, OfGroupsAndParts) {
  FarEngine engine;
  Draw draw(4);
  for (int n = 0; n < cases; ++n) {
    Way way = support::random_way(draw, model_.network(), batch, keep_, 1);
    if (draw.once_in(2)) way.stages = fused_groups(model_.network());
    way.settings.batched = true;
    way.settings.ring_bytes = static_cast<std::size_t>(draw.integer(1, 60000));
    const auto executor = make_executor(model_, engine, way);
    ASSERT_EQ(races(executor->program()), "") << to_string(way);
  }
}

TEST_F(Order, ARaceIsSeen) {
  RunTimes times;
  Program program(times);
  program.set_streams(2);
  Space space{nullptr, 64};
  const Place place{&space, 0, 64};
  const PlacedMap map{dense_geometry(DType::f32, 1, 1, Rect::whole({4, 4}), {4, 4}), &place, 0};
  const auto add = [&](std::size_t stream, Rect rect, bool write, const LastWork& needs) {
    const Piece piece{program.call([](Stream&) {}, {{subview(map, {0, 1}, rect), write}}), 0};
    return program.add(stream, needs, {&piece, 1}, {});
  };
  const std::uint32_t written = add(0, {{0, 2}, {0, 4}}, true, {0, 0});
  add(1, {{2, 4}, {0, 4}}, true, {0, 0});
  EXPECT_EQ(races(program), "");
  add(1, {{1, 3}, {0, 4}}, false, {written, 0});
  EXPECT_EQ(races(program), "");
  add(0, {{1, 2}, {0, 1}}, true, {0, 0});
  EXPECT_NE(races(program), "");
}

TEST_F(Order, OneStreamNeverWaits) {
  const auto engine = make_reference_engine();
  Way way = support::whole_way(model_.network(), batch, keep_);
  way.patch = {PatchSpec::Kind::grid, {3, 2}};
  const auto executor = make_executor(model_, *engine, way);
  for (const Instruction& i : executor->program().instructions()) EXPECT_EQ(i.waits, 0U);
}

TEST_F(Order, EqualTilesAreDealtEvenly) {
  const support::Model even(
      "input: {channels: 1, height: 32, width: 32}\nlayers:\n  - {type: conv, out_channels: 2, kernel: 1}\n");
  const auto engine = make_reference_engine();
  Way way = support::whole_way(even.network(), 1, {});
  way.patch = {PatchSpec::Kind::grid, {4, 4}};
  way.settings.streams = 4;
  const auto executor = make_executor(even, *engine, way);
  std::vector<int> tiles(4);
  for (const Instruction& i : executor->program().instructions()) ++tiles[static_cast<std::size_t>(i.stream)];
  EXPECT_EQ(tiles, (std::vector<int>{4, 4, 4, 4}));
}

TEST(Program, TextsOfLabelsForTraces) {
  RunTimes times;
  Program program(times);
  using Kind = InstructionLabel::Kind;
  const std::uint32_t none = program.add_name("");
  const std::uint32_t conv2 = program.add_name("conv2");
  EXPECT_EQ(program.text({Kind::tile, conv2, "", {4, 2, 1, 0}, 4}),
            "conv2: image 4, stage 2, row 1, column 0, 4 images");
  EXPECT_EQ(program.text({Kind::block, conv2, "", {0, 0, 1, 0}, 8}), "conv2: block 1");
  EXPECT_EQ(program.text({Kind::chunk, none, "upload", {4, 0, 0, 0}, 1}), "upload, image 4");
  EXPECT_EQ(program.text({Kind::chunk, conv2, "pack", {4, 0, 0, 0}, 4}), "conv2: pack, image 4, 4 images");
  EXPECT_EQ(program.text({Kind::part, conv2, "borders", {4, 0, 3, 2}, 4}),
            "conv2: part 3, borders 2, image 4, 4 images");
  EXPECT_EQ(program.text({Kind::run, none, "download", {}, 0}), "download");
}

}  // namespace
}  // namespace halotile
