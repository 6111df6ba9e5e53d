// halotile verify: the patched pipeline against the unpatched one.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandVerify final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "verify"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Compare the patched pipeline with the unpatched one, bit by bit";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  ConfigArguments arguments_;
};

}  // namespace halotile
