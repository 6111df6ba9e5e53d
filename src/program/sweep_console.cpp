#include "program/sweep_console.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "pipeline/experiment/text.hpp"
#include "pipeline/measuring/statistics.hpp"

namespace halotile {
namespace {

constexpr std::size_t shown_best = 5;

// Colour for people at terminals who did not turn it off (https://no-color.org).
bool coloured() {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0') && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

Verbatim red(const std::string& text) { return {coloured() ? "\x1b[31m" + text + "\x1b[0m" : text}; }
Verbatim bold(const std::string& text) { return {coloured() ? "\x1b[1m" + text + "\x1b[0m" : text}; }

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::vector<const PointRecord*> by_time(const SweepOutcome& outcome) {
  std::vector<const PointRecord*> ok;
  for (const PointRecord& p : outcome.points) {
    if (p.status == PointStatus::ok) ok.push_back(&p);
  }
  std::stable_sort(ok.begin(), ok.end(), [](const PointRecord* a, const PointRecord* b) {
    return a->timing.median < b->timing.median;
  });
  return ok;
}

// The unpatched point, which is the first of all when it is there.
const PointRecord* reference_of(const SweepOutcome& outcome) {
  if (outcome.points.empty() || !outcome.complete) return nullptr;
  return outcome.points.front().status == PointStatus::ok ? &outcome.points.front() : nullptr;
}

// How many times as fast as the reference, with the interval.
Estimate speed(const PointRecord& point, const PointRecord& reference) {
  return ratio_of_medians(point.timing.samples, reference.timing.samples);
}

std::size_t count(const SweepOutcome& outcome, PointStatus status) {
  return static_cast<std::size_t>(std::count_if(outcome.points.begin(), outcome.points.end(),
                                                [&](const PointRecord& p) { return p.status == status; }));
}

void print_failures(const SweepOutcome& outcome) {
  for (const PointRecord& p : outcome.points) {
    if (p.status == PointStatus::ok) continue;
    print_text("{}  {}: {}\n", red(p.status == PointStatus::error ? "ERROR    " : "DIFFERENT"),
               settings_text(p.settings), first_line(p.message));
  }
}

void print_drift(const SweepOutcome& outcome) {
  if (outcome.drift.empty()) return;
  const DriftSample& first = outcome.drift.front();
  const DriftSample& last = outcome.drift.back();
  const double drift = drift_of(outcome.drift);
  if (drift == 0) {
    print_text(
        "drift: the unpatched point was measured {} times, {:.2f} ms first and {:.2f} ms last: none to see\n",
        outcome.drift.size(), first.median_ms, last.median_ms);
    return;
  }
  print_text(
      "{}: the machine changed: the unpatched point, measured {} times, took up to {:+.1f}% against {:.2f} "
      "ms at "
      "first; settings that differ by less cannot be told apart\n",
      red("warning"), outcome.drift.size(), 100 * drift, first.median_ms);
}

}  // namespace

std::string settings_text(const nlohmann::json& settings) {
  std::string text;
  for (const auto& [key, value] : settings.items()) {
    if (!text.empty()) text += ' ';
    text += key + "=" +
            (value.is_string() ? value.get<std::string>()
                               : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  return text;
}

void SweepConsole::begin(std::size_t points, std::size_t finished) {
  points_ = points;
  finished_ = finished_before_ = finished;
  if (!silent_) {
    print_text("{} points, {} of them in {}; {}\n", points, finished, store_.string(), estimate_);
    std::fflush(stdout);
  }
  progress_ = std::make_unique<Progress>(static_cast<std::int64_t>(points - finished), true, "points");
}

void SweepConsole::measuring(const PlannedPoint&) {
  progress_->update(static_cast<std::int64_t>(finished_ - finished_before_));
}

void SweepConsole::measured(const PointRecord& point, std::size_t finished) {
  finished_ = finished;
  progress_->clear();
  if (!silent_) {
    const std::string place = fmt::format("{:>{}}/{}", finished, fmt::formatted_size("{}", points_), points_);
    std::string result;
    if (point.status == PointStatus::ok) {
      const Timing& t = point.timing;
      result = fmt::format("{:9.2f} ms ({:.2f} to {:.2f})  equal bits{}", t.median, t.low, t.high,
                           point.disturbances.empty() ? "" : "  disturbed: " + point.disturbances.front());
    } else {
      result = fmt::format("{} {}", red(point.status == PointStatus::error ? "ERROR" : "DIFFERENT"),
                           printable(first_line(point.message)));
    }
    print_text("{}  {}  {}\n", place, settings_text(point.settings), Verbatim{result});
    if (!told_time_ && finished < points_ && point.status == PointStatus::ok) {
      told_time_ = true;
      print_text("about {} left, as long as this point takes\n",
                 duration_text(point.seconds * static_cast<double>(points_ - finished)));
    }
    std::fflush(stdout);
  }
  progress_->update(static_cast<std::int64_t>(finished_ - finished_before_));
}

void SweepConsole::waiting(std::size_t points) {
  if (told_waiting_ || silent_) return;
  told_waiting_ = true;
  progress_->clear();
  print_text("waiting for another sweep, which measures the last {} points\n", points);
  std::fflush(stdout);
}

std::string SweepConsole::resumption() const {
  return fmt::format("{} of {} points are in {}; the same command goes on from there", finished_, points_,
                     store_.string());
}

void print_summary(const SweepOutcome& outcome) {
  const std::vector<const PointRecord*> ok = by_time(outcome);
  const PointRecord* const reference = reference_of(outcome);
  if (!ok.empty()) {
    std::vector<std::vector<std::string>> rows{
        {"setting", "median, ms", "95% interval", "images/s", "against unpatched"}};
    for (std::size_t i = 0; i < std::min(shown_best, ok.size()); ++i) {
      const Timing& t = ok[i]->timing;
      std::string ratio = "-";
      if (reference == ok[i]) ratio = "itself";
      if (reference != nullptr && reference != ok[i]) {
        const Estimate r = speed(*ok[i], *reference);
        ratio = fmt::format("{:.3f} times as fast ({:.3f} to {:.3f})", r.value, r.low, r.high);
      }
      rows.push_back({settings_text(ok[i]->settings), fmt::format("{:.2f}", t.median),
                      fmt::format("{:.2f} to {:.2f}", t.low, t.high),
                      fmt::format("{:.1f}", 1e3 * static_cast<double>(ok[i]->images) / t.median), ratio});
    }
    print_text("\n{}\n{}", bold("The fastest settings"), table(rows));
    if (reference != nullptr) print_text("unpatched, one stream: {:.2f} ms\n", reference->timing.median);
  }
  print_text("\n{} points: {} equal and timed, {} different, {} errors\n", outcome.points.size(), ok.size(),
             count(outcome, PointStatus::different), count(outcome, PointStatus::error));
  print_failures(outcome);
  const auto disturbed =
      std::count_if(ok.begin(), ok.end(), [](const PointRecord* p) { return !p->disturbances.empty(); });
  if (disturbed > 0)
    print_text("{} of them were measured while something disturbed; the store says what\n", disturbed);
  print_drift(outcome);
}

nlohmann::json summary_json(const SweepOutcome& outcome) {
  const std::vector<const PointRecord*> ok = by_time(outcome);
  const PointRecord* const reference = reference_of(outcome);
  nlohmann::json json{{"points", outcome.points.size()},
                      {"measured", outcome.measured},
                      {"complete", outcome.complete},
                      {"ok", ok.size()},
                      {"different", count(outcome, PointStatus::different)},
                      {"errors", count(outcome, PointStatus::error)},
                      {"best", nullptr},
                      {"unpatched", nullptr},
                      {"drift", drift_of(outcome.drift)},
                      {"failed", nlohmann::json::array()}};
  if (reference != nullptr)
    json["unpatched"] = {{"settings", reference->settings}, {"median_ms", reference->timing.median}};
  if (!ok.empty()) {
    json["best"] = {{"settings", ok[0]->settings}, {"median_ms", ok[0]->timing.median}};
    if (reference != nullptr) {
      const Estimate r = speed(*ok[0], *reference);
      json["best"]["speed"] = {{"low", r.low}, {"value", r.value}, {"high", r.high}};
    }
  }
  for (const PointRecord& p : outcome.points) {
    if (p.status != PointStatus::ok)
      json["failed"].push_back(
          {{"settings", p.settings}, {"status", to_string(p.status)}, {"message", p.message}});
  }
  return json;
}

}  // namespace halotile
