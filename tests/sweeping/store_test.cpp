#include "sweeping/store.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/hash.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::TempFolder;
namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  [[nodiscard]] fs::path file() const { return folder_.path() / "s.db"; }

  static PointRecord point(int number, std::int64_t machine, std::int64_t sweep) {
    PointRecord p;
    p.config_hash = hash_text(std::to_string(number));
    p.config = {{"streams", number}, {"patch", {{"size", {64, 64}}}}};
    p.settings = {{"streams", number}};
    p.machine = machine;
    p.sweep = sweep;
    p.sequence = number;
    p.started = "2026-11-22T10:11:12Z";
    p.seconds = 1.25;
    p.timing = {{1.5, 1.0 / 3, 2.0}, 1.5, 1.1, 1.9, 0.1, 2.5, StopReason::tight};
    p.network = "alexnet";
    p.engine = "onednn";
    p.device = "cpu";
    p.images = 32;
    p.halo_flops_share = 0.125;
    p.layers = {{"conv1", "conv", 0.7, 1e9, 2e6, 12}, {"fc6", "fully_connected", 0.1, 1e6, 3e6, 1}};
    p.stages = {{"conv1..norm1", 4, 3, 1e9, 1e8}};
    p.stream_busy_share = {0.9, 0.8};
    p.host_idle_ms = 0.5;
    p.map_bytes = 1 << 20;
    p.scratch_bytes = 77;
    p.peak_memory_bytes = std::int64_t{5} << 30;
    p.disturbances = {"the clock fell by 12%"};
    p.weights_hash = "w";
    p.input_hash = "i";
    p.logits_hash = "l";
    p.verified_elements = 1000;
    return p;
  }

  struct Filled {
    Store store;
    std::int64_t machine;
    std::int64_t sweep;
  };
  [[nodiscard]] Filled filled() const {
    Store store(file(), Store::Mode::read_write);
    const std::int64_t machine = store.add_machine({{"cpu", "one"}});
    SweepRecord sweep;
    sweep.name = "mine";
    sweep.axes = {{{"keys", {"streams"}}, {"values", {{1}, {2}}}}};
    sweep.config = {{"streams", 1}};
    sweep.started = "2026-11-22T10:11:12Z";
    sweep.points = 2;
    const std::int64_t id = store.add_sweep(sweep, machine);
    return {std::move(store), machine, id};
  }

  // What SQLite itself says of the file.
  [[nodiscard]] std::string integrity() const {
    sqlite3* db = nullptr;
    std::string said;
    sqlite3_open(file().c_str(), &db);
    sqlite3_exec(
        db, "PRAGMA integrity_check",
        [](void* to, int, char** row, char**) {
          *static_cast<std::string*>(to) += row[0];
          return 0;
        },
        &said, nullptr);
    sqlite3_close(db);
    return said;
  }

  // What runs in a process of its own; its exit status.
  template <typename Work>
  static int in_child(const Work& work) {
    return wait_for(start_child(work));
  }
  template <typename Work>
  static pid_t start_child(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        ::_exit(work());
      } catch (const std::exception& e) {
        std::fprintf(stderr, "child: %s\n", e.what());
        ::_exit(99);
      }
    }
    return child;
  }
  static int wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  // What reading says of a store that was changed so.
  [[nodiscard]] std::string after(const char* change) const {
    fs::remove(file());
    {
      Filled f = filled();
      f.store.add_point(point(1, f.machine, f.sweep));
    }
    sqlite3* db = nullptr;
    sqlite3_open(file().c_str(), &db);
    sqlite3_exec(db, change, nullptr, nullptr, nullptr);
    sqlite3_close(db);
    return refusal([&] {
      const Store store(file(), Store::Mode::read_only);
      (void)store.machines();
      (void)store.sweeps();
      (void)store.points();
    });
  }

  /// The message of the StoreError that `work` throws, without the folder; "" if none.
  template <typename Work>
  [[nodiscard]] std::string refusal(const Work& work) const {
    return support::message_of<StoreError>(folder_.path(), work);
  }

  TempFolder folder_;
};

TEST_F(StoreTest, KeepsEveryFieldOfAPoint) {
  Filled f = filled();
  const PointRecord ok = point(2, f.machine, f.sweep);
  PointRecord different = point(1, f.machine, f.sweep);
  different.status = PointStatus::different;
  different.message = "3 elements differ";
  different.different_elements = 3;
  different.timing = {};
  PointRecord failed;
  failed.config_hash = "f";
  failed.machine = f.machine;
  failed.sweep = f.sweep;
  failed.sequence = 3;
  failed.config = failed.settings = nlohmann::json::object();
  failed.status = PointStatus::error;
  failed.message = "no such \"file\"\n\xc3\xa4";
  for (const PointRecord& p : {ok, different, failed}) EXPECT_TRUE(f.store.add_point(p));
  EXPECT_EQ(f.store.points(), (std::vector{different, ok, failed}));
  const Store again(file(), Store::Mode::read_only);
  EXPECT_EQ(again.points(), (std::vector{different, ok, failed}));
  EXPECT_EQ(again.finished(f.machine), (std::set<std::string>{ok.config_hash, different.config_hash, "f"}));
  EXPECT_TRUE(again.finished(f.machine + 1).empty());
}

TEST_F(StoreTest, APointIsKeptOnce) {
  Filled f = filled();
  PointRecord p = point(1, f.machine, f.sweep);
  EXPECT_TRUE(f.store.add_point(p));
  p.seconds = 99;
  EXPECT_FALSE(f.store.add_point(p));
  ASSERT_EQ(f.store.points().size(), 1U);
  EXPECT_EQ(f.store.points()[0].seconds, 1.25);
  p.machine = f.store.add_machine({{"cpu", "two"}});
  EXPECT_TRUE(f.store.add_point(p)) << "another machine's is another point";
}

TEST_F(StoreTest, MachinesAndSweepsAreFoundAgain) {
  Filled f = filled();
  EXPECT_EQ(f.store.add_machine({{"cpu", "one"}}), f.machine);
  EXPECT_NE(f.store.add_machine({{"cpu", "two"}}), f.machine);
  ASSERT_EQ(f.store.machines().size(), 2U);
  EXPECT_EQ(f.store.machines()[0].provenance, (nlohmann::json{{"cpu", "one"}}));
  SweepRecord same = f.store.sweeps()[0];
  EXPECT_EQ(same.name, "mine");
  EXPECT_EQ(f.store.add_sweep(same, f.machine), f.sweep) << "unfinished: it is resumed";
  f.store.finish_sweep(f.sweep, "2026-11-22T11:00:00Z");
  EXPECT_EQ(f.store.sweeps()[0].finished, "2026-11-22T11:00:00Z");
  EXPECT_NE(f.store.add_sweep(same, f.machine), f.sweep);
}

TEST_F(StoreTest, KeepsDriftAndCeilings) {
  Filled f = filled();
  const DriftSample early{f.sweep, 0, "2026-11-22T10:11:12Z", 10, 9.5, 10.5};
  const DriftSample late{f.sweep, 8, "2026-11-22T10:12:12Z", 11, 10.5, 11.5};
  f.store.add_drift(early);
  f.store.add_drift(late);
  EXPECT_EQ(f.store.drift(), (std::vector{early, late}));
  Ceiling c{f.machine, "cpu", "fp32", 2e11, 3e10, 0};
  f.store.set_ceiling(c);
  c.flops_per_second = 2.5e11;
  f.store.set_ceiling(c);
  EXPECT_EQ(f.store.ceilings(), std::vector{c});
}

TEST_F(StoreTest, ClaimsAreExclusiveWhileTheirProcessLives) {
  Filled f = filled();
  int tell[2];
  int end[2];
  ASSERT_EQ(::pipe(tell), 0);
  ASSERT_EQ(::pipe(end), 0);
  const pid_t child = start_child([&] {
    Store store(file(), Store::Mode::read_write);
    char word = store.claim("a", f.machine) ? 'y' : 'n';
    if (::write(tell[1], &word, 1) != 1 || ::read(end[0], &word, 1) != 1) return 1;
    return 0;  // without giving the claim back
  });
  char word = 0;
  ASSERT_EQ(::read(tell[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  EXPECT_FALSE(f.store.claim("a", f.machine));
  EXPECT_TRUE(f.store.claim("b", f.machine));
  EXPECT_TRUE(f.store.claim("b", f.machine)) << "one's own";
  ASSERT_EQ(::write(end[1], "x", 1), 1);
  ASSERT_EQ(wait_for(child), 0);
  EXPECT_TRUE(f.store.claim("a", f.machine)) << "its owner is dead";
  ASSERT_TRUE(f.store.add_point(point(1, f.machine, f.sweep)));
  EXPECT_FALSE(f.store.claim(point(1, 0, 0).config_hash, f.machine)) << "finished";
}

TEST_F(StoreTest, ProcessesWriteAtOnce) {
  // The file itself is made by all of them at once, too.
  constexpr int writers = 4;
  constexpr int points = 40;
  std::vector<pid_t> children;
  for (int w = 0; w < writers; ++w) {
    children.push_back(start_child([&] {
      Filled f = filled();
      int claimed = 0;
      for (int n = 0; n < points; ++n) {
        if (!f.store.claim(point(n, 0, 0).config_hash, f.machine)) continue;
        ++claimed;
        if (!f.store.add_point(point(n, f.machine, f.sweep))) return 98;
      }
      return claimed;
    }));
  }
  int claimed = 0;
  for (const pid_t child : children) {
    const int status = wait_for(child);
    ASSERT_LE(status, points);
    claimed += status;
  }
  EXPECT_EQ(claimed, points);
  EXPECT_EQ(Store(file(), Store::Mode::read_only).points().size(), std::size_t{points});
  EXPECT_EQ(Store(file(), Store::Mode::read_only).sweeps().size(), 1U);
  EXPECT_EQ(integrity(), "ok");
}

TEST_F(StoreTest, AKilledWriterLosesNothingFinished) {
  for (int round = 0; round < 10; ++round) {
    int tell[2];
    ASSERT_EQ(::pipe(tell), 0);
    const pid_t child = start_child([&] {
      Filled f = filled();
      for (int n = 0;; ++n) {
        f.store.add_point(point(1000 * round + n, f.machine, f.sweep));
        if (::write(tell[1], "x", 1) != 1) return 1;
      }
    });
    std::vector<char> words(static_cast<std::size_t>(round) + 1);
    for (char& word : words) ASSERT_EQ(::read(tell[0], &word, 1), 1);
    ::kill(child, SIGKILL);
    EXPECT_EQ(wait_for(child), 1000 + SIGKILL);
    const Store store(file(), Store::Mode::read_only);
    const std::set<std::string> finished = store.finished(1);
    for (int n = 0; n <= round; ++n)
      EXPECT_TRUE(finished.contains(point(1000 * round + n, 0, 0).config_hash)) << round << ' ' << n;
    EXPECT_EQ(integrity(), "ok");
    ::close(tell[0]);
    ::close(tell[1]);
  }
}

TEST_F(StoreTest, AFullDiskIsOneClearErrorAndLosesNothing) {
  {
    Filled f = filled();
    ASSERT_TRUE(f.store.add_point(point(0, f.machine, f.sweep)));
  }
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    Filled f = filled();
    const rlimit limit{200'000, 200'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int kept = 0;
    for (int n = 1; n < 1000; ++n) {
      const std::string message = refusal([&] {
        if (f.store.add_point(point(n, f.machine, f.sweep))) ++kept;
      });
      if (message.empty()) continue;
      if (message !=
          "s.db cannot be written: the disk is full or fails; free some space and start again, what is "
          "finished is kept") {
        std::fprintf(stderr, "%s\n", message.c_str());
        return 97;
      }
      return kept;
    }
    return 96;
  });
  ASSERT_LT(status, 90);
  EXPECT_GT(status, 1);
  Filled f = filled();
  EXPECT_EQ(f.store.points().size(), static_cast<std::size_t>(status) + 1);
  EXPECT_EQ(integrity(), "ok");
  EXPECT_TRUE(f.store.add_point(point(2000, f.machine, f.sweep)));
}

// As somebody who may not write everywhere, whoever runs the tests.
TEST_F(StoreTest, PlacesThatCannotBeWritten) {
  {
    Filled f = filled();
    f.store.add_point(point(1, f.machine, f.sweep));
  }
  ASSERT_EQ(::chmod(file().c_str(), 0444), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0555), 0);
  const int status = in_child([&] {
    constexpr unsigned nobody = 65534;
    if (::geteuid() == 0 && ::setuid(nobody) != 0) return 90;
    const auto message = [&](const fs::path& name) {
      return refusal([&] { const Store store(folder_.path() / name, Store::Mode::read_write); });
    };
    if (message("s.db") !=
        "s.db cannot be written: the file or its folder is read-only; choose one this user may write to")
      return 1;
    if (!message("new.db").starts_with("new.db cannot be opened: ")) return 2;
    if (!message("new/new.db").starts_with("new/new.db cannot be made: its folder cannot be")) return 3;
    if (Store(file(), Store::Mode::read_only).points().size() != 1) return 4;
    return 0;
  });
  EXPECT_EQ(status, 0);
  ::chmod(folder_.path().c_str(), 0755);
  EXPECT_FALSE(fs::exists(folder_.path() / "new.db"));
}

TEST_F(StoreTest, WhatIsNoStoreIsRefusedAndLeftAsItIs) {
  const auto message = [&](const std::string& name, Store::Mode mode) {
    return refusal([&] { const Store store(folder_.path() / name, mode); });
  };
  for (const Store::Mode mode : {Store::Mode::read_only, Store::Mode::read_write}) {
    fs::create_directory(folder_.path() / "x");
    const fs::path text = folder_.write("text.db", std::string(5000, 'x'));
    EXPECT_EQ(message("text.db", mode), "text.db is no store of halotile; name another file");
    EXPECT_EQ(fs::file_size(text), 5000U);
    sqlite3* db = nullptr;
    sqlite3_open((folder_.path() / "other.db").c_str(), &db);
    sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS x (y)", nullptr, nullptr, nullptr);
    sqlite3_close(db);
    EXPECT_EQ(message("other.db", mode), "other.db is no store of halotile; name another file");
    EXPECT_EQ(message("x", mode), "x is a folder; add a file name");
  }
  EXPECT_EQ(message("none.db", Store::Mode::read_only),
            "none.db: there is no such store; `halotile sweep` makes one");
  folder_.write("empty.db", "");
  EXPECT_EQ(message("empty.db", Store::Mode::read_only), "empty.db is empty; `halotile sweep` fills stores");
  EXPECT_EQ(message("empty.db", Store::Mode::read_write), "")
      << "a sweep that was killed at once leaves that";
}

TEST_F(StoreTest, ALaterVersionIsRefused) {
  { const Filled f = filled(); }
  sqlite3* db = nullptr;
  sqlite3_open(file().c_str(), &db);
  sqlite3_exec(db, "PRAGMA user_version = 9", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  for (const Store::Mode mode : {Store::Mode::read_only, Store::Mode::read_write}) {
    EXPECT_EQ(refusal([&] { const Store store(file(), mode); }),
              "s.db is a store of version 9, this halotile knows version 1; use a later halotile");
  }
}

TEST_F(StoreTest, ADamagedStoreIsRefused) {
  {
    Filled f = filled();
    for (int n = 0; n < 50; ++n) f.store.add_point(point(n, f.machine, f.sweep));
  }
  std::fstream bytes(file(), std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(4096);
  const std::string noise(40'000, '\x5a');
  bytes.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  bytes.close();
  const std::string message = refusal([&] { (void)Store(file(), Store::Mode::read_only).points(); });
  EXPECT_TRUE(message.starts_with("s.db is damaged")) << message;
}

TEST_F(StoreTest, DamageThatSQLiteDoesNotSeeIsTold) {
  struct Damage {
    const char* change;
    const char* what;
  };
  const std::string json = " does not hold the JSON that belongs there";
  const std::string remedy = "); go back to a copy, or delete that row with sqlite3 and sweep again";
  for (const auto& [change, what] :
       {Damage{"UPDATE point SET settings = substr(settings, 2)", "column settings of a point"},
        Damage{"UPDATE point SET samples_ms = '[1, \"a\"]'", "column samples_ms of a point"},
        Damage{"UPDATE point SET layers = '[{}]'", "column layers of a point"},
        Damage{"UPDATE machine SET provenance = substr(provenance, 2)", "column provenance"},
        Damage{"UPDATE machine SET provenance = '[]'", "column provenance"},
        Damage{"UPDATE sweep SET axes = '3'", "column axes"},
        Damage{"UPDATE sweep SET config = 'null'", "column config"}}) {
    EXPECT_EQ(after(change), "s.db is damaged (" + (what + json) + remedy) << change;
  }
  EXPECT_EQ(after("UPDATE point SET config = '1'"),
            "s.db is damaged (column config of a point holds no mapping" + remedy);
  EXPECT_EQ(after("UPDATE point SET status = 'ik'"),
            "s.db is damaged (column status of a point holds the unknown word 'ik'" + remedy);
}

TEST_F(StoreTest, NamesThatLeadNowhereAreRefused) {
  fs::create_symlink("loop.db", folder_.path() / "loop.db");
  for (const std::string& name : {std::string("loop.db"), std::string(300, 'x')}) {
    for (const Store::Mode mode : {Store::Mode::read_only, Store::Mode::read_write}) {
      const std::string message = refusal([&] { const Store store(folder_.path() / name, mode); });
      EXPECT_TRUE(message.starts_with(name + " cannot be examined: ")) << message;
      EXPECT_TRUE(message.ends_with("; choose another file")) << message;
    }
  }
}

TEST_F(StoreTest, WaitingForALockEndsWhenTheUserWantsToStop) {
  Filled f = filled();
  sqlite3* other = nullptr;
  sqlite3_open(file().c_str(), &other);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  stop_requested = true;
  EXPECT_THROW(f.store.add_machine({{"cpu", "two"}}), Interrupted);
  stop_requested = false;
  sqlite3_close(other);
  EXPECT_NO_THROW(f.store.add_machine({{"cpu", "two"}}));
}

TEST_F(StoreTest, ReadersLeaveNoFilesBehind) {
  { const Filled f = filled(); }
  { EXPECT_EQ(Store(file(), Store::Mode::read_only).sweeps().size(), 1U); }
  for (const auto& entry : fs::directory_iterator(folder_.path())) EXPECT_EQ(entry.path(), file());
}

TEST_F(StoreTest, ReadersSeeWhatAWriterHasCommitted) {
  Filled f = filled();
  const Store reader(file(), Store::Mode::read_only);
  EXPECT_TRUE(reader.points().empty());
  f.store.add_point(point(1, f.machine, f.sweep));
  EXPECT_EQ(reader.points().size(), 1U);
}

TEST_F(StoreTest, FileNamesOfAllKinds) {
  for (const char* const name : {"a b#c?d%41.db", "file:x.db", "deep/er/x.db"}) {
    { const Store store(folder_.path() / name, Store::Mode::read_write); }
    EXPECT_TRUE(fs::exists(folder_.path() / name));
    EXPECT_TRUE(Store(folder_.path() / name, Store::Mode::read_only).points().empty());
  }
}

}  // namespace
}  // namespace halotile
