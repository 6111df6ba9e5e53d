// halotile info: this build and this machine.
#pragma once

#include "program/command.hpp"

namespace halotile {

class CommandInfo final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "info"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Tell the build, the devices and the engines";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  bool kernels_ = false;      // what the CUDA kernels take of the GPU, too
  bool config_keys_ = false;  // the keys of experiments, and nothing else
};

}  // namespace halotile
