// The words and options of one command. Only options.cpp sees the parser: its header takes seconds to
// compile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace halotile {

/// Each function adds an option (or, by a name without dashes, the next word) that sets `value`, which must
/// live until the command has run and is the default.
class Options {
 public:
  explicit Options(CLI::App& parser) : parser_(parser) {}

  /// A word that must be there.
  void word(const std::string& name, std::filesystem::path& value, const std::string& meaning);
  /// All further words.
  void words(const std::string& name, std::vector<std::string>& values, const std::string& meaning);
  void flag(const std::string& names, bool& value, const std::string& meaning);
  /// `yes` sets, `no` takes back; the last one given counts.
  void flag(const std::string& yes, const std::string& no, bool& value, const std::string& meaning);
  void path(const std::string& names, std::filesystem::path& value, const std::string& meaning);
  void text(const std::string& names, std::string& value, std::initializer_list<const char*> allowed,
            const std::string& meaning);
  void number(const std::string& names, std::int64_t& value, const std::string& meaning);
  /// From 0 to 1; NaN is let through.
  void share(const std::string& names, double& value, const std::string& meaning);
  /// What the help ends with.
  void footer(const std::string& text);

  /// "~" in the paths and words that were given; the shell does it for words of their own, but not in
  /// --store=~/x. Throws ConfigError, see home_path.hpp.
  void expand_home() const;

 private:
  CLI::App& parser_;
  std::vector<std::filesystem::path*> paths_;
};

}  // namespace halotile
