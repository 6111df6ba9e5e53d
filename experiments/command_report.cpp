#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "commands.hpp"
#include "formats/atomic_file.hpp"
#include "patching/error.hpp"
#include "provenance.hpp"
#include "report/data.hpp"
#include "report/page.hpp"
#include "report/picture.hpp"
#include "report/timeline.hpp"
#include "sweeping/store.hpp"
#include "text.hpp"

namespace halotile {
namespace {

StoreContents read_contents(const std::filesystem::path& file) {
  const Store store(file, Store::Mode::read_only);
  StoreContents contents{store.points(), store.machines(), store.sweeps(), store.drift(), store.ceilings()};
  if (contents.points.empty()) {
    throw StoreError(fmt::format("{}: the store has no points yet; measure some with halotile sweep CONFIG",
                                 file.string()));
  }
  return contents;
}

std::string title_of(const StoreContents& contents, const std::filesystem::path& store) {
  return contents.sweeps.empty() ? store.stem().string() : contents.sweeps.back().name;
}

nlohmann::json result_json(const CommandLine& line, const StoreContents& contents, const Axes& axes,
                           const std::vector<Group>& groups, const std::vector<Summary>& summaries) {
  std::size_t failed = 0;
  for (const PointRecord& p : contents.points) failed += p.status == PointStatus::ok ? 0 : 1;
  nlohmann::json json{
      {"command", "report"}, {"file", line.output.string()},  {"points", contents.points.size()},
      {"failed", failed},    {"charts", has_chart_library()}, {"groups", nlohmann::json::array()}};
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Summary& summary = summaries[g];
    nlohmann::json group{{"name", group_name(axes, groups[g])},
                         {"points", groups[g].points.size()},
                         {"best", nullptr},
                         {"summary", nlohmann::json::object()}};
    if (summary.best) group["best"] = setting_name(axes, groups[g], *summary.best);
    for (const Statement& s : summary.statements) group["summary"][s.topic] = s.text;
    json["groups"].push_back(std::move(group));
  }
  return json;
}

}  // namespace

int command_report(const CommandLine& line) {
  const StoreContents contents = read_contents(line.store);
  const nlohmann::json timeline = line.trace.empty() ? nlohmann::json() : read_timeline(line.trace);
  AtomicFile file(line.output);  // fails before the work rather than behind it
  const Axes axes = make_axes(contents);
  const std::vector<Group> groups = make_groups(contents);
  std::vector<Summary> summaries;
  for (const Group& group : groups) summaries.push_back(summarize(group, contents, axes));

  nlohmann::json data = report_data(contents, axes, groups, summaries);
  data["title"] = title_of(contents, line.store);
  data["store"] = line.store.filename().string();
  data["written"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  data["version"] = build_info.version;
  data["timeline"] = timeline;
  data["picture"] = nullptr;
  if (const auto drawn = summaries.front().best_patched) {
    data["picture"] = tile_picture(contents.points[*drawn]);
    data["picture"]["point"] = *drawn;
  }
  file.write(report_page(data));
  file.commit();

  const nlohmann::json result = result_json(line, contents, axes, groups, summaries);
  if (line.json) {
    fmt::print("{}", json_text(result));
    return 0;
  }
  if (groups.size() > 1) fmt::print("{}:\n", group_name(axes, groups.front()));
  for (const Statement& s : summaries.front().statements) fmt::print("{}\n", s.text);
  fmt::print("\nreport: {} ({} points{})\n", line.output.string(), contents.points.size(),
             has_chart_library() ? "" : "; without charts: run ./setup.sh and build again to have them");
  return 0;
}

}  // namespace halotile
