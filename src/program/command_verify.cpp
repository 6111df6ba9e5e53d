#include "program/command_verify.hpp"

#include <fmt/format.h>

#include "kernels/engines/registry/registry.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "pipeline/experiment/verify.hpp"

namespace halotile {
namespace {

// JSON has no infinity.
nlohmann::json named_number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

nlohmann::json to_json(const Comparison& c) {
  nlohmann::json json{{"layer", c.layer},
                      {"equal_bits", c.equal_bits()},
                      {"max_abs", named_number(c.max_abs)},
                      {"max_rel", named_number(c.max_rel)},
                      {"max_ulp", c.max_ulp},
                      {"elements", c.elements},
                      {"different", c.different},
                      {"first_different", nullptr}};
  if (c.first) {
    const FirstDifference& f = *c.first;
    json["first_different"] = {{"image", f.tile.image},
                               {"row", f.row},
                               {"column", f.column},
                               {"channel", f.channel},
                               {"expected", named_number(f.expected)},
                               {"got", named_number(f.got)},
                               {"tile", nullptr}};
    if (f.tile.stage >= 0) {
      json["first_different"]["tile"] = {
          {"image", f.tile.image}, {"stage", f.tile.stage}, {"row", f.tile.row}, {"column", f.tile.column}};
    }
  }
  return json;
}

std::vector<std::string> row(const std::string& stage, const Comparison& c) {
  std::string first = "-";
  if (c.first) {
    first = fmt::format("image {} at ({}, {}, {})", c.first->tile.image, c.first->row, c.first->column,
                        c.first->channel);
    if (c.first->tile.stage >= 0)
      first += fmt::format(", tile ({}, {})", c.first->tile.row, c.first->tile.column);
  }
  return {stage,
          c.layer,
          c.equal_bits() ? "equal" : "DIFFERENT",
          fmt::format("{:.3g}", c.max_abs),
          fmt::format("{:.3g}", c.max_rel),
          fmt::format("{}", c.max_ulp),
          fmt::format("{}/{}", c.different, c.elements),
          first};
}

}  // namespace

void CommandVerify::set_up(Options& options) {
  add_json(options);
  arguments_.add_to(options);
}

int CommandVerify::run() {
  const Session session(arguments_.experiment());
  print_note(session.device_note());
  const Verification v = verify(session);
  const bool equal = v.equal_bits();
  const EngineEntry& engine = *find_engine(session.engine().name());
  if (as_json()) {
    nlohmann::json json{{"command", "verify"},
                        {"network", session.network().name},
                        {"engine", session.engine().name()},
                        {"device", session.engine().device().name()},
                        {"device_note", nullptr},
                        {"equal_bits", equal},
                        {"bits_promised", engine.promises_bits},
                        {"bits_statement", bits_statement(engine)},
                        {"max_abs", named_number(v.logits.max_abs)},
                        {"max_ulp", v.logits.max_ulp},
                        {"images", v.images},
                        {"logits", to_json(v.logits)},
                        {"stages", nlohmann::json::array()},
                        {"provenance", provenance_json(session)}};
    if (!session.device_note().empty()) json["device_note"] = session.device_note();
    for (const Comparison& c : v.stages) json["stages"].push_back(to_json(c));
    print_json(json);
    return equal ? exit_fine : exit_different;
  }
  print_text("{}: patched against unpatched, engine {}, {}, {} images\n\n", session.network().name,
             session.engine().name(), word(session.experiment().precision), v.images);
  std::vector<std::vector<std::string>> rows{
      {"stage", "output of", "bits", "max abs", "max rel", "max ulp", "different", "first difference"}};
  for (const Comparison& c : v.stages)
    rows.push_back(row(c.stage < 0 ? "output" : fmt::format("{}", c.stage), c));
  rows.push_back(row("logits", v.logits));
  print_text("{}\n{}\n{}\n", table(rows),
             equal ? "EQUAL: every map and the logits have the same bits as the unpatched run."
                   : "DIFFERENT: see the first difference and the tile that owns it.",
             bits_statement(engine));
  return equal ? exit_fine : exit_different;
}

}  // namespace halotile
