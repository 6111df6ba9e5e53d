#include "program/report/summary.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "pipeline/experiment/text.hpp"

namespace halotile {
namespace {

// Three digits, without an exponent.
std::string three_digits(double value) {
  const int whole = value > 0 ? static_cast<int>(std::floor(std::log10(value))) : 0;
  return fmt::format("{:.{}f}", value, std::clamp(2 - whole, 0, 6));
}

std::int64_t planned_bytes(const PointRecord& p) { return p.map_bytes + p.scratch_bytes; }

// How much longer a run takes that repeats what halos repeat, if time follows arithmetic.
double predicted_ratio(const PointRecord& p) {
  double all = 0;
  double repeated = 0;
  for (const LayerRecord& l : p.layers) all += l.flops;
  for (const StageRecord& s : p.stages) repeated += s.recomputed_flops;
  return all > repeated ? all / (all - repeated) : 1;
}

// In percent; no minus before a zero.
double tenths(double share) {
  const double rounded = std::round(1e3 * share) / 10;
  return rounded == 0 ? 0 : rounded;
}

bool apart(const Timing& a, const Timing& b) { return a.high < b.low || b.high < a.low; }

class Summarizer {
 public:
  Summarizer(const Group& group, const StoreContents& contents, const Axes& axes)
      : group_(group), contents_(contents), axes_(axes) {
    for (const std::size_t p : group.points) {
      if (contents.points[p].status == PointStatus::ok) timed_.push_back(p);
    }
  }

  Summary take() {
    if (!timed_.empty()) {
      choose();
      tell_best();
      tell_patches();
      tell_memory();
      tell_halos();
    }
    tell_checks();
    tell_drift();
    tell_disturbance();
    tell_progress();
    return std::move(summary_);
  }

 private:
  [[nodiscard]] const PointRecord& point(std::size_t p) const { return contents_.points[p]; }
  void say(const char* topic, std::string text) { summary_.statements.push_back({topic, std::move(text)}); }

  void choose() {
    const auto faster = [&](std::size_t a, std::size_t b) {
      return point(a).timing.median < point(b).timing.median;
    };
    summary_.best = *std::min_element(timed_.begin(), timed_.end(), faster);
    std::vector<std::size_t> patched;
    std::copy_if(timed_.begin(), timed_.end(), std::back_inserter(patched),
                 [&](std::size_t p) { return is_patched(point(p)); });
    if (!patched.empty()) summary_.best_patched = *std::min_element(patched.begin(), patched.end(), faster);
    const auto least = std::min_element(timed_.begin(), timed_.end(), [&](std::size_t a, std::size_t b) {
      return std::pair(planned_bytes(point(a)), point(a).timing.median) <
             std::pair(planned_bytes(point(b)), point(b).timing.median);
    });
    if (planned_bytes(point(*least)) > 0) summary_.least_memory = *least;
  }

  void tell_best() {
    const PointRecord& best = point(*summary_.best);
    const Timing& t = best.timing;
    std::string text = fmt::format("The fastest setting is {}: {} for {} image{} ({} images/s); ",
                                   setting_name(axes_, group_, *summary_.best), milliseconds_text(t.median),
                                   best.images, best.images == 1 ? "" : "s",
                                   three_digits(1e3 * static_cast<double>(best.images) / t.median));
    text += fmt::format("its median lies between {} and {} with 95% confidence.", milliseconds_text(t.low),
                        milliseconds_text(t.high));
    const auto equals = std::count_if(timed_.begin(), timed_.end(), [&](std::size_t p) {
      return p != *summary_.best && !apart(point(p).timing, t);
    });
    if (equals > 0)
      text += fmt::format(" {} other setting{} cannot be told from it: the intervals overlap.", equals,
                          equals == 1 ? "" : "s");
    say("best", std::move(text));
  }

  void tell_patches() {
    const PointRecord* const whole = group_.whole;
    if (whole == nullptr || whole->status != PointStatus::ok) {
      say("patches",
          "The store has no unpatched run on one stream, so nothing can be said of what patches cost or "
          "buy.");
      return;
    }
    if (!summary_.best_patched) return;
    const PointRecord& patched = point(*summary_.best_patched);
    const double ratio = patched.timing.median / whole->timing.median;
    const std::string base = fmt::format(
        "Unpatched on one stream the same work takes {}. The fastest "
        "patched setting ({}) takes {}: ",
        milliseconds_text(whole->timing.median), setting_name(axes_, group_, *summary_.best_patched),
        milliseconds_text(patched.timing.median));
    if (!apart(patched.timing, whole->timing)) {
      say("patches", base + "no difference that these measurements can tell.");
    } else if (ratio < 1) {
      say("patches",
          base + fmt::format("patches and streams buy {} times the speed here.", three_digits(1 / ratio)));
    } else {
      say("patches",
          base + fmt::format("patches cost {} of the time here, even at their best.", percent(ratio - 1)));
    }
  }

  void tell_memory() {
    const PointRecord* const whole = group_.whole;
    if (!summary_.least_memory || whole == nullptr || whole->status != PointStatus::ok) return;
    const PointRecord& least = point(*summary_.least_memory);
    if (planned_bytes(least) >= planned_bytes(*whole)) {
      say("memory", fmt::format("No setting needs less memory for maps than the unpatched run's {}.",
                                bytes_text(static_cast<std::size_t>(planned_bytes(*whole)))));
      return;
    }
    say("memory",
        fmt::format("The least memory for maps and tiles in flight is {}, with {}: {} times less than "
                    "unpatched ({}), at {} times the time.",
                    bytes_text(static_cast<std::size_t>(planned_bytes(least))),
                    setting_name(axes_, group_, *summary_.least_memory),
                    three_digits(static_cast<double>(planned_bytes(*whole)) /
                                 static_cast<double>(planned_bytes(least))),
                    bytes_text(static_cast<std::size_t>(planned_bytes(*whole))),
                    three_digits(least.timing.median / whole->timing.median)));
  }

  // What recomputed halos predict against what was measured, on one stream, where nothing overlaps.
  void tell_halos() {
    const PointRecord* const whole = group_.whole;
    if (whole == nullptr || whole->status != PointStatus::ok) return;
    double predicted = 0;
    double measured = 0;
    double least = 1;
    double most = 0;
    int count = 0;
    for (const std::size_t p : timed_) {
      const PointRecord& at = point(p);
      if (!is_patched(at) || at.config.value("streams", 0) != 1) continue;
      predicted += std::log(predicted_ratio(at));
      measured += std::log(at.timing.median / whole->timing.median);
      least = std::min(least, at.halo_flops_share);
      most = std::max(most, at.halo_flops_share);
      ++count;
    }
    if (count == 0) return;
    predicted = std::exp(predicted / count);
    measured = std::exp(measured / count);
    const std::string work =
        most < 5e-4  // 0.0% when told
            ? "Tiles repeat hardly any work. On one stream that"
            : fmt::format("Halos make tiles repeat {} to {} of their stages' work. On one stream that alone",
                          percent(least), percent(most));
    std::string text = fmt::format(
        "{} predicts {} times the unpatched time (geometric mean of {} patched setting{}); measured: {} "
        "times. ",
        work, three_digits(predicted), count, count == 1 ? "" : "s", three_digits(measured));
    const double rest = measured / predicted;
    text += rest > 1.02 ? fmt::format(
                              "The remaining {} times is the price of tiling itself: small shapes, "
                              "starts of kernels, copies.",
                              three_digits(rest))
            : rest < 0.98 ? "Tiles run faster than their work predicts: smaller maps stay in caches."
                          : "So the repeated work is all that patches cost.";
    say("halos", std::move(text));
  }

  void tell_checks() {
    std::size_t different = 0;
    std::size_t errors = 0;
    for (const std::size_t p : group_.points) {
      different += point(p).status == PointStatus::different ? 1 : 0;
      errors += point(p).status == PointStatus::error ? 1 : 0;
    }
    const auto count = [](std::size_t n) { return fmt::format("{} point{}", n, n == 1 ? "" : "s"); };
    if (different + errors == 0) {
      say("checks", fmt::format("Every one of the {} gave the unpatched run's bits, and was timed only then.",
                                count(group_.points.size())));
      return;
    }
    std::string text = fmt::format("Of {}, ", count(group_.points.size()));
    if (different > 0)
      text += fmt::format("{} gave other bits than the unpatched run and {} not timed", different,
                          different == 1 ? "was" : "were");
    if (different > 0 && errors > 0) text += "; ";
    if (errors > 0) text += fmt::format("{} could not be run", errors);
    say("checks", text + ". The table names them with their reasons.");
  }

  [[nodiscard]] std::set<std::int64_t> sweeps() const {
    std::set<std::int64_t> ids;
    for (const std::size_t p : group_.points) ids.insert(point(p).sweep);
    return ids;
  }

  void tell_drift() {
    const std::set<std::int64_t> wanted = sweeps();
    double least = 0;
    double most = 0;
    int count = 0;
    for (const std::int64_t sweep : wanted) {
      double first = 0;  // medians of one sweep against its first: sweeps may have different references
      for (const DriftSample& d : contents_.drift) {
        if (d.sweep != sweep || d.median_ms <= 0) continue;
        if (first == 0) first = d.median_ms;
        const double change = d.median_ms / first - 1;
        least = std::min(least, change);
        most = std::max(most, change);
        ++count;
      }
    }
    if (count < 2) return;
    say("drift",
        fmt::format("The reference point was measured {} times: its median moved between {:+.1f}% "
                    "and {:+.1f}% of the first. Differences smaller than {:.1f}% may be the machine's.",
                    count, tenths(least), tenths(most), tenths(most - least)));
  }

  void tell_disturbance() {
    std::set<std::string> kinds;
    std::size_t count = 0;
    for (const std::size_t p : timed_) {
      count += point(p).disturbances.empty() ? 0 : 1;
      kinds.insert(point(p).disturbances.begin(), point(p).disturbances.end());
    }
    if (count == 0) return;
    std::string text = fmt::format("{} measurement{} disturbed", count, count == 1 ? " was" : "s were");
    if (kinds.size() <= 3) text += fmt::format(" ({})", fmt::join(kinds, "; "));
    say("disturbance", text + "; the table marks them.");
  }

  void tell_progress() {
    const std::set<std::int64_t> wanted = sweeps();
    for (const SweepRecord& sweep : contents_.sweeps) {
      if (!sweep.finished.empty() || !wanted.contains(sweep.id)) continue;
      const auto done = std::count_if(contents_.points.begin(), contents_.points.end(),
                                      [&](const PointRecord& p) { return p.sweep == sweep.id; });
      say("progress", fmt::format("The sweep {} has not finished: {} of its {} points are here.", sweep.name,
                                  done, sweep.points));
    }
  }

  const Group& group_;
  const StoreContents& contents_;
  const Axes& axes_;
  std::vector<std::size_t> timed_;
  Summary summary_;
};

}  // namespace

bool is_patched(const PointRecord& point) {
  return std::any_of(point.stages.begin(), point.stages.end(),
                     [](const StageRecord& s) { return s.rows > 1 || s.columns > 1; });
}

Summary summarize(const Group& group, const StoreContents& contents, const Axes& axes) {
  return Summarizer(group, contents, axes).take();
}

std::string milliseconds_text(double milliseconds) {
  return milliseconds >= 1e4 ? three_digits(1e-3 * milliseconds) + " s" : three_digits(milliseconds) + " ms";
}

}  // namespace halotile
