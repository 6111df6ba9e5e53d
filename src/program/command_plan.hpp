// halotile plan: what would be run, as numbers and as a picture.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandPlan final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "plan"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Print tiles, halos, recomputed work and memory without running";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  ConfigArguments arguments_;
  std::filesystem::path image_;  // picture to write; empty: none
  std::int64_t stage_ = 0;       // to draw
};

}  // namespace halotile
