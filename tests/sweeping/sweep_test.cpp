#include "sweeping/sweep.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::TempFolder;
using Words = std::vector<std::string>;

const char* const model = R"(
input: {channels: 2, height: 12, width: 10}
layers:
  - {type: conv, name: conv1, out_channels: 4, kernel: 3, padding: 1}
  - {type: relu}
  - {type: flatten}
  - {type: fully_connected, name: fc2, out_features: 5}
)";

const std::string config = R"(
model: m.yaml
input: {random: 1, batch: 2}
device: cpu
engine: reference
threads: 1
measure: {warmup: 0, min_runs: 2}
)";

class SweepTest : public testing::Test {
 protected:
  SweepTest() { folder_.write("m.yaml", model); }

  [[nodiscard]] SweepPlan plan(const std::string& yaml, const Words& words = {}) const {
    return plan_sweep(folder_.write("s.yaml", config + yaml), words);
  }
  [[nodiscard]] std::set<std::string> settings(const std::string& yaml, const Words& words = {}) const {
    std::set<std::string> found;
    for (const PlannedPoint& p : plan(yaml, words).points) found.insert(p.settings.dump());
    return found;
  }
  [[nodiscard]] std::string refusal(const std::string& yaml, const Words& words = {}) const {
    return support::message_of<ConfigError>(folder_.path(), [&] { (void)plan(yaml, words); });
  }

  TempFolder folder_;
};

class Quiet : public SweepWatcher {
 public:
  void begin(std::size_t, std::size_t finished) override { finished_before = finished; }
  void measuring(const PlannedPoint&) override {}
  void measured(const PointRecord& point, std::size_t) override { seen.push_back(point); }
  void waiting(std::size_t) override {}

  std::size_t finished_before = 0;
  std::vector<PointRecord> seen;
};

TEST_F(SweepTest, AxesAreMultiplied) {
  EXPECT_EQ(settings("sweep: {patch.size: [4, whole], streams: [1, 2]}\n"),
            (std::set<std::string>{R"({"patch.size":4,"streams":1})", R"({"patch.size":4,"streams":2})",
                                   R"({"patch.size":"whole","streams":1})",
                                   R"({"patch.size":"whole","streams":2})"}));
}

TEST_F(SweepTest, RangesAreThoseOfPython) {
  EXPECT_EQ(settings("sweep:\n  streams: range(1, 9, 2)\n"),
            (std::set<std::string>{R"({"streams":1})", R"({"streams":3})", R"({"streams":5})",
                                   R"({"streams":7})"}));
  EXPECT_EQ(settings("", {"weights.random=range(0, 9223372036854775807, 9223372036854775806)"}).size(), 3U)
      << "the next one would overflow; with the reference";
  EXPECT_EQ(settings("", {"streams=range(3, 1, -1)"}),
            (std::set<std::string>{R"({"streams":1})", R"({"streams":2})", R"({"streams":3})"}))
      << "1 is the reference point's";
}

TEST_F(SweepTest, ZippedKeysGoTogether) {
  const std::set<std::string> expected{R"({"patch.size":"whole","streams":1})",
                                       R"({"patch.size":4,"streams":1})", R"({"patch.size":8,"streams":2})"};
  EXPECT_EQ(settings("sweep: {zip: {patch.size: [4, 8], streams: [1, 2]}}\n"), expected);
  EXPECT_EQ(settings("sweep: {zip: [{patch.size: [4, 8], streams: [1, 2]}]}\n"), expected);
  EXPECT_EQ(settings("sweep: {zip: {patch.size: [4, 8], streams: [1, 2]}, sub_batch: [1, 2]}\n").size(), 5U);
}

TEST_F(SweepTest, TheCommandLinesAxisReplacesTheConfigs) {
  const std::string yaml = "sweep: {patch.size: [4, whole], streams: [1, 2]}\n";
  EXPECT_EQ(settings(yaml, {"streams=1,3"}).size(), 4U);
  EXPECT_EQ(settings(yaml, {"streams=1"}),
            (std::set<std::string>{R"({"patch.size":4})", R"({"patch.size":"whole"})"}));
  EXPECT_EQ(settings(yaml, {"patch.grid=[2, 2],[3, 1]", "streams=1"}).size(), 3U) << "with the reference";
  EXPECT_EQ(settings(yaml, {"patch=whole"}), (std::set<std::string>{R"({"streams":1})", R"({"streams":2})"}))
      << "a section takes the place of its keys' axes";
  EXPECT_EQ(settings("sweep: {zip: {patch.size: [4, 8], patch.storage: [view, packed], streams: [1, 2]}}\n",
                     {"patch={grid: 2}"}),
            (std::set<std::string>{R"({"streams":1})", R"({"streams":2})"}));
}

TEST_F(SweepTest, KeysThatChangeNothingMeasuredAreRefused) {
  for (const std::string word :
       {"measure.max_seconds=0.1,0.3", "output.directory=a,b", "output={directory: a},{directory: b}",
        "sweep.streams=1,2", "measure={warmup: 1},{warmup: 2}", "input.decoders=1,2"}) {
    EXPECT_EQ(refusal("", {word}),
              word.substr(0, word.find('=')) +
                  " does not change what is measured, so it cannot be swept; give it one "
                  "value (key=value)");
  }
  EXPECT_EQ(settings("sweep: {measure.warmup: [1], streams: [1, 2]}\n").size(), 2U) << "one value";
  EXPECT_EQ(settings("sweep: {zip: {measure.warmup: [1, 2], streams: [1, 2]}}\n").size(), 2U);
  EXPECT_EQ(settings("", {"measure={cache: hot},{cache: cold}"}).size(), 2U);
}

TEST_F(SweepTest, AKeyAndAPartOfItAreNotSweptTogether) {
  EXPECT_EQ(refusal("sweep: {patch: [whole, {size: 4}], patch.size: [4, 8]}\n"),
            "patch.size is a part of patch; sweep one of the two");
  EXPECT_EQ(refusal("", {"patch.size=4,8", "patch=whole,{size: 4}"}),
            "patch.size is a part of patch; sweep one of the two");
}

TEST_F(SweepTest, BytesThatAreNoTextAreShownAsSuch) {
  EXPECT_NE(refusal("", {"streams=\xff,1"}).find("(at {\"streams\":\"\xef\xbf\xbd\"})"), std::string::npos);
  EXPECT_EQ(plan("", {"patch.stages=[[\xff]],fused"}).points.size(), 3U);
}

TEST_F(SweepTest, CommasInsideBracketsDoNotSplit) {
  EXPECT_FALSE(axis_of_word("patch.grid=[2, 2]"));
  EXPECT_FALSE(axis_of_word("a={b: 1, c: 2}"));
  EXPECT_FALSE(axis_of_word("until='a,b'"));
  EXPECT_EQ(refusal("", {"streams=&a [*a],2"}).find("command line 'streams=&a [*a],2': '&a [*a]' is nested"),
            0U);
  const std::optional<SweepAxis> axis = axis_of_word("patch.size=[4, 8],whole,6");
  ASSERT_TRUE(axis);
  ASSERT_EQ(axis->steps.size(), 3U);
  EXPECT_EQ(axis->steps[0][0].shown, (nlohmann::json{4, 8}));
  EXPECT_EQ(axis->steps[1][0].shown, "whole");
  EXPECT_EQ(axis->steps[2][0].shown, 6);
}

TEST_F(SweepTest, BadAxesAreToldAllAtOnce) {
  EXPECT_EQ(refusal("sweep: {patch.siz: [4], streams: [0, 1]}\n"),
            "s.yaml: sweep: 'patch.siz=4': patch.siz: is not a known key; did you mean 'size'? (at "
            "{\"patch.siz\":4,\"streams\":1} and 1 more)\n"
            "s.yaml: sweep: 'streams=0': streams: is '0'; a whole number from 1 to 256 is needed (at "
            "{\"patch.siz\":4,\"streams\":0})");
  EXPECT_TRUE(refusal("").starts_with("there is nothing to sweep; "));
  EXPECT_TRUE(refusal("sweep: {zip: {patch.size: [4, 8], streams: [1]}}\n")
                  .find("patch.size has 2 values and streams has 1") != std::string::npos);
  EXPECT_TRUE(refusal("sweep: {patch.size: []}\n").find("is an empty list") != std::string::npos);
  EXPECT_TRUE(refusal("sweep: [1]\n").find("a mapping of keys") != std::string::npos);
  EXPECT_TRUE(refusal("sweep: {streams: [1], zip: {streams: [1]}}\n").find("has streams twice") !=
              std::string::npos);
  EXPECT_TRUE(refusal("sweep: {streams: [1, 2], patch.size: [4], patch.grid: [[2, 2]]}\n")
                  .find("exclude each other") != std::string::npos);
  EXPECT_EQ(refusal("", {"streams=1,,2"}),
            "command line 'streams=1,,2': a value between two commas is missing");
  EXPECT_TRUE(refusal("", {"streams=range(4, 1)"}).find("has no values") != std::string::npos);
  EXPECT_TRUE(refusal("", {"streams=range(a)"}).find("range(begin, end, step)") != std::string::npos);
  EXPECT_TRUE(refusal("sweep: {streams: range(1, 9, 2)}\n").find("in quotes") != std::string::npos);
  EXPECT_TRUE(
      refusal("", {"input.random=range(1000)", "weights.random=range(1000)"}).find("1000000 points") !=
      std::string::npos);
}

TEST_F(SweepTest, OtherCommandsCheckAxesAndIgnoreThem) {
  const auto read = [&](const std::string& yaml) {
    return support::message_of<ConfigError>(folder_.path(), [&] {
      const Experiment e = read_experiment(folder_.write("s.yaml", config + yaml), {});
      EXPECT_EQ(e.streams, 1);
    });
  };
  EXPECT_EQ(read("sweep: {streams: [2, 3]}\n"), "");
  EXPECT_EQ(read("sweep: {streams: [2, 0]}\n"),
            "s.yaml: sweep: 'streams=0': streams: is '0'; a whole number from 1 to 256 is needed");
}

TEST_F(SweepTest, PathsOfAxesAreTheConfigs) {
  folder_.write("other.yaml", model);
  const SweepPlan p = plan("sweep: {model: [m.yaml, other.yaml]}\n");
  ASSERT_EQ(p.points.size(), 1U) << "the same network, whatever its file is called";
  EXPECT_TRUE(p.points[0].experiment.model.is_absolute());
}

TEST_F(SweepTest, TheReferenceComesFirstAndIsUnpatched) {
  for (const char* const yaml :
       {"sweep: {patch.size: [4, whole], streams: [2, 1]}\n", "sweep: {patch.size: [4, 6]}\nstreams: 2\n"}) {
    const SweepPlan p = plan(yaml);
    EXPECT_EQ(p.points[0].settings["patch.size"], "whole");
    EXPECT_EQ(p.points[0].experiment.streams, 1);
  }
}

TEST_F(SweepTest, IdentityIsWhatDecidesTheResult) {
  const auto hash = [&](const std::string& yaml) {
    return plan(yaml + "sweep: {streams: [1]}\n").points[0].hash;
  };
  const std::string base = hash("");
  EXPECT_EQ(hash("output: {directory: elsewhere}\n"), base);
  EXPECT_NE(hash("patch: {storage: packed}\nsub_batch: 1\nprecision: bf16\n"), base);
  EXPECT_NE(hash("weights: {random: 8}\n"), base);
  folder_.write("m.yaml", std::string(model) + "  - {type: softmax}\n");
  EXPECT_NE(hash(""), base) << "the model's contents";
}

TEST_F(SweepTest, IdentitiesAreThoseThatKeptStoresHave) {
  folder_.write("m.yaml",
                "input: {channels: 2, height: 12, width: 10}\n"
                "layers:\n"
                "  - {type: conv, name: conv1, out_channels: 4, kernel: 3, padding: 1}\n"
                "  - {type: flatten}\n"
                "  - {type: fully_connected, name: fc2, out_features: 5}\n");
  const auto points = [&](const std::string& yaml) { return plan(yaml + "sweep: {streams: [1]}\n").points; };
  const std::string unpatched = "8e6a934152553a93";
  EXPECT_EQ(points("").front().hash, unpatched);
  EXPECT_EQ(points("").front().input_hash, "a63ec8090907a10f");
  EXPECT_EQ(points("patch: {size: 4, stages: fused}\n").front().hash, unpatched);
  EXPECT_EQ(points("patch: {size: 4, stages: fused}\n").back().hash, "cba8d5456f4629c9");
  EXPECT_EQ(points("patch: {size: 4, stages: [[conv1]]}\nsub_batch: [1, 1]\n").back().hash,
            "003302d39a70eafd");
}

TEST(SweepOrder, IsAPermutationWhoseNeighboursDifferInEveryAxis) {
  std::vector<std::vector<std::size_t>> settings;
  for (std::size_t a = 0; a < 6; ++a) {
    for (std::size_t b = 0; b < 5; ++b) {
      for (std::size_t c = 0; c < 2; ++c) settings.push_back({a, b, c});
    }
  }
  const std::vector<std::size_t> order = interleaved(settings);
  EXPECT_EQ(std::set<std::size_t>(order.begin(), order.end()).size(), settings.size());
  EXPECT_EQ(interleaved(settings), order);
  std::size_t same = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    for (std::size_t axis = 0; axis < 3; ++axis)
      same += settings[order[i]][axis] == settings[order[i - 1]][axis] ? 1U : 0U;
  }
  EXPECT_LE(same, 6U) << "only towards the end, where little is left to choose from";
}

class RunSweepTest : public SweepTest {
 protected:
  RunSweepTest()
      : store_(folder_.path() / "s.db", Store::Mode::read_write),
        machine_(store_.add_machine(nlohmann::json::object())) {
    settings_.ceiling = nullptr;
  }

  SweepOutcome run(const SweepPlan& p) { return run_sweep(p, store_, machine_, settings_, watcher_); }

  Store store_;
  std::int64_t machine_;
  SweepSettings settings_;
  Quiet watcher_;
};

TEST_F(RunSweepTest, EveryPointIsVerifiedTimedAndKeptWithAllItsFields) {
  const SweepPlan p = plan("sweep: {patch.size: [4, whole], streams: [1, 2]}\n");
  const SweepOutcome outcome = run(p);
  EXPECT_TRUE(outcome.complete);
  EXPECT_EQ(outcome.measured, 4U);
  ASSERT_EQ(outcome.points.size(), 4U);
  EXPECT_EQ(outcome.drift.size(), 2U) << "at the start and at the end";
  std::set<std::string> logits;
  for (std::size_t i = 0; i < 4; ++i) {
    const PointRecord& point = outcome.points[i];
    EXPECT_EQ(point.config_hash, p.points[i].hash);
    EXPECT_EQ(point.sequence, static_cast<std::int64_t>(i));
    EXPECT_EQ(point.status, PointStatus::ok) << point.message;
    EXPECT_EQ(point.timing.samples.size(), 2U);
    EXPECT_EQ(point.timing.stop, StopReason::runs);
    EXPECT_GT(point.timing.median, 0);
    EXPECT_LE(point.timing.low, point.timing.median);
    EXPECT_GE(point.timing.high, point.timing.median);
    EXPECT_EQ(point.images, 2);
    EXPECT_EQ(point.verified_elements, 2 * (4 * 12 * 10 + 5));
    EXPECT_EQ(point.different_elements, 0);
    EXPECT_GT(point.peak_memory_bytes, 0);
    EXPECT_GT(point.map_bytes, 0);
    EXPECT_EQ(point.weights_hash.size(), 16U);
    EXPECT_EQ(point.input_hash.size(), 16U);
    logits.insert(point.logits_hash);
    ASSERT_EQ(point.layers.size(), 2U);
    const std::int64_t tiles = point.settings["patch.size"] == 4 ? 9 : 1;
    ASSERT_EQ(point.stages.size(), 1U);
    EXPECT_EQ(point.stages[0].rows * point.stages[0].columns, tiles);
    EXPECT_EQ(point.layers[0].launches, tiles);
    EXPECT_EQ(point.layers[1].launches, 1);
    // fc2 reads 480 values an image and writes 5; 2405 parameters.
    EXPECT_EQ(point.layers[1].bytes, 4 * (2 * (480 + 5) + 2405));
    constexpr double whole = 4 * (2 * 120 * (2 + 4) + 76);
    EXPECT_EQ(point.layers[0].bytes == whole, tiles == 1) << "tiles read halos twice";
    EXPECT_GE(point.layers[0].bytes, whole);
    EXPECT_EQ(point.stream_busy_share.size(), static_cast<std::size_t>(point.config["streams"]));
    EXPECT_FALSE(point.started.empty());
    EXPECT_GT(point.seconds, 0);
  }
  EXPECT_EQ(logits.size(), 1U) << "the same bits everywhere";
  EXPECT_FALSE(store_.sweeps()[0].finished.empty());
}

TEST_F(RunSweepTest, ADifferentPointIsNeverTimed) {
  settings_.verifier = [](const Session& session) {
    Verification v = verify(session);
    if (session.experiment().streams == 2) v.stages[0].different = 3;
    return v;
  };
  const SweepOutcome outcome = run(plan("sweep: {streams: [1, 2, 3]}\n"));
  ASSERT_EQ(outcome.points.size(), 3U);
  for (const PointRecord& point : outcome.points) {
    const bool planted = point.settings["streams"] == 2;
    EXPECT_EQ(point.status, planted ? PointStatus::different : PointStatus::ok);
    EXPECT_EQ(point.timing.samples.empty(), planted);
    EXPECT_EQ(point.different_elements, planted ? 3 : 0);
    EXPECT_EQ(point.message, planted ? "3 of 960 elements of relu1 differ from the unpatched run's" : "");
  }
}

TEST_F(RunSweepTest, AnErrorIsRecordedAndTheSweepGoesOn) {
  const SweepOutcome outcome = run(plan("sweep: {dispatch: [streams, graph], streams: [1, 2]}\n"));
  EXPECT_TRUE(outcome.complete);
  std::size_t errors = 0;
  for (const PointRecord& point : outcome.points) {
    if (point.status != PointStatus::error) continue;
    ++errors;
    EXPECT_TRUE(point.message.starts_with("dispatch: graph: is for CUDA devices")) << point.message;
    EXPECT_TRUE(point.timing.samples.empty());
  }
  EXPECT_EQ(errors, 2U);
}

TEST_F(RunSweepTest, FailFastEndsBehindTheFirstFailure) {
  settings_.fail_fast = true;
  const SweepPlan p = plan("sweep: {dispatch: [graph], streams: [1, 2, 3, 4]}\n");
  const SweepOutcome outcome = run(p);
  EXPECT_FALSE(outcome.complete);
  EXPECT_EQ(outcome.points.size(), 2U) << "the reference and the first error";
  EXPECT_TRUE(store_.sweeps()[0].finished.empty());
}

TEST_F(RunSweepTest, AnInterruptedSweepGoesOnWhereItWas) {
  const SweepPlan p = plan("sweep: {streams: [1, 2, 3, 4]}\n");
  int verified = 0;
  settings_.verifier = [&](const Session& session) {
    if (++verified == 3) throw Interrupted();
    return verify(session);
  };
  EXPECT_THROW((void)run(p), Interrupted);
  EXPECT_EQ(store_.points().size(), 2U);
  settings_.verifier = verify;
  const SweepOutcome outcome = run(p);
  EXPECT_EQ(watcher_.finished_before, 2U);
  EXPECT_EQ(outcome.measured, 2U);
  EXPECT_EQ(outcome.points.size(), 4U);
  EXPECT_EQ(store_.sweeps().size(), 1U);
  EXPECT_EQ(run(p).measured, 0U) << "nothing is left";
}

TEST_F(RunSweepTest, ALongSweepIsGauged) {
  const SweepOutcome outcome = run(plan("sweep:\n  streams: range(1, 21)\n"));
  EXPECT_EQ(outcome.points.size(), 20U);
  EXPECT_EQ(outcome.drift.size(), 4U) << "the reference, behind 8 and 16 more, and at the end";
}

TEST(Drift, IsTheLargestThatTheIntervalsDoNotExplain) {
  const auto sample = [](double low, double median, double high) {
    return DriftSample{1, 0, "", median, low, high};
  };
  EXPECT_EQ(drift_of({}), 0);
  EXPECT_EQ(drift_of({sample(9, 10, 11), sample(10, 12, 14)}), 0);
  EXPECT_DOUBLE_EQ(drift_of({sample(9, 10, 11), sample(12, 13, 14), sample(11.5, 12, 12.5)}), 0.3);
  EXPECT_DOUBLE_EQ(drift_of({sample(9, 10, 11), sample(7, 8, 8.5)}), -0.2);
}

}  // namespace
}  // namespace halotile
