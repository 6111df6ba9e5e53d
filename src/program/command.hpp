// A command of the program: `halotile NAME ...`. Each is a class with a pair of files of its own; main.cpp
// has the list.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/experiment/config.hpp"
#include "program/options.hpp"

namespace halotile {

inline constexpr int exit_fine = 0;
inline constexpr int exit_different = 1;
inline constexpr int exit_trouble = 2;

class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  virtual ~Command() = default;

  [[nodiscard]] virtual std::string name() const = 0;
  /// What it does, in a line of the help.
  [[nodiscard]] virtual std::string synopsis() const = 0;
  /// Adds the command's options; before run() they have the values that were given.
  virtual void set_up(Options& options) = 0;
  /// Does it and returns the exit status. Trouble is thrown, but for that of single points of a sweep.
  virtual int run() = 0;

 protected:
  /// --json: one JSON object on standard output and nothing else there.
  void add_json(Options& options);
  [[nodiscard]] bool as_json() const { return json_; }

 private:
  bool json_ = false;
};

/// CONFIG [key=value ...], which most commands take.
struct ConfigArguments {
  std::filesystem::path config;
  std::vector<std::string> overrides;  ///< key=value

  void add_to(Options& options,
              const std::string& overrides_meaning =
                  "key=value words that replace keys of the config: patch.size=32 streams=8");
  /// Throws ConfigError.
  [[nodiscard]] Experiment experiment() const { return read_experiment(config, overrides); }
};

}  // namespace halotile
