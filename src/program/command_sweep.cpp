#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "formats/atomic_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/commands.hpp"
#include "program/interrupt.hpp"
#include "program/replaced_files.hpp"
#include "program/report/report.hpp"
#include "program/sweep_console.hpp"
#include "sweeping/statistics.hpp"
#include "sweeping/store.hpp"

namespace halotile {
namespace {

constexpr int exit_different = 1;
constexpr int exit_trouble = 2;

std::filesystem::path store_of(const CommandLine& line, const SweepPlan& plan) {
  if (!line.store.empty()) return line.store;
  return plan.points.front().experiment.output.directory / (plan.name + ".db");
}

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
    return 0;
  }
  print_text("{} points, {} of them in {}; {}\n", plan.points.size(), finished, file.string(), time);
  for (const nlohmann::json& point : points) {
    print_text("  {}{}\n", settings_text(point["settings"]), point["finished"] == true ? "  (finished)" : "");
  }
  return 0;
}

int exit_status(const SweepOutcome& outcome) {
  int status = 0;
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
void check_report(const CommandLine& line, const SweepPlan& plan, const std::filesystem::path& store) {
  for (const std::filesystem::path& output : {line.report, trace_beside(line.report)}) {
    refuse_to_replace(files_of_store(store), "--report", output);
    for (const PlannedPoint& point : plan.points)
      refuse_to_replace(files_of_config(line.config, point.experiment, output), "--report", output);
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

int command_sweep(const CommandLine& line) {
  const SweepPlan plan = plan_sweep(line.config, line.overrides);
  const std::filesystem::path file = store_of(line, plan);
  if (!line.report.empty()) check_report(line, plan, file);
  if (line.dry_run) return dry_run(plan, file, line.json);
  Store store(file, Store::Mode::read_write);
  if (!line.report.empty()) {
    const AtomicFile writable(line.report);  // fails now rather than after hours
  }
  const std::int64_t machine = store.add_machine(lasting_machine_json());
  SweepConsole console(file, line.json);
  console.expect(estimate(plan, known_of(plan, store, machine)));
  SweepSettings settings;
  settings.fail_fast = line.fail_fast;
  SweepOutcome outcome;
  std::optional<Report> report;
  try {
    outcome = run_sweep(plan, store, machine, settings, console);
    console.end();
    if (!line.report.empty()) {
      report = read_report(file);
      write_report_of(plan, *report, file, line.report);
    }
  } catch (const Interrupted&) {
    console.end();
    print_error("halotile: interrupted; {}\n", console.resumption());
    return exit_interrupted;
  }
  if (line.json) {
    nlohmann::json json = summary_json(outcome);
    json["command"] = "sweep";
    json["store"] = file.string();
    json["provenance"] = lasting_machine_json();
    if (report) json["report"] = report_json(*report, line.report);
    print_json(json);
  } else {
    print_summary(outcome);
    print_text("store: {}\n", file.string());
    if (report) print_text("report: {}\n", line.report.string());
  }
  return exit_status(outcome);
}

}  // namespace halotile
