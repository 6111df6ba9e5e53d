#include "program/command_sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "formats/atomic_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "pipeline/measuring/statistics.hpp"
#include "program/interrupt.hpp"
#include "program/replaced_files.hpp"
#include "program/report/report.hpp"
#include "program/sweep_console.hpp"
#include "sweeping/store.hpp"

namespace halotile {
namespace {

// What a store tells before the sweep starts.
struct Known {
  std::set<std::string> finished;
  std::vector<double> seconds;  // that the plan's points took which are there
};

Known known_of(const SweepPlan& plan, const Store& store, std::int64_t machine) {
  Known known;
  known.finished = store.finished(machine);
  for (const PointRecord& point : store.points()) {
    const bool planned = std::any_of(plan.points.begin(), plan.points.end(),
                                     [&](const PlannedPoint& p) { return p.hash == point.config_hash; });
    if (planned && point.machine == machine && point.status == PointStatus::ok)
      known.seconds.push_back(point.seconds);
  }
  return known;
}

std::string estimate(const SweepPlan& plan, const Known& known) {
  double most = 0;
  std::size_t left = 0;
  for (const PlannedPoint& point : plan.points) {
    if (known.finished.contains(point.hash)) continue;
    ++left;
    most += point.experiment.measure.max_seconds;
  }
  if (left == 0) return "nothing is left to measure";
  if (!known.seconds.empty()) {
    return fmt::format("about {} for the {} that are left",
                       duration_text(quantile(known.seconds, 0.5) * static_cast<double>(left)), left);
  }
  return fmt::format("at most about {} of timed runs, besides preparing and verifying", duration_text(most));
}

// The machine's id in a store that is only read; 0 when it is new there.
std::int64_t known_machine(const Store& store) {
  const nlohmann::json self = lasting_machine_json();
  for (const MachineRecord& machine : store.machines()) {
    if (machine.provenance == self) return machine.id;
  }
  return 0;
}

int dry_run(const SweepPlan& plan, const std::filesystem::path& file, bool json) {
  Known known;
  std::error_code none;
  if (std::filesystem::status(file, none).type() != std::filesystem::file_type::not_found) {
    const Store store(file, Store::Mode::read_only);
    known = known_of(plan, store, known_machine(store));
  }
  std::size_t finished = 0;
  nlohmann::json points = nlohmann::json::array();
  for (const PlannedPoint& point : plan.points) {
    const bool there = known.finished.contains(point.hash);
    finished += there ? 1U : 0U;
    points.push_back({{"settings", point.settings}, {"config_hash", point.hash}, {"finished", there}});
  }
  const std::string time = estimate(plan, known);
  if (json) {
    print_json({{"command", "sweep"},
                {"store", file.string()},
                {"dry_run", true},
                {"finished", finished},
                {"estimate", time},
                {"points", points}});
    return exit_fine;
  }
  print_text("{} points, {} of them in {}; {}\n", plan.points.size(), finished, file.string(), time);
  for (const nlohmann::json& point : points) {
    print_text("  {}{}\n", settings_text(point["settings"]), point["finished"] == true ? "  (finished)" : "");
  }
  return exit_fine;
}

int exit_status(const SweepOutcome& outcome) {
  int status = exit_fine;
  for (const PointRecord& p : outcome.points) {
    if (p.status == PointStatus::error) return exit_trouble;
    if (p.status == PointStatus::different) status = exit_different;
  }
  return status;
}

std::filesystem::path trace_beside(const std::filesystem::path& report) {
  return std::filesystem::path(report).replace_extension(".trace.json");
}

// The report and its trace must not take the place of what the sweep reads or writes.
void check_report(const std::filesystem::path& report, const std::filesystem::path& config,
                  const SweepPlan& plan, const std::filesystem::path& store) {
  for (const std::filesystem::path& output : {report, trace_beside(report)}) {
    refuse_to_replace(files_of_store(store), "--report", output);
    for (const PlannedPoint& point : plan.points)
      refuse_to_replace(files_of_config(config, point.experiment, output), "--report", output);
  }
}

// The report, with the timeline of the fastest patched point where it can be traced.
void write_report_of(const SweepPlan& plan, const Report& report, const std::filesystem::path& store,
                     const std::filesystem::path& output) {
  std::filesystem::path trace;
  const std::optional<std::size_t> best = report.summaries.front().best_patched;
  const auto planned = std::find_if(plan.points.begin(), plan.points.end(), [&](const PlannedPoint& p) {
    return best && p.hash == report.contents.points[*best].config_hash;
  });
  if (planned != plan.points.end()) {
    trace = trace_beside(output);
    try {
      trace_batch(planned->experiment, trace);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {
      print_error("halotile: the report has no timeline: {}\n", message_of(e));
      trace.clear();
    }
  }
  write_report(report, store, trace, output);
}

}  // namespace

void CommandSweep::set_up(Options& options) {
  add_json(options);
  arguments_.add_to(
      options,
      "key=value words that replace keys of the config, and key=value,value,... or key=range(begin, end, "
      "step) words that are swept: patch.size=16,32,64 streams=1,2");
  options.path("-o,--store", store_, "The store to add points to (default: NAME.db in output.directory)");
  options.flag("--dry-run", dry_run_, "Tell the points and the time they may take; measure nothing");
  options.path("--report", report_,
               "Behind the sweep, trace a run of the fastest patched setting and write the report (HTML)");
  options.flag("--fail-fast", "--keep-going", fail_fast_,
               "End behind the first point that fails; or go on behind it (the default)");
}

int CommandSweep::run() {
  const SweepPlan plan = plan_sweep(arguments_.config, arguments_.overrides);
  if (store_.empty()) store_ = plan.points.front().experiment.output.directory / (plan.name + ".db");
  if (!report_.empty()) check_report(report_, arguments_.config, plan, store_);
  return dry_run_ ? dry_run(plan, store_, as_json()) : measure(plan);
}

int CommandSweep::measure(const SweepPlan& plan) const {
  Store store(store_, Store::Mode::read_write);
  if (!report_.empty()) {
    const AtomicFile writable(report_);  // fails now rather than after hours
  }
  const std::int64_t machine = store.add_machine(lasting_machine_json());
  SweepConsole console(store_, as_json());
  console.expect(estimate(plan, known_of(plan, store, machine)));
  SweepSettings settings;
  settings.fail_fast = fail_fast_;
  SweepOutcome outcome;
  std::optional<Report> report;
  try {
    outcome = run_sweep(plan, store, machine, settings, console);
    console.end();
    if (!report_.empty()) {
      report = read_report(store_);
      write_report_of(plan, *report, store_, report_);
    }
  } catch (const Interrupted&) {
    console.end();
    print_error("halotile: interrupted; {}\n", console.resumption());
    return exit_interrupted;
  }
  if (as_json()) {
    nlohmann::json json = summary_json(outcome);
    json["command"] = "sweep";
    json["store"] = store_.string();
    json["provenance"] = lasting_machine_json();
    if (report) json["report"] = report_json(*report, report_);
    print_json(json);
  } else {
    print_summary(outcome);
    print_text("store: {}\n", store_.string());
    if (report) print_text("report: {}\n", report_.string());
  }
  return exit_status(outcome);
}

}  // namespace halotile
