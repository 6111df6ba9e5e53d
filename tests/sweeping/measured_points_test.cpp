// Reading what is compared: results of runs, stores, folders of rounds, commits; and clear words for the
// rest.
#include "sweeping/measured_points.hpp"

#include <gtest/gtest.h>

#include "patching/error.hpp"
#include "pipeline/support.hpp"
#include "sweeping/store.hpp"

namespace halotile {
namespace {

using nlohmann::json;
using support::TempFolder;
namespace fs = std::filesystem;

class MeasuredPoints : public testing::Test {
 protected:
  static json provenance(const std::string& commit, bool dirty) {
    return {{"git_commit", commit}, {"git_dirty", dirty}, {"cpu", "Some CPU"}};
  }

  void write_run(const std::string& name, int streams, const std::vector<double>& samples) const {
    json made = provenance("abcdef0123456789", false);
    made["config"] = {{"streams", streams},
                      {"patch", {{"size", "whole"}}},
                      {"output", {{"directory", name}}},
                      {"measure", {{"min_runs", samples.size()}, {"input", "host"}}}};
    made["weights_hash"] = "w";
    const json run{{"command", "run"}, {"samples_ms", samples}, {"provenance", made}};
    (void)folder_.write(name, run.dump());
  }

  // A store with points of 1 and 2 streams for each build.
  [[nodiscard]] fs::path write_store(const std::string& name, const std::vector<json>& builds) const {
    Store store(folder_.path() / name, Store::Mode::read_write);
    for (const json& build : builds) {
      const std::int64_t machine = store.add_machine(build);
      SweepRecord sweep;
      sweep.name = "s";
      sweep.axes = json::array({build});
      sweep.started = "2026-11-22T10:11:12Z";
      sweep.points = 2;
      const std::int64_t id = store.add_sweep(sweep, machine);
      for (const double median : {10.0, 11.0, 12.0}) store.add_drift({id, 0, "", median, median, median});
      for (const int streams : {1, 2}) {
        PointRecord p;
        p.config_hash = std::to_string(streams);
        p.config = {{"streams", streams}};
        p.settings = {{"streams", streams}};
        p.machine = machine;
        p.sweep = id;
        p.sequence = streams;
        p.timing.samples = {1.0 * streams, 1.1 * streams};
        p.logits_hash = "l";
        (void)store.add_point(p);
      }
    }
    return folder_.path() / name;
  }

  template <typename E = ConfigError, typename Action>
  [[nodiscard]] std::string error_of(const Action& action) const {
    return support::message_of<E>(folder_.path(), action);
  }

  TempFolder folder_;
};

TEST_F(MeasuredPoints, OfOneRun) {
  write_run("a.run.json", 2, {3, 4});
  const MeasuredSide side = read_side(folder_.path() / "a.run.json");
  ASSERT_EQ(side.points.size(), 1U);
  EXPECT_EQ(side.points[0].name, "patch.size=whole streams=2");
  ASSERT_EQ(side.points[0].rounds.size(), 1U);
  EXPECT_EQ(side.points[0].rounds[0].samples, (std::vector<double>{3, 4}));
  EXPECT_EQ(side.builds, std::vector<std::string>{"commit abcdef012 on Some CPU"});
  EXPECT_TRUE(side.single_run);
}

TEST_F(MeasuredPoints, FilesOfAFolderAreRounds) {
  write_run("round1.run.json", 2, {3, 4});
  write_run("round2.run.json", 2, {5, 6, 7});
  write_run("other.run.json", 1, {8});
  (void)folder_.write("notes.txt", "neither");
  const MeasuredSide side = read_side(folder_.path());
  ASSERT_EQ(side.points.size(), 2U);
  EXPECT_EQ(side.points[0].name, "patch.size=whole streams=1");
  ASSERT_EQ(side.points[1].rounds.size(), 2U) << "however long they were measured, and wherever results went";
  EXPECT_EQ(side.points[1].rounds[1].samples.front(), 5);
  EXPECT_FALSE(side.single_run);
}

TEST_F(MeasuredPoints, OfAStoreWithItsDrift) {
  const MeasuredSide side = read_side(write_store("s.db", {provenance("abcdef0123456789", false)}));
  ASSERT_EQ(side.points.size(), 2U);
  EXPECT_EQ(side.points[1].name, "streams=2");
  const MeasuredRound& round = side.points[1].rounds.at(0);
  EXPECT_EQ(round.drift_medians, 3U);
  EXPECT_NEAR(round.drift, 0.0912, 1e-3) << "of the logarithms of 10, 11 and 12";
  EXPECT_FALSE(round.logits_hash.empty());
}

TEST_F(MeasuredPoints, OfACommitInAStore) {
  const fs::path store =
      write_store("s.db", {provenance("abcdef0123456789", false), provenance("abcdef0123456789", true),
                           provenance("abcd880123456789", true)});
  EXPECT_EQ(read_commit(store, "abcdef").builds.at(0), "commit abcdef012 on Some CPU");
  EXPECT_EQ(read_commit(store, "abcdef-dirty").builds.at(0), "commit abcdef012-dirty on Some CPU");
  EXPECT_EQ(read_commit(store, "abcd88").builds.at(0), "commit abcd88012-dirty on Some CPU")
      << "there is no clean one";
  EXPECT_EQ(read_commit(folder_.path(), "abcdef0123456789").points.size(), 2U) << "a folder of stores";
  EXPECT_EQ(error_of([&] { (void)read_commit(store, "1234567"); }),
            "commit 1234567: the store has no points of it, only of abcd88012-dirty, abcdef012, "
            "abcdef012-dirty");
  EXPECT_EQ(error_of([&] { (void)read_commit(store, "abcd-dirty"); }),
            "commit abcd-dirty: may be any of abcd88012-dirty, abcdef012-dirty; write more digits");
  EXPECT_EQ(error_of([&] { (void)read_commit(store, "'; touch x; '"); }).substr(0, 60),
            "commit '; touch x; ': the store has no points of it, only of");
  EXPECT_NE(error_of([&] { (void)read_side(store); }).find("s.db: the same point was measured by several"),
            std::string::npos);
}

TEST_F(MeasuredPoints, WhatIsNeitherIsRefused) {
  const auto read = [&](const fs::path& path) { return [path] { (void)read_side(path); }; };
  EXPECT_NE(error_of(read(folder_.path() / "none.db")).find("none.db: there is no such file"),
            std::string::npos);
  EXPECT_NE(error_of(read(folder_.path())).find("this folder holds neither"), std::string::npos);
  for (const char* text : {"", "{", "[]", "{}", R"({"command": "run"})",
                           R"({"command": "run", "samples_ms": "x", "provenance": {"config": {}}})",
                           R"({"command": "run", "samples_ms": [], "provenance": {"config": {}}})",
                           R"({"command": "run", "samples_ms": [0], "provenance": {"config": {}}})"}) {
    EXPECT_NE(error_of<FormatError>(read(folder_.write("x.run.json", text)))
                  .find("x.run.json: is neither a store nor a whole result"),
              std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace halotile
