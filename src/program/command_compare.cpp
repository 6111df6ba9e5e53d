#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "patching/error.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/commands.hpp"
#include "sweeping/measured_points.hpp"

namespace halotile {
namespace {

// JSON has no infinity.
nlohmann::json number(double value) {
  if (std::isfinite(value)) return value;
  return nullptr;
}

nlohmann::json to_json(const ComparedPoint& p) {
  nlohmann::json json{{"name", p.name},
                      {"a_ms", p.a_ms},
                      {"b_ms", p.b_ms},
                      {"ratio", p.ratio.value},
                      {"low", number(p.ratio.low)},
                      {"high", number(p.ratio.high)},
                      {"verdict", to_string(p.verdict)},
                      {"reason", p.reason},
                      {"broken", p.broken},
                      {"rounds", p.rounds},
                      {"same_bits", nullptr}};
  if (p.same_bits) json["same_bits"] = *p.same_bits;
  return json;
}

nlohmann::json to_json(const ComparedSides& c, const MeasuredSide& a, const MeasuredSide& b,
                       const CommandLine& line) {
  nlohmann::json json{{"command", "compare"},
                      {"a", {{"name", line.a}, {"builds", a.builds}}},
                      {"b", {{"name", line.b}, {"builds", b.builds}}},
                      {"threshold", line.threshold},
                      {"interval_level", c.level},
                      {"points", nlohmann::json::array()},
                      {"only_a", c.only_a},
                      {"only_b", c.only_b},
                      {"worse", c.worse()}};
  for (const ComparedPoint& p : c.points) json["points"].push_back(to_json(p));
  for (const Verdict v : {Verdict::faster, Verdict::slower, Verdict::same, Verdict::undecided})
    json["count"][to_string(v)] = c.count(v);
  return json;
}

void print(const ComparedSides& c, const MeasuredSide& a, const MeasuredSide& b, const CommandLine& line) {
  print_text("A: {} ({})\nB: {} ({})\n\n", line.a, fmt::format("{}", fmt::join(a.builds, "; ")), line.b,
             fmt::format("{}", fmt::join(b.builds, "; ")));
  std::vector<std::vector<std::string>> rows{
      {"point", "A, ms", "B, ms", "B / A", "from", "to", "rounds", "verdict", "bits"}};
  for (const ComparedPoint& p : c.points) {
    const bool timed = p.ratio.value > 0;
    const auto cell = [timed](double x) { return timed ? fmt::format("{:.3f}", x) : std::string("-"); };
    rows.push_back({p.name, cell(p.a_ms), cell(p.b_ms), cell(p.ratio.value), cell(p.ratio.low),
                    cell(p.ratio.high), fmt::format("{}", p.rounds), to_string(p.verdict),
                    p.same_bits ? (*p.same_bits ? "SAME" : "DIFFERENT") : "-"});
  }
  print_text("{}\n", table(rows));
  for (const ComparedPoint& p : c.points) {
    if (!p.reason.empty()) print_text("{}: {}\n", p.name, p.reason);
  }
  for (const std::string& name : c.only_a) print_text("only in A: {}\n", name);
  for (const std::string& name : c.only_b) print_text("only in B: {}\n", name);
  print_text(
      "{} SLOWER, {} FASTER, {} SAME (within {}), {} UNDECIDED; the intervals hold together with 95%\n",
      c.count(Verdict::slower), c.count(Verdict::faster), c.count(Verdict::same), percent(line.threshold),
      c.count(Verdict::undecided));
}

}  // namespace

int command_compare(const CommandLine& line) {
  if (std::isnan(line.threshold)) {  // within any range for the parser
    throw ConfigError("--threshold: is no number; write a share from 0 to 1, for example 0.02");
  }
  const auto read = [&](const std::string& side) {
    return line.store.empty() ? read_side(side) : read_commit(line.store, side);
  };
  const MeasuredSide a = read(line.a);
  MeasuredSide b = read(line.b);
  // Whoever names two runs wants them compared, whatever their settings.
  if (a.single_run && b.single_run && b.points[0].keys != a.points[0].keys) {
    b.points[0].keys = a.points[0].keys;
    print_note(fmt::format("note: the settings differ: A {}, B {}", a.points[0].name, b.points[0].name));
  }
  const ComparedSides compared = compare_sides(a.points, b.points, line.threshold);
  if (compared.points.empty()) {
    throw ConfigError("compare: A and B have no point in common; both must be measured with equal settings");
  }
  if (line.json) {
    print_json(to_json(compared, a, b, line));
  } else if (!line.quiet) {
    print(compared, a, b, line);
  }
  return compared.worse() ? 1 : 0;
}

}  // namespace halotile
