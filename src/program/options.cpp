#include "program/options.hpp"

#include <CLI/CLI.hpp>

#include "formats/home_path.hpp"

namespace halotile {

void Options::word(const std::string& name, std::filesystem::path& value, const std::string& meaning) {
  parser_.add_option(name, value, meaning)->required();
  paths_.push_back(&value);
}

void Options::words(const std::string& name, std::vector<std::string>& values, const std::string& meaning) {
  parser_.add_option(name, values, meaning);
}

void Options::flag(const std::string& names, bool& value, const std::string& meaning) {
  parser_.add_flag(names, value, meaning);
}

void Options::flag(const std::string& yes, const std::string& no, bool& value, const std::string& meaning) {
  parser_.add_flag(yes + ",!" + no, value, meaning)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void Options::path(const std::string& names, std::filesystem::path& value, const std::string& meaning) {
  CLI::Option* const option = parser_.add_option(names, value, meaning);
  if (!value.empty()) option->default_str(value.string());
  paths_.push_back(&value);
}

void Options::text(const std::string& names, std::string& value, std::initializer_list<const char*> allowed,
                   const std::string& meaning) {
  parser_.add_option(names, value, meaning)
      ->check(CLI::IsMember(std::vector<std::string>(allowed.begin(), allowed.end())))
      ->capture_default_str();
}

void Options::number(const std::string& names, std::int64_t& value, const std::string& meaning) {
  parser_.add_option(names, value, meaning)->capture_default_str();
}

void Options::share(const std::string& names, double& value, const std::string& meaning) {
  parser_.add_option(names, value, meaning)->capture_default_str()->check(CLI::Range(0.0, 1.0));
}

void Options::footer(const std::string& text) { parser_.footer(text); }

void Options::expand_home() const {
  for (std::filesystem::path* const path : paths_) *path = halotile::expand_home(*path);
}

}  // namespace halotile
