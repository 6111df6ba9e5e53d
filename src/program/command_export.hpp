// halotile export: a store's points for other programs.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandExport final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "export"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Write a store's points as CSV or JSON Lines";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  std::filesystem::path store_;
  std::string format_ = "csv";  // or jsonl
  std::filesystem::path file_;  // where to; empty: standard output
};

}  // namespace halotile
