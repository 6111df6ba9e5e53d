#include "pipeline/running/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "formats/atomic_file.hpp"

namespace halotile {
namespace {

using Track = TraceSlice::Track;

// "Processes" of the trace's viewer group tracks.
constexpr int host_process = 1;
constexpr int device_process = 2;

using Role = RangeLabel::Role;

std::vector<TraceSlice::Argument> arguments_of(const HostRange& r) {
  std::vector<TraceSlice::Argument> arguments{{"stream", r.stream}};
  if (r.role == Role::other) return arguments;
  arguments.emplace_back("image", r.tile.image);
  arguments.emplace_back("images", r.images);
  arguments.emplace_back("stage", r.tile.stage);
  if (r.role == Role::place) return arguments;
  arguments.emplace_back("row", r.tile.row);
  arguments.emplace_back("column", r.tile.column);
  return arguments;
}

// Numbers of the tiles' flows.
class Flows {
 public:
  std::int64_t of(const TileKey& tile) {
    return numbers_.emplace(tile, static_cast<std::int64_t>(numbers_.size())).first->second;
  }
  // Of all tiles of the stage that begin with this image, seen so far.
  [[nodiscard]] std::vector<std::int64_t> of_stage(const TileKey& place) const {
    std::vector<std::int64_t> found;
    for (const auto& [tile, number] : numbers_) {
      if (tile.image == place.image && tile.stage == place.stage) found.push_back(number);
    }
    return found;
  }

 private:
  std::map<TileKey, std::int64_t> numbers_;
};

// Streams of the host: the ranges are their work.
std::vector<TraceSlice> stream_slices(std::span<const HostRange> ranges) {
  std::vector<TraceSlice> slices;
  Flows flows;
  for (const HostRange& r : ranges) {
    TraceSlice slice{Track::stream, r.stream, r.name, "range", r.begin_ns, r.end_ns, 0, arguments_of(r), {}};
    if (r.role == Role::tile) slice.category = "tile";
    if (r.role == Role::step) {
      slice.track = Track::step;
      slice.category = "step";
    }
    if (r.role == Role::reassembly) {
      slice.track = Track::reassembly;
      slice.id = r.tile.stage;
      slice.category = "reassembly";
    }
    if (r.role == Role::step || r.role == Role::reassembly) slice.flows = {flows.of(r.tile)};
    slices.push_back(std::move(slice));
  }
  return slices;
}

// Threads that give a device its work. What is inside a tile's range is the device's to show.
std::vector<TraceSlice> thread_slices(std::span<const HostRange> ranges) {
  std::vector<TraceSlice> slices;
  for (const HostRange& r : ranges) {
    slices.push_back({Track::range,
                      r.thread,
                      r.name,
                      r.role == Role::tile ? "tile" : "range",
                      r.begin_ns,
                      r.end_ns,
                      0,
                      arguments_of(r),
                      {}});
  }
  return slices;
}

// Finds the range in which a call was made.
class RangeIndex {
 public:
  explicit RangeIndex(std::span<const HostRange> ranges) {
    for (const HostRange& r : ranges) by_thread_[r.thread].push_back(&r);
    for (auto& [thread, list] : by_thread_) {
      std::sort(list.begin(), list.end(),
                [](const HostRange* a, const HostRange* b) { return a->begin_ns < b->begin_ns; });
    }
  }

  // The innermost of thread `thread` that holds `time`, or nullptr.
  [[nodiscard]] const HostRange* find(std::int64_t thread, std::int64_t time) const {
    const auto found = by_thread_.find(thread);
    if (found == by_thread_.end()) return nullptr;
    const auto& list = found->second;
    auto next = std::upper_bound(list.begin(), list.end(), time,
                                 [](std::int64_t t, const HostRange* r) { return t < r->begin_ns; });
    while (next != list.begin()) {
      --next;
      if ((*next)->end_ns >= time) return *next;
      if (next == list.begin() || (*std::prev(next))->end_ns < (*next)->begin_ns) break;  // not nested
    }
    return nullptr;
  }

 private:
  std::map<std::int64_t, std::vector<const HostRange*>> by_thread_;
};

// Tells work of the ranges that it was started in, and returns for each of the device's streams the
// executor's. A tile's flow goes through its work in the order of time, to where all cores of the stage are
// placed together if they are.
std::map<std::int64_t, std::int64_t> name_ranges(std::span<const HostRange> ranges,
                                                 std::vector<TraceSlice>& slices) {
  const RangeIndex index(ranges);
  std::map<std::int64_t, const HostRange*> of_correlation;
  for (const TraceSlice& s : slices) {
    if (s.track != Track::call || s.correlation == 0) continue;
    if (const HostRange* range = index.find(s.id, s.begin_ns)) of_correlation[s.correlation] = range;
  }
  Flows flows;
  for (const HostRange& r : ranges) {
    if (r.role == Role::tile) (void)flows.of(r.tile);
  }
  std::map<std::int64_t, std::int64_t> streams;
  for (TraceSlice& s : slices) {
    const auto found = of_correlation.find(s.correlation);
    if (s.track != Track::stream || found == of_correlation.end()) continue;
    const HostRange& range = *found->second;
    s.arguments.emplace_back("range", range.name);
    if (range.role != Role::other) {
      for (TraceSlice::Argument& a : arguments_of(range)) s.arguments.push_back(std::move(a));
    }
    if (range.role == Role::tile) s.flows = {flows.of(range.tile)};
    if (range.role == Role::place) s.flows = flows.of_stage(range.tile);
    streams.emplace(s.id, range.stream);
  }
  return streams;
}

class Writer {
 public:
  Writer(const std::string& device, std::vector<TraceSlice> slices,
         std::map<std::int64_t, std::int64_t> stream_numbers)
      : slices_(std::move(slices)), stream_numbers_(std::move(stream_numbers)) {
    std::sort(slices_.begin(), slices_.end(), [](const TraceSlice& a, const TraceSlice& b) {
      return std::tie(a.track, a.id, a.begin_ns, a.end_ns) < std::tie(b.track, b.id, b.begin_ns, b.end_ns);
    });
    for (const TraceSlice& s : slices_) origin_ns_ = std::min(origin_ns_.value_or(s.begin_ns), s.begin_ns);
    add_metadata("process_name", host_process, 0, "host");
    add_metadata("process_name", device_process, 0, device);
  }

  [[nodiscard]] std::string take() {
    for (auto begin = slices_.begin(); begin != slices_.end();) {
      const auto end = std::find_if(begin, slices_.end(), [&](const TraceSlice& s) {
        return s.track != begin->track || s.id != begin->id;
      });
      add_track({begin, end});
      begin = end;
    }
    add_flows();
    return nlohmann::json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events_)}}.dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

 private:
  struct Place {
    int process = 0;
    int track = 0;
    double microseconds = 0;
  };

  [[nodiscard]] std::string track_name(const TraceSlice& s) const {
    switch (s.track) {
      case Track::range:
        return fmt::format("ranges of thread {}", s.id);
      case Track::call:
        return fmt::format("CUDA calls of thread {}", s.id);
      case Track::synchronization:
        return "synchronization";
      case Track::step:
        return fmt::format("stream {}: layers", s.id);
      case Track::reassembly:
        return fmt::format("reassembly of stage {}", s.id);
      case Track::stream:
        break;
    }
    if (s.category == "range" || s.category == "tile") return fmt::format("stream {}", s.id);
    const auto number = stream_numbers_.find(s.id);
    return number == stream_numbers_.end() ? fmt::format("CUDA stream {}", s.id)
                                           : fmt::format("stream {} (CUDA's {})", number->second, s.id);
  }

  [[nodiscard]] double microseconds(std::int64_t ns) const {
    return 1e-3 * static_cast<double>(ns - origin_ns_.value_or(0));
  }

  void add_metadata(const char* what, int process, int track, const std::string& name) {
    events_.push_back(
        {{"ph", "M"}, {"name", what}, {"pid", process}, {"tid", track}, {"args", {{"name", name}}}});
  }

  // Slices of one stream or thread, by begin. Those that overlap others (nested ranges, branches of a graph
  // launched as one) go to further tracks of the same name.
  void add_track(std::span<const TraceSlice> slices) {
    const int process = slices.front().track == Track::stream ? device_process : host_process;
    struct Lane {
      int track;
      std::int64_t end_ns;
    };
    std::vector<Lane> lanes;
    for (const TraceSlice& s : slices) {
      auto lane =
          std::find_if(lanes.begin(), lanes.end(), [&](const Lane& l) { return l.end_ns <= s.begin_ns; });
      if (lane == lanes.end()) {
        const int track = ++tracks_;
        std::string name = track_name(s);
        if (!lanes.empty()) name += fmt::format(", {}", lanes.size() + 1);
        add_metadata("thread_name", process, track, name);
        events_.push_back({{"ph", "M"},
                           {"name", "thread_sort_index"},
                           {"pid", process},
                           {"tid", track},
                           {"args", {{"sort_index", track}}}});
        lanes.push_back({track, 0});
        lane = std::prev(lanes.end());
      }
      lane->end_ns = s.end_ns;
      add_slice(s, {process, lane->track, microseconds(s.begin_ns)});
    }
  }

  void add_slice(const TraceSlice& s, const Place& place) {
    nlohmann::json arguments = nlohmann::json::object();
    for (const auto& [key, value] : s.arguments) {
      std::visit([&, &name = key](const auto& v) { arguments[name] = v; }, value);
    }
    events_.push_back({{"ph", "X"},
                       {"name", s.name},
                       {"cat", s.category},
                       {"pid", place.process},
                       {"tid", place.track},
                       {"ts", place.microseconds},
                       {"dur", 1e-3 * static_cast<double>(s.end_ns - s.begin_ns)},
                       {"args", std::move(arguments)}});
    for (const std::int64_t flow : s.flows) tiles_[flow].emplace(s.begin_ns, place);
    if (s.correlation == 0) return;
    if (s.track == Track::call) calls_.emplace(s.correlation, place);
    if (s.track == Track::stream) works_.emplace(s.correlation, place);
  }

  // A flow's event belongs to the slice of its track that holds its time.
  void add_flow(const char* phase, const char* category, const char* name, std::int64_t id,
                const Place& place) {
    nlohmann::json event{{"ph", phase},          {"name", name},       {"cat", category},         {"id", id},
                         {"pid", place.process}, {"tid", place.track}, {"ts", place.microseconds}};
    if (*phase == 'f') event["bp"] = "e";
    events_.push_back(std::move(event));
  }

  // Arrows from calls to the work that they started, and through each tile's work to its reassembly.
  void add_flows() {
    std::int64_t id = 0;
    for (const auto& [correlation, work] : works_) {
      const auto call = calls_.find(correlation);
      if (call == calls_.end()) continue;
      add_flow("s", "call", "starts", ++id, call->second);
      add_flow("f", "call", "starts", id, work);
    }
    for (const auto& [tile, places] : tiles_) {
      if (places.size() < 2) continue;  // one piece of work did it all
      ++id;
      for (auto p = places.begin(); p != places.end(); ++p) {
        const char* const phase = p == places.begin() ? "s" : std::next(p) == places.end() ? "f" : "t";
        add_flow(phase, "tile", "reassembly", id, p->second);
      }
    }
  }

  std::vector<TraceSlice> slices_;
  std::map<std::int64_t, std::int64_t> stream_numbers_;
  std::optional<std::int64_t> origin_ns_;
  nlohmann::json events_ = nlohmann::json::array();
  int tracks_ = 0;
  std::map<std::int64_t, Place> calls_;
  std::map<std::int64_t, Place> works_;                               // the first of each call
  std::map<std::int64_t, std::multimap<std::int64_t, Place>> tiles_;  // by flow, by begin
};

}  // namespace

std::string trace_json(const std::string& device, std::span<const HostRange> ranges,
                       std::span<const TraceSlice> work) {
  if (work.empty()) return Writer(device, stream_slices(ranges), {}).take();
  std::vector<HostRange> outer;
  std::copy_if(ranges.begin(), ranges.end(), std::back_inserter(outer),
               [](const HostRange& r) { return r.role != Role::step && r.role != Role::reassembly; });
  std::vector<TraceSlice> slices = thread_slices(outer);
  slices.insert(slices.end(), work.begin(), work.end());
  std::map<std::int64_t, std::int64_t> stream_numbers = name_ranges(outer, slices);
  return Writer(device, std::move(slices), std::move(stream_numbers)).take();
}

void write_trace(const std::filesystem::path& file, const Device& device, const std::function<void()>& run) {
  AtomicFile trace(file);  // fails before the run rather than behind it
  std::optional<CudaTrace> cuda;
  if (!device.host_memory()) cuda.emplace();
  RangeRecording ranges;
  run();
  const std::vector<TraceSlice> work = cuda ? cuda->finish() : std::vector<TraceSlice>{};
  trace.write(trace_json(device.name(), ranges.take(), work));
  trace.commit();
}

}  // namespace halotile
