// halotile explain: why a setting is fast or slow.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandExplain final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "explain"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Tell why a setting is fast or slow, from what was measured";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  std::filesystem::path source_;       // a store or a config
  std::vector<std::string> settings_;  // key=value
};

}  // namespace halotile
