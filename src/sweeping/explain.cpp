#include "sweeping/explain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>

#include "pipeline/experiment/config_keys.hpp"

namespace halotile {
namespace {

std::string percent(double share) {
  const double p = 100 * share;
  return p != 0 && std::abs(p) < 9.95 ? fmt::format("{:.1f}%", p) : fmt::format("{:.0f}%", p);
}

std::string milliseconds(double ms) {
  if (ms < 0.1) return fmt::format("{:.1f} us", 1e3 * ms);
  return ms < 100 ? fmt::format("{:.3g} ms", ms) : fmt::format("{:.0f} ms", ms);
}

// A number with a prefix: "1.92 G" with step 1000, "726 Mi" with step 1024.
std::string scaled(double value, double step) {
  constexpr std::array<std::string_view, 5> prefixes{"", "K", "M", "G", "T"};
  std::size_t i = 0;
  while (value >= step && i + 1 < prefixes.size()) {
    value /= step;
    ++i;
  }
  const std::string number = value >= 100 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
  return fmt::format("{} {}{}", number, prefixes[i], step == 1024 && i > 0 ? "i" : "");
}

std::string flops(double value) { return scaled(value, 1000) + "FLOP"; }
std::string flop_rate(double value) { return scaled(value, 1000) + "FLOP/s"; }
std::string byte_rate(double value) { return scaled(value, 1000) + "B/s"; }
std::string bytes(double value) { return scaled(value, 1024) + "B"; }

bool is_timed(const PointRecord& p) { return p.status == PointStatus::ok && p.timing.median > 0; }
bool is_copy(const LayerRecord& l) { return l.kind == "host_to_device" || l.kind == "device_to_host"; }
bool is_layer(const LayerRecord& l) {
  return !is_copy(l) && l.kind != "pack" && l.kind != "place" && l.kind != "allocation";
}

// The differences below which nothing is said.
constexpr double negligible = 0.01;
constexpr double notable = 0.05;

class Explanation {
 public:
  Explanation(const PointRecord& point, const PointRecord* whole, const Ceiling* ceiling)
      : p_(point),
        whole_(whole != nullptr && whole != &point && is_timed(*whole) ? whole : nullptr),
        ceiling_(ceiling),
        streams_(std::max<std::size_t>(1, point.stream_busy_share.size())) {
    // The run that the layers' times are of: on a GPU they are taken in runs of their own, which last longer.
    const double at_work = time_of([](const LayerRecord&) { return true; });
    const double busy = point.stream_busy_share.empty() ? 0 : mean_busy();
    run_ms_ = at_work > 0 && busy > 0 ? at_work / busy / streams() : point.timing.median;
    stream_ms_ = run_ms_ * streams();
  }

  [[nodiscard]] std::vector<Finding> take() {
    halos();
    layers();
    overlap();
    uneven();
    launches();
    arithmetic();
    bandwidth();
    copies();
    packing();
    allocation();
    memory();
    disturbance();
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const Finding& a, const Finding& b) { return a.cost > b.cost; });
    return std::move(findings_);
  }

 private:
  void add(const char* topic, std::string text, double cost) {
    findings_.push_back({topic, std::move(text), std::clamp(cost, 0.0, 1.0)});
  }

  template <typename Predicate>
  [[nodiscard]] double time_of(const Predicate& wanted) const {
    double sum = 0;
    for (const LayerRecord& l : p_.layers) sum += wanted(l) ? l.milliseconds : 0;
    return sum;
  }

  // Shares of all streams' time.
  template <typename Predicate>
  [[nodiscard]] double share_of(const Predicate& wanted) const {
    return time_of(wanted) / stream_ms_;
  }

  // How long the device is at a layer, when all streams share it evenly. Threads fixed by hand may leave
  // cores unused: then nobody knows.
  [[nodiscard]] bool device_is_shared() const {
    return p_.device != "cpu" || p_.config.value("threads", 0) == 0;
  }
  [[nodiscard]] double device_ms(const LayerRecord& l) const {
    return l.milliseconds / static_cast<double>(streams_);
  }

  void halos() {
    double all = 0;
    double recomputed = 0;
    std::int64_t tiles = 0;
    for (const StageRecord& s : p_.stages) {
      all += s.flops;
      recomputed += s.recomputed_flops;
      tiles += s.rows * s.columns;
    }
    if (all <= 0 || tiles == static_cast<std::int64_t>(p_.stages.size())) return;
    if (recomputed == 0) {
      add("halos", fmt::format("The {} tiles repeat no arithmetic.", tiles), 0);
      return;
    }
    const double share = recomputed / all;
    std::string text = fmt::format("Halos make {} tiles repeat {} of the arithmetic of the stages ({} of {})",
                                   tiles, percent(share), flops(recomputed), flops(all));
    if (whole_ != nullptr) {
      const double expected = spatial_flops_ratio(all, recomputed) - 1;
      const double measured = p_.timing.median / whole_->timing.median - 1;
      text += fmt::format(
          "; if time followed work, the run would take {} longer than unpatched, and it takes {}",
          percent(expected), measured >= 0 ? percent(measured) + " longer" : percent(-measured) + " less");
    }
    add("halos", text + ".", share * share_of([](const LayerRecord& l) { return l.flops > 0; }));
  }

  // All of the run's arithmetic against the same without what halos repeat.
  [[nodiscard]] double spatial_flops_ratio(double stages, double recomputed) const {
    double all = 0;
    for (const LayerRecord& l : p_.layers) all += l.flops;
    all = std::max(all, stages);
    return all / (all - recomputed);
  }

  // Which layers take longer than unpatched, and which less.
  void layers() {
    if (whole_ == nullptr || !device_is_shared()) return;
    std::map<std::string, double> before;
    for (const LayerRecord& l : whole_->layers) {
      if (is_layer(l))
        before[l.name] +=
            l.milliseconds / static_cast<double>(std::max<std::size_t>(1, whole_->stream_busy_share.size()));
    }
    struct Change {
      std::string name;
      double ms;
    };
    std::vector<Change> changes;
    for (const LayerRecord& l : p_.layers) {
      const auto found = before.find(l.name);
      if (is_layer(l) && found != before.end()) changes.push_back({l.name, device_ms(l) - found->second});
    }
    for (const double sign : {1.0, -1.0}) {
      std::sort(changes.begin(), changes.end(),
                [sign](const Change& a, const Change& b) { return sign * a.ms > sign * b.ms; });
      double sum = 0;
      std::size_t changed = 0;
      std::vector<std::string> worst;
      for (const Change& c : changes) {
        if (sign * c.ms <= 0) break;
        sum += sign * c.ms;
        ++changed;
        if (worst.size() < 3) worst.push_back(fmt::format("{} {}", c.name, milliseconds(sign * c.ms)));
      }
      if (sum < notable * run_ms_) continue;
      add("layers",
          fmt::format("{} keep the device {} {} than unpatched, most of it: {}.",
                      changed < changes.size() ? "Some layers" : "The layers", milliseconds(sum),
                      sign > 0 ? "longer" : "less", fmt::join(worst, ", ")),
          sign > 0 ? sum / run_ms_ : 0);
    }
  }

  [[nodiscard]] double mean_busy() const {
    const std::vector<double>& busy = p_.stream_busy_share;
    return std::accumulate(busy.begin(), busy.end(), 0.0) / static_cast<double>(busy.size());
  }

  void overlap() {
    if (p_.stream_busy_share.empty()) return;
    const double busy = mean_busy();
    const double idle = std::max(0.0, 1 - busy);
    if (streams_ == 1) {
      if (idle < negligible) return;
      add("overlap",
          fmt::format("The stream is at work {} of the run; {} pass between its pieces of work.",
                      percent(busy), milliseconds(idle * run_ms_)),
          idle);
      return;
    }
    std::string text =
        fmt::format("On average {:.2f} of {} streams are at work at a time", busy * streams(), streams_);
    if (idle >= negligible) {
      text += fmt::format("; {} of the streams' time ({} each) goes by idle", percent(idle),
                          milliseconds(idle * run_ms_));
    }
    add("overlap", text + ".", idle);
  }

  void uneven() {
    const std::vector<double>& busy = p_.stream_busy_share;
    if (busy.size() < 2) return;
    const auto [least, most] = std::minmax_element(busy.begin(), busy.end());
    if (*most - *least < notable) return;
    add("streams",
        fmt::format("The streams' work is uneven: stream {} is at work {} of the run, stream {} {}.",
                    most - busy.begin(), percent(*most), least - busy.begin(), percent(*least)),
        *most - mean_busy());
  }

  void launches() {
    std::int64_t count = 0;
    double ms = 0;
    for (const LayerRecord& l : p_.layers) {
      count += l.launches;
      ms += l.launches > 0 ? l.milliseconds : 0;
    }
    if (count == 0) return;
    std::string text = fmt::format("A run is {} pieces of work, of {} on average", count,
                                   milliseconds(ms / static_cast<double>(count)));
    if (whole_ != nullptr) {
      std::int64_t before = 0;
      for (const LayerRecord& l : whole_->layers) before += l.launches;
      if (before > 0) text += fmt::format("; unpatched it is {}", before);
    }
    if (!p_.stream_busy_share.empty()) {
      const double idle = std::max(0.0, 1 - mean_busy()) * stream_ms_ / static_cast<double>(count);
      text += fmt::format("; a stream waits {} between two", milliseconds(idle));
    }
    add("launches", text + ".", 0);
  }

  // A layer is bound by what its work would keep the device longer at.
  [[nodiscard]] bool bound_by_memory(const LayerRecord& l) const {
    return l.bytes / ceiling_->bytes_per_second > l.flops / ceiling_->flops_per_second;
  }

  void arithmetic() {
    if (ceiling_ == nullptr || ceiling_->flops_per_second <= 0 || !device_is_shared()) return;
    double work = 0;
    double ms = 0;
    for (const LayerRecord& l : p_.layers) {
      if (!is_layer(l) || l.flops <= 0 || bound_by_memory(l)) continue;
      work += l.flops;
      ms += device_ms(l);
    }
    if (ms <= 0) return;
    const double rate = work / (1e-3 * ms);
    const double of_ceiling = rate / ceiling_->flops_per_second;
    add("arithmetic",
        fmt::format(
            "Layers bound by arithmetic take {} of the streams' time and run at {}, {} of the {} measured "
            "as this device's limit in {}{}.",
            percent(ms / run_ms_), flop_rate(rate), percent(of_ceiling),
            flop_rate(ceiling_->flops_per_second), ceiling_->precision,
            of_ceiling > 1 ? " (operations are counted as if none were saved)" : ""),
        std::max(0.0, 1 - of_ceiling) * ms / run_ms_);
  }

  void bandwidth() {
    if (ceiling_ == nullptr || ceiling_->bytes_per_second <= 0 || !device_is_shared()) return;
    double moved = 0;
    double ms = 0;
    std::vector<std::pair<double, std::string>> names;
    for (const LayerRecord& l : p_.layers) {
      if (!is_layer(l) || l.bytes <= 0 || !bound_by_memory(l)) continue;
      moved += l.bytes;
      ms += device_ms(l);
      names.emplace_back(device_ms(l), l.name);
    }
    if (ms < negligible * run_ms_) return;
    std::sort(names.rbegin(), names.rend());
    const double rate = moved / (1e-3 * ms);
    const double of_ceiling = rate / ceiling_->bytes_per_second;
    add("bandwidth",
        fmt::format("Layers bound by memory take {} of the streams' time, {} most; they move at least {}, at "
                    "{}, {} of "
                    "the {} measured as memory's limit{}.",
                    percent(ms / run_ms_), names.front().second, bytes(moved), byte_rate(rate),
                    percent(of_ceiling), byte_rate(ceiling_->bytes_per_second),
                    of_ceiling > 1 ? " (caches serve the rest)" : ""),
        std::max(0.0, 1 - of_ceiling) * ms / run_ms_);
  }

  void copies() {
    for (const auto& [kind, name] :
         {std::pair{"host_to_device", "to the device"}, std::pair{"device_to_host", "to the host"}}) {
      const auto wanted = [kind = std::string_view(kind)](const LayerRecord& l) { return l.kind == kind; };
      const double ms = time_of(wanted);
      if (ms < negligible * stream_ms_) continue;
      double moved = 0;
      for (const LayerRecord& l : p_.layers) moved += wanted(l) ? l.bytes : 0;
      std::string text = fmt::format("Copies {} take {} of the streams' time ({})", name,
                                     percent(ms / stream_ms_), milliseconds(ms));
      if (moved > 0) {
        const double rate = moved / (1e-3 * ms);
        text += fmt::format(": {} at {}", bytes(moved), byte_rate(rate));
        if (ceiling_ != nullptr && ceiling_->copy_bytes_per_second > 0) {
          text += fmt::format(", {} of the {} measured as the limit",
                              percent(rate / ceiling_->copy_bytes_per_second),
                              byte_rate(ceiling_->copy_bytes_per_second));
        }
      }
      add("copies", text + ".", ms / stream_ms_);
    }
  }

  void packing() {
    const double pack = time_of([](const LayerRecord& l) { return l.kind == "pack"; });
    const double place = time_of([](const LayerRecord& l) { return l.kind == "place"; });
    if (pack + place <= 0) return;
    add("packing",
        fmt::format("Packing tiles takes {} and placing their cores {}, {} of the streams' time.",
                    milliseconds(pack), milliseconds(place), percent((pack + place) / stream_ms_)),
        (pack + place) / stream_ms_);
  }

  void allocation() {
    const double ms = time_of([](const LayerRecord& l) { return l.kind == "allocation"; });
    if (ms < negligible * stream_ms_) return;
    add("allocation",
        fmt::format("Allocating memory in every run takes {}, {} of the streams' time.", milliseconds(ms),
                    percent(ms / stream_ms_)),
        ms / stream_ms_);
  }

  void memory() {
    const auto total = static_cast<double>(p_.map_bytes + p_.scratch_bytes);
    if (total <= 0) return;
    std::string text =
        fmt::format("Maps take {} and tiles in flight {}", bytes(static_cast<double>(p_.map_bytes)),
                    bytes(static_cast<double>(p_.scratch_bytes)));
    if (whole_ != nullptr) {
      const auto before = static_cast<double>(whole_->map_bytes + whole_->scratch_bytes);
      if (before > 0)
        text += fmt::format(", together {} of the {} that the unpatched run takes", percent(total / before),
                            bytes(before));
    }
    add("memory", text + ".", 0);
  }

  void disturbance() {
    const double spread = (p_.timing.q3 - p_.timing.q1) / p_.timing.median;
    if (!p_.disturbances.empty()) {
      add("disturbance",
          fmt::format("The measurement was disturbed: {}. Half of its runs lie between {} and {}.",
                      fmt::join(p_.disturbances, "; "), milliseconds(p_.timing.q1),
                      milliseconds(p_.timing.q3)),
          spread);
    } else if (spread > notable) {
      add("disturbance",
          fmt::format("Runs differ much: half of them lie between {} and {}, {} of the median apart.",
                      milliseconds(p_.timing.q1), milliseconds(p_.timing.q3), percent(spread)),
          spread);
    }
  }

  [[nodiscard]] double streams() const { return static_cast<double>(streams_); }

  const PointRecord& p_;
  const PointRecord* whole_;
  const Ceiling* ceiling_;
  std::size_t streams_;
  double run_ms_ = 0;
  double stream_ms_ = 0;  // all streams' time in it
  std::vector<Finding> findings_;
};

}  // namespace

std::string summarize(const PointRecord& point, const PointRecord* whole) {
  const Timing& t = point.timing;
  std::string text =
      fmt::format("{} for {} image{} (median; 95% interval {} to {})", milliseconds(t.median), point.images,
                  point.images == 1 ? "" : "s", milliseconds(t.low), milliseconds(t.high));
  if (whole == nullptr || whole == &point || !is_timed(*whole)) return text + ".";
  const double ratio = t.median / whole->timing.median;
  const bool overlapping = t.low <= whole->timing.high && whole->timing.low <= t.high;
  if (overlapping) {
    return text +
           fmt::format(", not to be told from the unpatched run's {}.", milliseconds(whole->timing.median));
  }
  return text + fmt::format(", {} {} than the unpatched run's {}.", percent(std::abs(ratio - 1)),
                            ratio > 1 ? "more" : "less", milliseconds(whole->timing.median));
}

std::vector<Finding> explain(const PointRecord& point, const PointRecord* whole, const Ceiling* ceiling) {
  if (!is_timed(point)) return {};
  return Explanation(point, whole, ceiling).take();
}

const PointRecord* unpatched(const PointRecord& point, const std::vector<PointRecord>& points) {
  const nlohmann::json wanted = config::without_patching(point.config);
  for (const PointRecord& p : points) {
    if (p.machine == point.machine && is_timed(p) && config::is_unpatched(p.config) &&
        config::without_patching(p.config) == wanted)
      return &p;
  }
  return nullptr;
}

const Ceiling* ceiling_of(const PointRecord& point, const std::vector<Ceiling>& ceilings) {
  const std::string precision = point.config.value("precision", "fp32");
  for (const Ceiling& c : ceilings) {
    if (c.machine == point.machine && c.device == point.device && c.precision == precision) return &c;
  }
  return nullptr;
}

}  // namespace halotile
