// halotile report: a store as a page.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandReport final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "report"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Turn a store of sweeps into one HTML file with charts";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  std::filesystem::path store_;
  std::filesystem::path output_ = "report.html";
  std::filesystem::path trace_;  // of one run, to draw; empty: none
};

}  // namespace halotile
