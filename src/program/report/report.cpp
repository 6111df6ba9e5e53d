#include "program/report/report.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "formats/atomic_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/report/data.hpp"
#include "program/report/page.hpp"
#include "program/report/picture.hpp"
#include "program/report/timeline.hpp"
#include "sweeping/store.hpp"

namespace halotile {
namespace {

std::string title_of(const StoreContents& contents, const std::filesystem::path& store) {
  return contents.sweeps.empty() ? store.stem().string() : contents.sweeps.back().name;
}

}  // namespace

Report read_report(const std::filesystem::path& file) {
  const Store store(file, Store::Mode::read_only);
  Report report;
  report.contents = {store.points(), store.machines(), store.sweeps(), store.drift(), store.ceilings()};
  if (report.contents.points.empty()) {
    throw StoreError(fmt::format("{}: the store has no points yet; measure some with halotile sweep CONFIG",
                                 file.string()));
  }
  report.axes = make_axes(report.contents);
  report.groups = make_groups(report.contents);
  for (const Group& group : report.groups)
    report.summaries.push_back(summarize(group, report.contents, report.axes));
  return report;
}

void write_report(const Report& report, const std::filesystem::path& store,
                  const std::filesystem::path& trace, const std::filesystem::path& output) {
  const nlohmann::json timeline = trace.empty() ? nlohmann::json() : read_timeline(trace);
  AtomicFile file(output);  // fails before the work rather than behind it
  nlohmann::json data = report_data(report.contents, report.axes, report.groups, report.summaries);
  data["title"] = title_of(report.contents, store);
  data["store"] = store.filename().string();
  data["written"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  data["version"] = build_info.version;
  data["timeline"] = timeline;
  data["picture"] = nullptr;
  if (const auto drawn = report.summaries.front().best_patched) {
    data["picture"] = tile_picture(report.contents.points[*drawn]);
    data["picture"]["point"] = *drawn;
  }
  file.write(report_page(data));
  file.commit();
}

void print_report(const Report& report, const std::filesystem::path& output) {
  for (std::size_t g = 0; g < report.groups.size(); ++g) {
    if (report.groups.size() > 1) print_text("{}:\n", group_name(report.axes, report.groups[g]));
    for (const Statement& s : report.summaries[g].statements) print_text("{}\n", s.text);
    print_text("\n");
  }
  print_text("report: {} ({} points{})\n", output.string(), report.contents.points.size(),
             has_chart_library() ? "" : "; without charts: run ./setup.sh and build again to have them");
}

nlohmann::json report_json(const Report& report, const std::filesystem::path& output) {
  std::size_t failed = 0;
  for (const PointRecord& p : report.contents.points) failed += p.status == PointStatus::ok ? 0 : 1;
  nlohmann::json json{
      {"command", "report"}, {"file", output.string()},       {"points", report.contents.points.size()},
      {"failed", failed},    {"charts", has_chart_library()}, {"groups", nlohmann::json::array()}};
  for (std::size_t g = 0; g < report.groups.size(); ++g) {
    const Summary& summary = report.summaries[g];
    nlohmann::json group{{"name", group_name(report.axes, report.groups[g])},
                         {"points", report.groups[g].points.size()},
                         {"best", nullptr},
                         {"summary", nlohmann::json::object()}};
    if (summary.best) group["best"] = setting_name(report.axes, report.groups[g], *summary.best);
    for (const Statement& s : summary.statements) group["summary"][s.topic] = s.text;
    json["groups"].push_back(std::move(group));
  }
  return json;
}

}  // namespace halotile
