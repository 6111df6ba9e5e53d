#include "program/report/timeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/mapped_file.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using nlohmann::json;

constexpr std::size_t most_slices = 20000;

struct Slice {
  int track = 0;
  double begin_us = 0;
  double duration_us = 0;
  std::string name;
  std::array<long, 3> tile{-1, -1, -1};  // stage, row, column, where the work is a tile's
};

std::array<long, 3> tile_of(const json& arguments) {
  if (!arguments.contains("row")) return {-1, -1, -1};
  return {arguments.at("stage"), arguments.at("row"), arguments.at("column")};
}

class TraceReader {
 public:
  explicit TraceReader(const json& trace) {
    std::vector<const json*> works;
    for (const json& e : trace.at("traceEvents")) {
      const std::string phase = e.value("ph", "");
      if (phase == "M" && e.at("name") == "process_name") processes_[e.at("pid")] = e.at("args").at("name");
      if (phase == "M" && e.at("name") == "thread_name") add_track(e);
      if (phase == "X") works.push_back(&e);
    }
    for (const json* e : works) add_slice(*e);
  }

  [[nodiscard]] json take() {
    std::size_t left_out = 0;
    if (slices_.size() > most_slices) {
      left_out = slices_.size() - most_slices;
      std::nth_element(slices_.begin(), slices_.begin() + most_slices, slices_.end(),
                       [](const Slice& a, const Slice& b) { return a.duration_us > b.duration_us; });
      slices_.resize(most_slices);
    }
    std::sort(slices_.begin(), slices_.end(), [](const Slice& a, const Slice& b) {
      return std::pair(a.track, a.begin_us) < std::pair(b.track, b.begin_us);
    });
    double origin = slices_.empty() ? 0 : slices_.front().begin_us;
    for (const Slice& s : slices_) origin = std::min(origin, s.begin_us);
    json timeline{{"tracks", names_}, {"slices", json::array()}, {"left_out", left_out}};
    for (const Slice& s : slices_) {
      timeline["slices"].push_back({s.track, nanoseconds(s.begin_us - origin), nanoseconds(s.duration_us),
                                    s.name, s.tile[0], s.tile[1], s.tile[2]});
    }
    return timeline;
  }

 private:
  static std::int64_t nanoseconds(double microseconds) {
    return static_cast<std::int64_t>(1e3 * microseconds + 0.5);
  }

  // The streams' tracks are in the device's process, as are those of layers and of reassembly, which repeat
  // what the streams' show.
  void add_track(const json& event) {
    const std::string name = event.at("args").at("name");
    if (processes_[event.at("pid")] == "host" || name.find(": layers") != std::string::npos ||
        name.starts_with("reassembly"))
      return;
    tracks_.emplace(event.at("tid").get<int>(), static_cast<int>(names_.size()));
    names_.push_back(name);
  }

  void add_slice(const json& event) {
    const auto track = tracks_.find(event.at("tid").get<int>());
    if (track == tracks_.end()) return;
    const json arguments = event.value("args", json::object());
    Slice slice{track->second, event.at("ts"), event.at("dur"), event.at("name"), tile_of(arguments)};
    const std::string range = arguments.value("range", slice.name);
    if (range != slice.name) slice.name = range + " - " + slice.name;
    slices_.push_back(std::move(slice));
  }

  std::map<int, std::string> processes_;
  std::map<int, int> tracks_;  // a trace's track -> ours
  std::vector<std::string> names_;
  std::vector<Slice> slices_;
};

}  // namespace

json read_timeline(const std::filesystem::path& trace) {
  const MappedFile file(trace);
  try {
    const std::span<const std::byte> bytes = file.bytes();
    const auto* const text = reinterpret_cast<const char*>(bytes.data());
    json timeline = TraceReader(json::parse(text, text + bytes.size())).take();
    timeline["file"] = trace.filename().string();
    return timeline;
  } catch (const json::exception&) {
    throw FormatError(fmt::format(
        "{}: not a trace that measure.trace wrote, or a part of one; make one with halotile run CONFIG "
        "measure.trace=trace.json",
        trace.string()));
  }
}

}  // namespace halotile
