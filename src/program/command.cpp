#include "program/command.hpp"

namespace halotile {

void Command::add_json(Options& options) {
  options.flag("--json", json_, "Print one JSON object instead of text");
}

void ConfigArguments::add_to(Options& options, const std::string& overrides_meaning) {
  options.word("CONFIG", config, "Experiment config (YAML)");
  options.words("OVERRIDES", overrides, overrides_meaning);
}

}  // namespace halotile
