// Traces: what ranges record, and the file that is made of them and of a device's records.
#include "pipeline/running/trace.hpp"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "patching/error.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

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

using TrackId = std::pair<int, int>;

// Slices by track, each its begin and end, in order; they must not overlap.
std::map<TrackId, std::vector<std::pair<double, double>>> slices_by_track(const json& trace) {
  std::map<TrackId, std::vector<std::pair<double, double>>> tracks;
  for (const json& e : events(trace, "X")) {
    EXPECT_GE(e["ts"].get<double>(), 0);
    EXPECT_GE(e["dur"].get<double>(), 0);
    EXPECT_FALSE(e["name"].get<std::string>().empty());
    tracks[{e["pid"], e["tid"]}].emplace_back(e["ts"], e["ts"].get<double>() + e["dur"].get<double>());
  }
  for (auto& [track, slices] : tracks) {
    std::sort(slices.begin(), slices.end());
    for (std::size_t i = 1; i < slices.size(); ++i) {
      EXPECT_LE(slices[i - 1].second, slices[i].first + tolerance_us) << "track " << track.second;
    }
  }
  return tracks;
}

// Perfetto's rules for JSON: events have their fields, slices of a track do not overlap, and each flow starts
// once, ends once, goes forward in time, and is bound to slices that are there. Returns the flows of tiles.
std::map<std::int64_t, std::vector<json>> expect_rules(const json& trace) {
  const auto tracks = slices_by_track(trace);
  std::map<std::int64_t, std::vector<json>> flows;
  std::map<std::int64_t, std::vector<json>> of_tiles;
  for (const json& e : trace["traceEvents"]) {
    const std::string phase = e["ph"];
    EXPECT_TRUE(phase == "M" || phase == "X" || phase == "s" || phase == "t" || phase == "f") << e;
    if (phase == "M" || phase == "X") continue;
    flows[e["id"]].push_back(e);
    const auto track = tracks.find({e["pid"], e["tid"]});
    if (track == tracks.end()) {
      ADD_FAILURE() << "a flow on a track without slices: " << e;
      continue;
    }
    const double at = e["ts"];
    EXPECT_TRUE(std::any_of(track->second.begin(), track->second.end(),
                            [at](const auto& slice) {
                              return slice.first - tolerance_us <= at && at <= slice.second + tolerance_us;
                            }))
        << "no slice there: " << e;
  }
  for (const auto& [id, list] : flows) {
    EXPECT_GE(list.size(), 2U);
    for (std::size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(list[i]["ph"], i == 0 ? "s" : i + 1 == list.size() ? "f" : "t") << "flow " << id;
      EXPECT_EQ(list[i]["cat"], list[0]["cat"]);
      EXPECT_EQ(list[i]["name"], list[0]["name"]);
      if (i > 0) {
        EXPECT_GE(list[i]["ts"].get<double>(), list[i - 1]["ts"].get<double>()) << "flow " << id;
      }
    }
    if (list[0]["cat"] == "tile") of_tiles[id] = list;
  }
  return of_tiles;
}

// The slice of a flow's event.
json slice_at(const json& trace, const json& event) {
  for (const json& s : events(trace, "X")) {
    if (s["pid"] == event["pid"] && s["tid"] == event["tid"] && s["ts"] == event["ts"]) return s;
  }
  return {};
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
  (void)expect_rules(trace);
  std::vector<json> slices = events(trace, "X");
  std::erase_if(slices, [](const json& s) { return s["cat"] == "step" || s["cat"] == "reassembly"; });
  ASSERT_EQ(slices.size(), 9U) << "four tiles of two stages and one block";
  std::set<std::string> names;
  for (const json& s : slices) names.insert(s["name"]);
  EXPECT_TRUE(names.contains("a: image 0, stage 0, row 1, column 0, 2 images"));
  EXPECT_TRUE(names.contains("p: image 0, stage 1, row 0, column 1, 2 images"));
  EXPECT_TRUE(names.contains("f: block 0"));
  std::set<std::string> tracks;
  // Where two streams place tiles at the same time, a stage's reassembly takes a second track: "..., 2".
  for (const auto& [track, name] : track_names(trace)) tracks.insert(name.substr(0, name.find(", ")));
  EXPECT_EQ(tracks, (std::set<std::string>{"stream 0", "stream 1", "stream 0: layers", "stream 1: layers",
                                           "reassembly of stage 0", "reassembly of stage 1"}));
}

TEST(Trace, EveryTileFlowsFromItsFirstWorkToItsReassembly) {
  const support::Model model(
      "input: {channels: 2, height: 20, width: 20}\nlayers:\n"
      "  - {type: conv, name: a, out_channels: 3, kernel: 3, padding: 1}\n"
      "  - {type: relu}\n"
      "  - {type: max_pool, name: p, kernel: 2}\n"
      "  - {type: conv, name: b, out_channels: 4, kernel: 3}\n"
      "  - {type: fully_connected, name: f, out_features: 4}\n");
  const auto engine = make_reference_engine();
  struct Case {
    const char* name;
    bool fused;
    int streams;
    Storage storage;
    std::int64_t sub_batch;
    std::size_t tiles;
  };
  for (const Case& c :
       {Case{"views", false, 1, Storage::view, 0, 12}, Case{"packed", false, 3, Storage::packed, 0, 12},
        Case{"fused", true, 2, Storage::view, 0, 4},
        Case{"fused, packed, in chunks", true, 4, Storage::packed, 2, 8},
        Case{"in chunks", false, 8, Storage::view, 1, 36}}) {
    SCOPED_TRACE(c.name);
    support::Way way = support::whole_way(model.network(), 3, {});
    way.patch = {PatchSpec::Kind::grid, {2, 2}};
    if (c.fused) way.stages = fused_groups(model.network());
    way.settings.streams = c.streams;
    way.settings.storage = c.storage;
    way.settings.sub_batch = c.sub_batch;
    const auto executor = support::make_executor(model, *engine, way);
    support::fill_input(*executor, 1);
    const TempFolder folder;
    write_trace(folder.path() / "t.json", engine->device(), [&] { executor->run(); });
    const json trace = json::parse(std::ifstream(folder.path() / "t.json"));
    const auto flows = expect_rules(trace);
    ASSERT_EQ(flows.size(), c.tiles);
    std::set<std::array<int, 4>> keys;
    for (const auto& [id, list] : flows) {
      const json first = slice_at(trace, list.front());
      const json last = slice_at(trace, list.back());
      EXPECT_EQ(first["cat"], "step");
      EXPECT_EQ(last["cat"], "reassembly");
      for (const json& event : list) {
        for (const char* key : {"image", "images", "stage", "row", "column"})
          EXPECT_EQ(slice_at(trace, event)["args"][key], last["args"][key]);
      }
      if (c.storage == Storage::packed) {
        EXPECT_EQ(first["name"], "pack");
        EXPECT_EQ(slice_at(trace, list[list.size() - 2])["name"], "place");
      }
      const json& args = last["args"];
      keys.insert({args["image"].get<int>(), args["stage"].get<int>(), args["row"].get<int>(),
                   args["column"].get<int>()});
    }
    EXPECT_EQ(keys.size(), c.tiles) << "each tile once";
    std::size_t tiles = 0;
    for (const json& s : events(trace, "X")) tiles += s["cat"] == "tile" ? 1 : 0;
    EXPECT_EQ(tiles, c.tiles);
  }
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
  (void)expect_rules(trace);
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

TEST(Trace, WorkOfADeviceFlowsToWhereCoresArePlaced) {
  using Role = RangeLabel::Role;
  const std::vector<HostRange> ranges{
      {"layer", 7, 0, 1010, 1090, Role::step, {0, 2, 0, 0}, 4},
      {"a: tile", 7, 0, 1000, 1100, Role::tile, {0, 2, 0, 0}, 4},
      {"b: tile", 7, 1, 1200, 1300, Role::tile, {0, 2, 0, 1}, 4},
      {"c: tile of another stage", 7, 1, 1400, 1500, Role::tile, {0, 3, 0, 1}, 4},
      {"place", 7, 0, 1600, 1700, Role::place, {0, 2, 0, 0}, 4}};
  using Track = TraceSlice::Track;
  const auto launch = [](std::int64_t at, std::int64_t correlation) {
    return TraceSlice{Track::call, 7, "cudaLaunchKernel", "call", at, at + 10, correlation, {}, {}};
  };
  const auto kernel = [](std::int64_t stream, std::int64_t begin, std::int64_t correlation) {
    return TraceSlice{Track::stream, stream, "k", "kernel", begin, begin + 100, correlation, {}, {}};
  };
  const std::vector<TraceSlice> work{launch(1020, 1),     launch(1050, 2),     launch(1220, 3),
                                     launch(1420, 4),     launch(1620, 5),     kernel(13, 2000, 1),
                                     kernel(13, 2100, 2), kernel(14, 2150, 3), kernel(14, 2260, 4),
                                     kernel(13, 2400, 5)};
  const json trace = json::parse(trace_json("cuda:0", ranges, work));
  const auto flows = expect_rules(trace);
  ASSERT_EQ(flows.size(), 2U) << "two tiles to the kernel that places both; the third has one kernel alone";
  std::set<std::size_t> lengths;
  for (const auto& [id, list] : flows) {
    lengths.insert(list.size());
    EXPECT_EQ(slice_at(trace, list.back())["args"]["range"], "place");
    const json first = slice_at(trace, list.front());
    EXPECT_EQ(first["args"]["stage"], 2);
    EXPECT_EQ(first["args"]["images"], 4);
  }
  EXPECT_EQ(lengths, (std::set<std::size_t>{2, 3}));
  EXPECT_EQ(events(trace, "s").size(), 2U + 5U) << "and an arrow from each call";
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
