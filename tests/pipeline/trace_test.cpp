// Traces: what ranges record, and the file that is made of them and of a device's records.
#include "pipeline/trace.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "executor_support.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using support::TempFolder;

constexpr double tolerance_us = 1e-4;  // of times as doubles

std::vector<json> events(const json& trace, const std::string& phase) {
  std::vector<json> found;
  for (const json& e : trace["traceEvents"]) {
    if (e["ph"] == phase) found.push_back(e);
  }
  return found;
}

std::map<int, std::string> track_names(const json& trace) {
  std::map<int, std::string> names;
  for (const json& e : events(trace, "M")) {
    if (e["name"] == "thread_name") names[e["tid"]] = e["args"]["name"];
  }
  return names;
}

void expect_no_overlap(const json& trace) {
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> tracks;
  for (const json& e : events(trace, "X")) {
    EXPECT_GE(e["ts"].get<double>(), 0);
    EXPECT_GE(e["dur"].get<double>(), 0);
    tracks[{e["pid"], e["tid"]}].emplace_back(e["ts"], e["ts"].get<double>() + e["dur"].get<double>());
  }
  for (auto& [track, slices] : tracks) {
    std::sort(slices.begin(), slices.end());
    for (std::size_t i = 1; i < slices.size(); ++i) {
      EXPECT_LE(slices[i - 1].second, slices[i].first + tolerance_us) << "track " << track.second;
    }
  }
}

TEST(TraceRange, RecordsOnlyWhileARecordingLives) {
  {
    const TraceRange before(0, [] { return std::string("before"); });
  }
  RangeRecording recording;
  {
    const TraceRange outer(1, [] { return std::string("outer"); });
    const TraceRange inner(1, [] { return std::string("inner"); });
  }
  std::thread([] { const TraceRange other(2, [] { return std::string("other"); }); }).join();
  const std::vector<HostRange> ranges = recording.take();
  ASSERT_EQ(ranges.size(), 3U);
  EXPECT_EQ(ranges[0].name, "inner");
  EXPECT_EQ(ranges[1].name, "outer");
  EXPECT_EQ(ranges[2].name, "other");
  EXPECT_EQ(ranges[2].stream, 2);
  EXPECT_NE(ranges[2].thread, ranges[1].thread);
  EXPECT_LE(ranges[1].begin_ns, ranges[0].begin_ns);
  EXPECT_LE(ranges[0].end_ns, ranges[1].end_ns);
  EXPECT_TRUE(recording.take().empty());
}

TEST(TraceRange, NamesAreMadeOnlyWhenWanted) {
  if (std::getenv("NVTX_INJECTION64_PATH") != nullptr) GTEST_SKIP() << "a profiler listens";
  bool made = false;
  const TraceRange range(0, [&] {
    made = true;
    return std::string();
  });
  EXPECT_FALSE(made);
}

TEST(Trace, KernelNamesAreShort) {
  EXPECT_EQ(
      short_kernel_name("_ZN8halotile6direct12_GLOBAL__N_112conv2d_sliceINS0_12RegisterTileILi8ELi2ELi16E"
                        "Li16ELi1ELi1ELi3EEEEEvNS0_16Conv2dParametersE"),
      "conv2d_slice");
  EXPECT_EQ(short_kernel_name("_Z5scalePfi"), "scale");
  EXPECT_EQ(short_kernel_name("plain"), "plain");
}

TEST(Trace, RunOnTheHostHasATrackPerStreamAndASlicePerTile) {
  const support::Model model(
      "input: {channels: 2, height: 12, width: 12}\nlayers:\n"
      "  - {type: conv, name: a, out_channels: 3, kernel: 3}\n"
      "  - {type: max_pool, name: p, kernel: 2}\n"
      "  - {type: fully_connected, name: f, out_features: 4}\n");
  const auto engine = make_reference_engine();
  support::Way way = support::whole_way(model.network(), 2, {});
  way.patch = {PatchSpec::Kind::grid, {2, 2}};
  way.settings.streams = 2;
  const auto executor = support::make_executor(model, *engine, way);
  support::fill_input(*executor, 1);
  const TempFolder folder;
  write_trace(folder.path() / "t.json", engine->device(), [&] { executor->run(); });
  const json trace = json::parse(std::ifstream(folder.path() / "t.json"));
  expect_no_overlap(trace);
  const std::vector<json> slices = events(trace, "X");
  ASSERT_EQ(slices.size(), 9U) << "four tiles of two stages and one block";
  std::set<std::string> names;
  for (const json& s : slices) names.insert(s["name"]);
  EXPECT_TRUE(names.contains("a: image 0, stage 0, row 1, column 0, 2 images"));
  EXPECT_TRUE(names.contains("p: image 0, stage 1, row 0, column 1, 2 images"));
  EXPECT_TRUE(names.contains("f: block 0"));
  std::set<std::string> tracks;
  for (const auto& [track, name] : track_names(trace)) tracks.insert(name);
  EXPECT_EQ(tracks, (std::set<std::string>{"stream 0", "stream 1"}));
}

TEST(Trace, DeviceRecordsAreJoinedToTheirCallsAndRanges) {
  const std::vector<HostRange> ranges{{"a: tile", 7, 0, 1000, 2000}, {"b: tile", 7, 1, 2000, 3000}};
  using Track = TraceSlice::Track;
  const std::vector<TraceSlice> work{
      {Track::call, 7, "cudaLaunchKernel", "call", 1100, 1200, 5, {}},
      {Track::call, 7, "cudaLaunchKernel", "call", 2100, 2200, 6, {}},
      {Track::call, 7, "cudaStreamSynchronize", "call", 3100, 9000, 7, {}},
      {Track::synchronization, 0, "host waits for stream", "synchronization", 3150, 8990, 7, {}},
      {Track::stream, 13, "conv2d_slice", "kernel", 4000, 5000, 5, {{"grid", "4x1x1"}}},
      {Track::stream, 14, "conv2d_slice", "kernel", 4500, 6000, 6, {{"grid", "2x1x1"}}},
      {Track::stream, 14, "copy device to host", "copy", 5500, 7000, 0, {{"bytes", std::int64_t{64}}}}};
  const json trace = json::parse(trace_json("cuda:0", ranges, work));
  expect_no_overlap(trace);
  std::map<std::string, json> by_range;
  for (const json& s : events(trace, "X")) {
    if (s["args"].contains("range")) by_range[s["args"]["range"]] = s;
    if (s["cat"] == "copy") {
      EXPECT_EQ(s["args"]["bytes"], 64);
    }
  }
  ASSERT_EQ(by_range.size(), 2U);
  EXPECT_EQ(by_range["a: tile"]["args"]["grid"], "4x1x1");
  EXPECT_DOUBLE_EQ(by_range["a: tile"]["ts"].get<double>(), 3.0)
      << "from the first slice on, in microseconds";
  EXPECT_DOUBLE_EQ(by_range["b: tile"]["dur"].get<double>(), 1.5);
  std::set<std::string> tracks;
  for (const auto& [track, name] : track_names(trace)) tracks.insert(name);
  EXPECT_EQ(tracks, (std::set<std::string>{"ranges of thread 7", "CUDA calls of thread 7", "synchronization",
                                           "stream 0 (CUDA's 13)", "stream 1 (CUDA's 14)",
                                           "stream 1 (CUDA's 14), 2"}));
  EXPECT_EQ(events(trace, "s").size(), 2U);
  EXPECT_EQ(events(trace, "f").size(), 2U);
}

TEST(Trace, AFailedRunLeavesNoFile) {
  const TempFolder folder;
  CpuDevice device;
  EXPECT_THROW(write_trace(folder.path() / "t.json", device, [] { throw UnsupportedError("not today"); }),
               UnsupportedError);
  EXPECT_TRUE(fs::is_empty(folder.path()));
  EXPECT_THROW(write_trace(folder.path() / "no" / "t.json", device, [] { FAIL() << "ran all the same"; }),
               FormatError);
}

}  // namespace
}  // namespace halotile
