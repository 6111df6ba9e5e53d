// Explanations: each finding from a record made for it, its numbers, and that nothing is said without data.
#include "sweeping/explain.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace halotile {
namespace {

using nlohmann::json;

// 100 ms on one stream: a convolution of 10 GFLOP in 80 ms, a fully connected layer of 200 MB in 15 ms.
PointRecord whole_point() {
  PointRecord p;
  p.config = {{"precision", "fp32"}, {"streams", 1}, {"threads", 0}, {"patch", {{"size", "whole"}}}};
  p.machine = 1;
  p.device = "cpu";
  p.images = 4;
  p.timing = {{}, 100, 99, 101, 98, 102, StopReason::tight};
  p.layers = {{"conv1", "conv", 80, 10e9, 50e6, 1}, {"fc1", "fully_connected", 15, 0.1e9, 200e6, 1}};
  p.stages = {{"conv1", 1, 1, 10e9, 0}};
  p.stream_busy_share = {0.95};
  p.map_bytes = std::int64_t{100} << 20;
  return p;
}

// Two streams, 4 x 4 tiles, a fifth more arithmetic; 120 ms.
PointRecord patched_point() {
  PointRecord p = whole_point();
  p.config["streams"] = 2;
  p.config["patch"] = {{"grid", {4, 4}}};
  p.timing = {{}, 120, 119, 121, 118, 122, StopReason::tight};
  p.layers = {{"conv1", "conv", 180, 12e9, 70e6, 16}, {"fc1", "fully_connected", 30, 0.1e9, 200e6, 4}};
  p.stages = {{"conv1", 4, 4, 12e9, 2e9}};
  p.stream_busy_share = {0.95, 0.8};
  p.map_bytes = std::int64_t{60} << 20;
  p.scratch_bytes = std::int64_t{15} << 20;
  return p;
}

Ceiling ceiling() { return {1, "cpu", "fp32", 200e9, 20e9, 0}; }

std::string text_of(const std::vector<Finding>& findings, const std::string& topic) {
  std::string text;
  for (const Finding& f : findings) {
    if (f.topic == topic) text += f.text;
  }
  return text;
}

double cost_of(const std::vector<Finding>& findings, const std::string& topic) {
  const auto found =
      std::find_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.topic == topic; });
  return found == findings.end() ? -1 : found->cost;
}

class ExplainTest : public testing::Test {
 protected:
  [[nodiscard]] std::vector<Finding> findings() const { return explain(point_, &whole_, &ceiling_); }

  PointRecord point_ = patched_point();
  PointRecord whole_ = whole_point();
  Ceiling ceiling_ = ceiling();
};

TEST_F(ExplainTest, Summary) {
  EXPECT_EQ(summarize(point_, &whole_),
            "120 ms for 4 images (median; 95% interval 118 ms to 122 ms), 20% more than the unpatched run's "
            "100 ms.");
  EXPECT_EQ(summarize(point_, nullptr), "120 ms for 4 images (median; 95% interval 118 ms to 122 ms).");
  point_.timing.low = 95;
  EXPECT_NE(summarize(point_, &whole_).find("not to be told from"), std::string::npos);
}

TEST_F(ExplainTest, HalosAreHeldAgainstTheTime) {
  EXPECT_EQ(text_of(findings(), "halos"),
            "Halos make 16 tiles repeat 17% of the arithmetic of the stages (2 GFLOP of 12 GFLOP); if time "
            "followed work, the run would take 20% longer than unpatched, and it takes 20% longer.");
  EXPECT_NEAR(cost_of(findings(), "halos"), 1.0 / 6 * 0.875, 1e-3);
  point_.stages[0].recomputed_flops = 0;
  EXPECT_EQ(text_of(findings(), "halos"), "The 16 tiles repeat no arithmetic.");
  EXPECT_EQ(text_of(explain(whole_, nullptr, nullptr), "halos"), "");
}

TEST_F(ExplainTest, OverlapAndUnevenStreams) {
  EXPECT_EQ(
      text_of(findings(), "overlap"),
      "On average 1.75 of 2 streams are at work at a time; 12% of the streams' time (15 ms each) goes by "
      "idle.");
  EXPECT_NEAR(cost_of(findings(), "overlap"), 0.125, 1e-9);
  EXPECT_EQ(text_of(findings(), "streams"),
            "The streams' work is uneven: stream 0 is at work 95% of the run, stream 1 80%.");
  EXPECT_NEAR(cost_of(findings(), "streams"), 0.075, 1e-9);
  point_.stream_busy_share = {0.999, 0.998};
  EXPECT_EQ(text_of(findings(), "streams"), "");
  EXPECT_EQ(text_of(findings(), "overlap"), "On average 2.00 of 2 streams are at work at a time.");
  EXPECT_EQ(text_of(explain(whole_, nullptr, nullptr), "overlap"),
            "The stream is at work 95% of the run; 5 ms pass between its pieces of work.");
}

TEST_F(ExplainTest, LayersThatTakeLonger) {
  EXPECT_EQ(text_of(findings(), "layers"),
            "Some layers keep the device 10 ms longer than unpatched, most of it: conv1 10 ms.");
  point_.layers[0].milliseconds = 120;
  point_.layers[1].milliseconds = 20;
  EXPECT_EQ(text_of(findings(), "layers"),
            "The layers keep the device 25 ms less than unpatched, most of it: conv1 20 ms, fc1 5 ms.");
  EXPECT_EQ(cost_of(findings(), "layers"), 0);
}

TEST_F(ExplainTest, ThreadsFixedByHandSayNothingOfTheDevice) {
  point_.config["threads"] = 1;
  EXPECT_EQ(text_of(findings(), "layers"), "");
  EXPECT_EQ(text_of(findings(), "arithmetic"), "");
  EXPECT_EQ(text_of(findings(), "bandwidth"), "");
}

TEST_F(ExplainTest, LaunchesAreCounted) {
  EXPECT_EQ(
      text_of(findings(), "launches"),
      "A run is 20 pieces of work, of 10.5 ms on average; unpatched it is 2; a stream waits 1.5 ms between "
      "two.");
}

TEST_F(ExplainTest, RatesAreHeldAgainstTheCeiling) {
  EXPECT_EQ(text_of(findings(), "arithmetic"),
            "Layers bound by arithmetic take 75% of the streams' time and run at 133 GFLOP/s, 67% of the 200 "
            "GFLOP/s measured as this device's limit in fp32.");
  EXPECT_NEAR(cost_of(findings(), "arithmetic"), 0.75 / 3, 1e-3);
  EXPECT_EQ(
      text_of(findings(), "bandwidth"),
      "Layers bound by memory take 12% of the streams' time, fc1 most; they move at least 191 MiB, at 13.3 "
      "GB/s, 67% of the 20 GB/s measured as memory's limit.");
  ceiling_.flops_per_second = 100e9;
  EXPECT_NE(text_of(findings(), "arithmetic").find("133% of the 100 GFLOP/s"), std::string::npos);
  EXPECT_NE(text_of(findings(), "arithmetic").find("as if none were saved"), std::string::npos);
  EXPECT_EQ(cost_of(findings(), "arithmetic"), 0);
  const std::vector<Finding> without = explain(point_, &whole_, nullptr);
  EXPECT_EQ(text_of(without, "arithmetic") + text_of(without, "bandwidth"), "");
}

TEST_F(ExplainTest, OtherWork) {
  point_.layers.push_back({"input", "host_to_device", 8, 0, 320e6, 1});
  point_.layers.push_back({"pack", "pack", 3, 0, 0, 16});
  point_.layers.push_back({"place", "place", 1, 0, 0, 16});
  point_.layers.push_back({"memory", "allocation", 12, 0, 0, 0});
  ceiling_.copy_bytes_per_second = 50e9;
  EXPECT_NE(text_of(findings(), "copies").find("(8 ms): 305 MiB at 40 GB/s, 80% of the 50 GB/s measured"),
            std::string::npos)
      << text_of(findings(), "copies");
  EXPECT_NE(text_of(findings(), "packing").find("Packing tiles takes 3 ms and placing their cores 1 ms"),
            std::string::npos);
  EXPECT_NE(text_of(findings(), "allocation").find("takes 12 ms"), std::string::npos);
  EXPECT_EQ(text_of(explain(patched_point(), nullptr, nullptr), "copies"), "");
}

TEST_F(ExplainTest, MemoryAndDisturbance) {
  EXPECT_EQ(text_of(findings(), "memory"),
            "Maps take 60 MiB and tiles in flight 15 MiB, together 75% of the 100 MiB that the unpatched run "
            "takes.");
  EXPECT_EQ(text_of(findings(), "disturbance"), "");
  point_.timing.q3 = 150;
  EXPECT_EQ(text_of(findings(), "disturbance"),
            "Runs differ much: half of them lie between 119 ms and 150 ms, 26% of the median apart.");
  point_.disturbances = {"the clock fell by 12%"};
  EXPECT_EQ(
      text_of(findings(), "disturbance"),
      "The measurement was disturbed: the clock fell by 12%. Half of its runs lie between 119 ms and 150 "
      "ms.");
}

TEST_F(ExplainTest, TheCostliestComesFirst) {
  const std::vector<Finding> all = findings();
  ASSERT_GE(all.size(), 6U);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(),
                             [](const Finding& a, const Finding& b) { return a.cost > b.cost; }));
  EXPECT_EQ(all.front().topic, "arithmetic");
}

TEST_F(ExplainTest, WithoutTimesNothingIsSaid) {
  point_.status = PointStatus::different;
  EXPECT_TRUE(findings().empty());
  PointRecord bare;
  bare.timing.median = 3;
  EXPECT_TRUE(explain(bare, nullptr, &ceiling_).empty()) << "a time alone shows no cause";
}

TEST_F(ExplainTest, TimesOfAGpuAreOfItsOwnProfiledRuns) {
  // Profiled runs last 240 ms: layers' shares are of those.
  point_.device = "cuda:0";
  for (LayerRecord& l : point_.layers) l.milliseconds *= 2;
  EXPECT_NE(text_of(findings(), "arithmetic").find("take 75% of the streams' time"), std::string::npos)
      << text_of(findings(), "arithmetic");
}

TEST_F(ExplainTest, TheUnpatchedPointAndItsCeilingAreFound) {
  PointRecord packed = patched_point();
  packed.config["precision"] = "bf16";
  PointRecord elsewhere = whole_point();
  elsewhere.machine = 2;
  PointRecord replayed = whole_point();
  replayed.config["dispatch"] = "graph";
  const std::vector<PointRecord> points{packed, elsewhere, patched_point(), replayed, whole_point()};
  EXPECT_EQ(unpatched(points[2], points), &points[4]) << "as the planner has it: queued by the host";
  EXPECT_EQ(unpatched(points[3], points), &points[4]);
  EXPECT_EQ(unpatched(points[4], points), &points[4]) << "it is its own";
  EXPECT_EQ(unpatched(points[0], points), nullptr) << "of another precision";
  std::vector<Ceiling> ceilings{{2, "cpu", "fp32", 1, 1, 0}, {1, "cpu", "bf16", 1, 1, 0}, ceiling()};
  EXPECT_EQ(ceiling_of(point_, ceilings), &ceilings[2]);
  ceilings.pop_back();
  EXPECT_EQ(ceiling_of(point_, ceilings), nullptr);
}

}  // namespace
}  // namespace halotile
