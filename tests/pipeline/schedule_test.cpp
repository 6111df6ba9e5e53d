// The schedule, simulated with vector clocks: whatever the streams' speeds, every read comes after its
// writers and every overwrite after the readers of what was there.
#include "pipeline/schedule.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "patching/brute_force.hpp"

namespace halotile {
namespace {

constexpr std::uint64_t schedule_seed = 20140904;
constexpr int cases = 1500;

struct Case {
  std::vector<StagePlan> plan;
  ScheduleRequest request;
};

// What happened before each task, as far as queues and waits promise: per stream, how many of its tasks.
class Clocks {
 public:
  Clocks(const Schedule& schedule, int streams) : tasks_(schedule.tasks), clocks_(schedule.tasks.size()) {
    std::vector<std::vector<std::uint32_t>> now(
        static_cast<std::size_t>(streams), std::vector<std::uint32_t>(static_cast<std::size_t>(streams)));
    position_.resize(schedule.tasks.size());
    for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
      const auto own = static_cast<std::size_t>(schedule.tasks[t].stream);
      for (const std::uint32_t wait : schedule.waits_of(schedule.tasks[t])) {
        for (std::size_t s = 0; s < now.size(); ++s) now[own][s] = std::max(now[own][s], clocks_[wait][s]);
      }
      position_[t] = ++now[own][own];
      clocks_[t] = now[own];
    }
  }
  [[nodiscard]] bool before(std::size_t a, std::size_t b) const {
    return a != b && clocks_[b][static_cast<std::size_t>(tasks_[a].stream)] >= position_[a];
  }

 private:
  const std::vector<Task>& tasks_;
  std::vector<std::vector<std::uint32_t>> clocks_;  // behind each task
  std::vector<std::uint32_t> position_;             // in its stream
};

// One content of a piece of memory.
struct Content {
  std::vector<std::size_t> writers;
  std::vector<std::size_t> readers;
};

std::string describe(const Task& t) {
  return "stage " + std::to_string(t.stage) + " chunk " + std::to_string(t.chunk) + " (" +
         std::to_string(t.row) + ", " + std::to_string(t.column) + ") on stream " + std::to_string(t.stream);
}

void check_structure(const ScheduleRequest& request, const Schedule& schedule) {
  std::int64_t next = 0;
  std::size_t number = 0;
  for (const Interval chunk : schedule.chunks) {
    ASSERT_EQ(chunk.begin, next);
    ASSERT_GT(chunk.size(), 0);
    const std::int64_t wanted =
        number < request.first_sub_batches.size() ? request.first_sub_batches[number] : request.sub_batch;
    ASSERT_EQ(chunk.size(), std::min(wanted, request.batch - next));
    next = chunk.end;
    ++number;
  }
  ASSERT_EQ(next, request.batch);
  const auto chunks = static_cast<std::int64_t>(schedule.chunks.size());
  ASSERT_EQ(schedule.slots, std::min<std::int64_t>(request.streams, chunks));

  std::set<std::tuple<int, int, int, int>> seen;
  std::set<std::uint32_t> waited;
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    const Task& task = schedule.tasks[t];
    ASSERT_TRUE(seen.insert({task.stage, task.chunk, task.row, task.column}).second)
        << describe(task) << " twice";
    ASSERT_GE(task.stream, 0);
    ASSERT_LT(task.stream, request.streams);
    for (const std::uint32_t wait : schedule.waits_of(task)) {
      ASSERT_LT(wait, t) << describe(task) << " waits for a task that is queued later";
      ASSERT_NE(schedule.tasks[wait].stream, task.stream);
      waited.insert(wait);
    }
  }
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t)
    ASSERT_EQ(schedule.tasks[t].awaited, waited.contains(static_cast<std::uint32_t>(t))) << t;
  std::int64_t expected = 0;
  for (const StagePlan& stage : request.stages) expected += stage.grid().area() * chunks;
  for (const std::int64_t blocks : request.vector_blocks) expected += blocks;
  ASSERT_EQ(static_cast<std::int64_t>(schedule.tasks.size()), expected);
}

void check_order(const ScheduleRequest& request, const Schedule& schedule) {
  const Clocks clocks(schedule, request.streams);
  const auto& tasks = schedule.tasks;
  const std::size_t spatial = request.stages.size();
  // Memory: (slot, half) for outputs that chunks share, a place of its own (-1, stage, chunk) for the others.
  using Place = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  std::map<Place, std::map<std::pair<int, int>, Content>> contents;  // by (stage, chunk) that wrote it
  std::map<Place, std::vector<std::pair<int, int>>> order;           // in which they were queued
  const auto place_of = [&](int stage, int chunk) {
    if (request.whole_batch_output[static_cast<std::size_t>(stage)]) return Place{-1, stage, chunk};
    return Place{chunk % schedule.slots, (stage + 1) % 2, 0};
  };
  std::map<int, std::vector<std::size_t>> vector_tasks;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const Task& task = tasks[t];
    if (static_cast<std::size_t>(task.stage) >= spatial) {
      vector_tasks[task.stage].push_back(t);
      continue;
    }
    const Place out = place_of(task.stage, task.chunk);
    const std::pair<int, int> id{task.stage, task.chunk};
    if (contents[out].find(id) == contents[out].end()) order[out].push_back(id);
    contents[out][id].writers.push_back(t);
    if (task.stage == 0) continue;
    const StagePlan& stage = request.stages[static_cast<std::size_t>(task.stage)];
    const StagePlan& previous = request.stages[static_cast<std::size_t>(task.stage) - 1];
    const Place in = place_of(task.stage - 1, task.chunk);
    ASSERT_EQ(order[in].back(), (std::pair<int, int>{task.stage - 1, task.chunk}))
        << describe(task) << " is queued when its input is overwritten already";
    Content& read = contents[in][{task.stage - 1, task.chunk}];
    read.readers.push_back(t);
    const Rect need = stage.seen_input(task.row, task.column);
    ASSERT_TRUE(need.contains(stage.needed(task.row, task.column, 0)));
    for (const std::size_t w : read.writers) {
      if (intersect(previous.core(tasks[w].row, tasks[w].column), need).empty()) continue;
      ASSERT_TRUE(clocks.before(w, t))
          << describe(task) << " reads what " << describe(tasks[w]) << " may not have written";
    }
  }
  for (auto& [place, ids] : order) {
    for (std::size_t i = 1; i < ids.size(); ++i) {
      const Content& old = contents[place][ids[i - 1]];
      for (const std::size_t w : contents[place][ids[i]].writers) {
        for (const std::size_t r : old.readers)
          ASSERT_TRUE(clocks.before(r, w))
              << describe(tasks[w]) << " overwrites what " << describe(tasks[r]) << " may read";
        for (const std::size_t o : old.writers)
          ASSERT_TRUE(clocks.before(o, w))
              << describe(tasks[w]) << " and " << describe(tasks[o]) << " write together";
      }
    }
  }
  for (const auto& [stage, blocks] : vector_tasks) {
    std::vector<std::size_t> needs;
    if (static_cast<std::size_t>(stage) > spatial) {
      needs = vector_tasks[stage - 1];
    } else {
      for (std::size_t t = 0; t < tasks.size(); ++t) {
        if (static_cast<std::size_t>(tasks[t].stage) + 1 == spatial) needs.push_back(t);
      }
    }
    for (const std::size_t b : blocks) {
      for (const std::size_t n : needs)
        ASSERT_TRUE(clocks.before(n, b))
            << describe(tasks[b]) << " reads what " << describe(tasks[n]) << " may not have written";
    }
  }
}

Case random_case(std::mt19937_64& random, std::string& text) {
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  Case c;
  if (draw(0, 19) > 0) {
    brute_force::Case chain;
    do chain = brute_force::random_case(random, {24, 5});
    while (chain.layers.back().output.area() > 900);
    if (chain.patch.kind == PatchSpec::Kind::size) {
      chain.patch.value = {std::max<std::int64_t>(4, chain.patch.value.height),
                           std::max<std::int64_t>(4, chain.patch.value.width)};
    }
    if (chain.patch.kind == PatchSpec::Kind::grid) {
      chain.patch.value = {std::min<std::int64_t>(6, chain.patch.value.height),
                           std::min<std::int64_t>(6, chain.patch.value.width)};
    }
    c.plan = make_plan(chain.layers, chain.stages, chain.patch);
    text = brute_force::to_string(chain);
  }
  c.request.stages = c.plan;
  for (std::size_t s = 0; s < c.plan.size(); ++s)
    c.request.whole_batch_output.push_back(s + 1 == c.plan.size() || draw(0, 3) == 0);
  for (std::int64_t v = draw(c.plan.empty() ? 1 : 0, 3); v > 0; --v)
    c.request.vector_blocks.push_back(draw(1, 9));
  c.request.batch = draw(1, 6);
  c.request.sub_batch = draw(1, c.request.batch);
  for (std::int64_t n = draw(-2, 3); n > 0; --n) c.request.first_sub_batches.push_back(draw(1, 4));
  c.request.streams = static_cast<int>(draw(1, 8));
  text += "\nbatch " + std::to_string(c.request.batch) + " sub_batch " + std::to_string(c.request.sub_batch) +
          " behind " + std::to_string(c.request.first_sub_batches.size()) + " others" + " streams " +
          std::to_string(c.request.streams);
  return c;
}

TEST(ScheduleProperty, ReadsFollowWritersAndOverwritesFollowReaders) {
  std::mt19937_64 random(schedule_seed);
  int done = 0;
  for (int i = 0; i < cases; ++i) {
    std::string text;
    const Case c = random_case(random, text);
    std::int64_t tiles = 0;
    for (const StagePlan& stage : c.plan) tiles = std::max(tiles, stage.grid().area());
    if (tiles > 64) continue;  // all pairs are looked at
    SCOPED_TRACE("seed " + std::to_string(schedule_seed) + ", case " + std::to_string(i) + ":\n" + text);
    const Schedule schedule = make_schedule(c.request);
    ASSERT_NO_FATAL_FAILURE(check_structure(c.request, schedule));
    ASSERT_NO_FATAL_FAILURE(check_order(c.request, schedule));
    ++done;
  }
  EXPECT_GT(done, cases / 2);
}

// Tasks of a role, by (stage, chunk).
using ByPlace = std::map<std::pair<int, int>, std::vector<std::size_t>>;

ByPlace tasks_of(const Schedule& schedule, TaskRole role) {
  ByPlace found;
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    const Task& task = schedule.tasks[t];
    if (task.role == role) found[{task.stage, task.chunk}].push_back(t);
  }
  return found;
}

// What devices with memory of their own add: copies in and out, memory from a pool, tiles packed at once.
TEST(ScheduleProperty, OtherWorkIsOrderedAroundTheTiles) {
  std::mt19937_64 random(schedule_seed + 1);
  for (int i = 0; i < cases / 2; ++i) {
    std::string text;
    Case c = random_case(random, text);
    c.request.upload = random() % 2 == 0;
    c.request.download = random() % 2 == 0;
    c.request.pack_at_once = random() % 2 == 0;
    c.request.allocate_in_run = !c.request.pack_at_once && random() % 2 == 0;
    SCOPED_TRACE("seed " + std::to_string(schedule_seed + 1) + ", case " + std::to_string(i) + ":\n" + text);
    const Schedule schedule = make_schedule(c.request);
    const Clocks clocks(schedule, c.request.streams);
    ByPlace tiles = tasks_of(schedule, TaskRole::tile);
    ByPlace uploads = tasks_of(schedule, TaskRole::upload);
    ByPlace allocates = tasks_of(schedule, TaskRole::allocate);
    ByPlace releases = tasks_of(schedule, TaskRole::release);
    ByPlace packs = tasks_of(schedule, TaskRole::pack);
    ByPlace places = tasks_of(schedule, TaskRole::place);
    ByPlace downloads = tasks_of(schedule, TaskRole::download);
    const auto ordered = [&](const std::vector<std::size_t>& first, const std::vector<std::size_t>& then) {
      for (const std::size_t a : first) {
        for (const std::size_t b : then) {
          ASSERT_TRUE(clocks.before(a, b))
              << describe(schedule.tasks[b]) << " may not have waited for " << describe(schedule.tasks[a]);
        }
      }
    };
    const auto at = [](int stage, int chunk) { return std::pair{stage, chunk}; };
    const auto stages = static_cast<int>(c.plan.size());
    const auto chunks = static_cast<int>(schedule.chunks.size());
    for (int chunk = 0; chunk < chunks; ++chunk) {
      ASSERT_EQ(uploads[at(0, chunk)].size(), c.request.upload ? 1U : 0U);
      ordered(uploads[at(0, chunk)], stages > 0 ? tiles[at(0, chunk)] : tiles[at(0, 0)]);
      ordered(uploads[at(0, chunk)], packs[at(0, chunk)]);
      for (int s = 0; s < stages; ++s) {
        const bool pooled =
            c.request.allocate_in_run && !c.request.whole_batch_output[static_cast<std::size_t>(s)];
        ASSERT_EQ(allocates[at(s, chunk)].size(), pooled ? 1U : 0U);
        ordered(allocates[at(s, chunk)], tiles[at(s, chunk)]);
        if (pooled) {
          ASSERT_EQ(releases[at(s + 1, chunk)].size(), 1U);
          ordered(tiles[at(s, chunk)], releases[at(s + 1, chunk)]);
          ordered(tiles[at(s + 1, chunk)], releases[at(s + 1, chunk)]);
        }
        ASSERT_EQ(packs[at(s, chunk)].size(), c.request.pack_at_once ? 1U : 0U);
        ASSERT_EQ(places[at(s, chunk)].size(), c.request.pack_at_once ? 1U : 0U);
        ordered(packs[at(s, chunk)], tiles[at(s, chunk)]);
        ordered(tiles[at(s, chunk)], places[at(s, chunk)]);
        if (s > 0) ordered(places[at(s - 1, chunk)], packs[at(s, chunk)]);
      }
      // The chunk behind this one in the same slot.
      const int next = chunk + static_cast<int>(schedule.slots);
      if (c.request.pack_at_once && next < chunks) ordered(places[at(stages - 1, chunk)], packs[at(0, next)]);
    }
    if (c.request.pack_at_once && !c.request.vector_blocks.empty()) {
      for (int chunk = 0; chunk < chunks && stages > 0; ++chunk)
        ordered(places[at(stages - 1, chunk)], tiles[at(stages, 0)]);
    }
    ASSERT_EQ(downloads.empty(), !c.request.download);
    for (std::size_t t = 0; c.request.download && t + 1 < schedule.tasks.size(); ++t)
      ordered({t}, {schedule.tasks.size() - 1});
  }
}

// Parts of several tiles: their steps in order, and beside them copies and the next part's beginning.
TEST(ScheduleProperty, WhatGoesBesideStepsOfPartsIsOrdered) {
  std::mt19937_64 random(schedule_seed + 2);
  const auto draw = [&](std::size_t most) { return static_cast<std::size_t>(random() % (most + 1)); };
  for (int i = 0; i < cases / 2; ++i) {
    std::string text;
    Case c = random_case(random, text);
    c.request.streams = 1;
    c.request.upload = draw(1) == 0;
    std::vector<MergedTiles> merged(c.plan.size());
    for (std::size_t s = 0; s < c.plan.size(); ++s) {
      if (draw(2) == 0) {
        c.request.merged.push_back(nullptr);
        continue;
      }
      MergedTiles& m = merged[s];
      const std::size_t steps = 2 + draw(4);
      for (std::size_t step = 0; step < steps; ++step) {
        m.borders.push_back(draw(2) > 0);
        m.border_waits.emplace_back();
        if (step > 0 && draw(1) == 0) m.border_waits.back() = draw(step - 1);
      }
      m.ahead = draw(steps - 1);
      for (std::size_t part = 0; part <= draw(4); ++part)
        m.inputs.push_back(Rect::whole(c.plan[s].input_extent()));
      c.request.merged.push_back(&m);
    }
    SCOPED_TRACE("seed " + std::to_string(schedule_seed + 2) + ", case " + std::to_string(i) + ":\n" + text);
    const Schedule schedule = make_schedule(c.request);
    const Clocks clocks(schedule, schedule.streams);
    std::map<std::tuple<TaskRole, int, int, int, int>, std::size_t> at;
    for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
      const Task& task = schedule.tasks[t];
      at[{task.role, task.stage, task.chunk, task.row, task.column}] = t;
    }
    // Where both are there, the first has ended when the second begins.
    const auto expect_order = [&](std::tuple<TaskRole, int, int, int, int> first,
                                  std::tuple<TaskRole, int, int, int, int> then) {
      const auto a = at.find(first);
      const auto b = at.find(then);
      if (a == at.end() || b == at.end()) return;
      EXPECT_TRUE(clocks.before(a->second, b->second))
          << describe(schedule.tasks[b->second]) << " may not have waited for "
          << describe(schedule.tasks[a->second]);
    };
    const auto check_part = [&](int s, int chunk, int part) {
      const MergedTiles& m = merged[static_cast<std::size_t>(s)];
      const auto task = [&](TaskRole role, int step, int of) { return std::tuple{role, s, chunk, of, step}; };
      const auto steps = static_cast<int>(m.borders.size());
      const auto first = task(TaskRole::step, 0, part);
      const auto begun = task(TaskRole::ahead, 0, part);
      EXPECT_EQ(at.contains(begun), part > 0 && m.ahead > 0);
      expect_order(begun, first);
      for (int step = 0; step < steps; ++step) {
        const auto here = task(TaskRole::step, step, part);
        const auto copies = task(TaskRole::borders, step, part);
        EXPECT_TRUE(at.contains(here));
        EXPECT_EQ(at.contains(copies), m.borders[static_cast<std::size_t>(step)]);
        expect_order(task(TaskRole::step, step - 1, part), here);
        expect_order(task(TaskRole::step, step - 1, part), copies);
        if (const auto waited = m.border_waits[static_cast<std::size_t>(step)])
          expect_order(task(TaskRole::borders, static_cast<int>(*waited), part), here);
        expect_order(task(TaskRole::borders, step, part - 1), first);
        if (step < static_cast<int>(m.ahead)) {
          expect_order(task(TaskRole::step, step, part - 1), begun);
          expect_order(task(TaskRole::borders, step, part - 1), begun);
        }
      }
      expect_order(task(TaskRole::step, steps - 1, part), {TaskRole::tile, s, chunk, 0, 0});
      for (const auto& reader : {first, begun}) {
        if (s == 0) expect_order({TaskRole::upload, 0, chunk, 0, 0}, reader);
        const Extent2 before = s > 0 ? c.plan[static_cast<std::size_t>(s) - 1].grid() : Extent2{0, 0};
        for (int row = 0; row < before.height; ++row) {
          for (int column = 0; column < before.width; ++column)
            expect_order({TaskRole::tile, s - 1, chunk, row, column}, reader);
        }
      }
    };
    for (std::size_t s = 0; s < c.plan.size(); ++s) {
      for (std::size_t chunk = 0; chunk < schedule.chunks.size(); ++chunk) {
        for (std::size_t part = 0; part < merged[s].inputs.size(); ++part)
          check_part(static_cast<int>(s), static_cast<int>(chunk), static_cast<int>(part));
      }
    }
    ASSERT_FALSE(testing::Test::HasFailure());
  }
}

TEST(Schedule, PartsGoOnOneStream) {
  const MergedTiles parts{{Rect{}}, {false, false}, {{}, {}}, 0};
  ScheduleRequest request{{}, {}, {1}, 1, 1, 2};
  request.merged.push_back(&parts);
  EXPECT_THROW((void)make_schedule(request), std::logic_error);
}

TEST(Schedule, PackingAtOnceNeedsSlots) {
  const auto plan = std::vector<StagePlan>{};
  ScheduleRequest request{plan, {}, {1}, 1, 1, 1};
  request.pack_at_once = request.allocate_in_run = true;
  EXPECT_THROW((void)make_schedule(request), std::logic_error);
}

// One stage of 4x4 equal tiles.
std::vector<StagePlan> sixteen_tiles() {
  LayerGeometry layer;
  layer.name = "conv";
  layer.window = {{3, 3}, {1, 1}, {1, 1}};
  layer.input = layer.output = {16, 16};
  layer.flops_per_position = 10;
  return make_plan(std::vector{layer}, std::vector<StageRange>{{0, 1}}, {PatchSpec::Kind::grid, {4, 4}});
}

TEST(Schedule, EqualTilesAreDealtEvenly) {
  const auto plan = sixteen_tiles();
  const Schedule schedule = make_schedule({plan, {true}, {}, 1, 1, 4});
  std::vector<int> tiles(4);
  for (const Task& t : schedule.tasks) ++tiles[static_cast<std::size_t>(t.stream)];
  EXPECT_EQ(tiles, (std::vector<int>{4, 4, 4, 4}));
  EXPECT_TRUE(schedule.waits.empty());
}

TEST(Schedule, OneStreamNeverWaits) {
  const auto plan = sixteen_tiles();
  const Schedule schedule = make_schedule({plan, {true}, {3, 1}, 5, 2, 1});
  EXPECT_TRUE(schedule.waits.empty());
  EXPECT_EQ(schedule.slots, 1);
  EXPECT_EQ(schedule.chunks, (std::vector<Interval>{{0, 2}, {2, 4}, {4, 5}}));
}

TEST(Schedule, NothingToDoIsFine) { EXPECT_TRUE(make_schedule({{}, {}, {}, 1, 1, 2}).tasks.empty()); }

TEST(Schedule, NamesOfTasksForTraces) {
  Task task;
  task.stage = 2;
  task.row = 1;
  EXPECT_EQ(to_string(task, "conv2", {4, 8}, true), "conv2: image 4, stage 2, row 1, column 0, 4 images");
  EXPECT_EQ(to_string(task, "fc6", {0, 8}, false), "fc6: block 1");
  task.role = TaskRole::upload;
  EXPECT_EQ(to_string(task, "", {4, 5}, true), "upload, image 4");
  task.role = TaskRole::pack;
  EXPECT_EQ(to_string(task, "conv2", {4, 8}, true), "conv2: pack, image 4, 4 images");
  task.role = TaskRole::download;
  EXPECT_EQ(to_string(task, "", {0, 8}, false), "download");
}

}  // namespace
}  // namespace halotile
