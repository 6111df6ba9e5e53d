// halotile run: runs an experiment, tells what came of it and how long it took, and writes it to files.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandRun final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "run"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Run the experiment: top-5 and a table of timings";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  ConfigArguments arguments_;
};

}  // namespace halotile
