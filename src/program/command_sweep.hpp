// halotile sweep: measures every combination of settings and keeps the points in a store.
#pragma once

#include "program/command.hpp"
#include "sweeping/sweep_plan.hpp"

namespace halotile {

class CommandSweep final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "sweep"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Verify and measure every combination of settings; goes on where it was";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  [[nodiscard]] int measure(const SweepPlan& plan) const;

  ConfigArguments arguments_;
  std::filesystem::path store_;   // of points; empty: NAME.db in output.directory
  std::filesystem::path report_;  // to write behind it; empty: none
  bool dry_run_ = false;          // tell the points, measure nothing
  bool fail_fast_ = false;        // end behind the first point that fails
};

}  // namespace halotile
