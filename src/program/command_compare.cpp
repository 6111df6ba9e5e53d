#include "program/command_compare.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "patching/error.hpp"
#include "pipeline/experiment/text.hpp"

namespace halotile {
namespace {

// JSON has no infinity.
nlohmann::json number(double value) {
  if (std::isfinite(value)) return value;
  return nullptr;
}

nlohmann::json point_json(const ComparedPoint& p) {
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

}  // namespace

nlohmann::json CommandCompare::to_json(const ComparedSides& c, const MeasuredSide& a,
                                       const MeasuredSide& b) const {
  nlohmann::json json{{"command", "compare"},
                      {"a", {{"name", a_.string()}, {"builds", a.builds}}},
                      {"b", {{"name", b_.string()}, {"builds", b.builds}}},
                      {"threshold", threshold_},
                      {"interval_level", c.level},
                      {"points", nlohmann::json::array()},
                      {"only_a", c.only_a},
                      {"only_b", c.only_b},
                      {"worse", c.worse()}};
  for (const ComparedPoint& p : c.points) json["points"].push_back(point_json(p));
  for (const Verdict v : {Verdict::faster, Verdict::slower, Verdict::same, Verdict::undecided})
    json["count"][to_string(v)] = c.count(v);
  return json;
}

void CommandCompare::print(const ComparedSides& c, const MeasuredSide& a, const MeasuredSide& b) const {
  print_text("A: {} ({})\nB: {} ({})\n\n", a_.string(), fmt::format("{}", fmt::join(a.builds, "; ")),
             b_.string(), fmt::format("{}", fmt::join(b.builds, "; ")));
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
      c.count(Verdict::slower), c.count(Verdict::faster), c.count(Verdict::same), percent(threshold_),
      c.count(Verdict::undecided));
}

void CommandCompare::set_up(Options& options) {
  add_json(options);
  options.word("A", a_, "A result of run (NAME.run.json), a store, a folder of them (rounds), or a commit");
  options.word("B", b_, "What is compared with it");
  options.path("--store", store_, "A and B are commits (NAME or NAME-dirty): where their points are");
  options.share("--threshold", threshold_, "Ratios within 1 +- this are the same");
  options.flag("-q,--quiet", quiet_, "Print nothing; the exit status tells");
  options.footer("Exit status: 0 nothing slower, 1 something slower, broken or with other bits, 2 trouble.");
}

int CommandCompare::run() {
  if (std::isnan(threshold_)) {  // within any range for the parser
    throw ConfigError("--threshold: is no number; write a share from 0 to 1, for example 0.02");
  }
  const auto read = [&](const std::filesystem::path& side) {
    return store_.empty() ? read_side(side) : read_commit(store_, side.string());
  };
  const MeasuredSide a = read(a_);
  MeasuredSide b = read(b_);
  // Whoever names two runs wants them compared, whatever their settings.
  if (a.single_run && b.single_run && b.points[0].keys != a.points[0].keys) {
    b.points[0].keys = a.points[0].keys;
    print_note(fmt::format("note: the settings differ: A {}, B {}", a.points[0].name, b.points[0].name));
  }
  const ComparedSides compared = compare_sides(a.points, b.points, threshold_);
  if (compared.points.empty()) {
    throw ConfigError("compare: A and B have no point in common; both must be measured with equal settings");
  }
  if (as_json()) {
    print_json(to_json(compared, a, b));
  } else if (!quiet_) {
    print(compared, a, b);
  }
  return compared.worse() ? exit_different : exit_fine;
}

}  // namespace halotile
