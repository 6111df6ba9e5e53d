// halotile compare: two results, stores, folders of them, or commits.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "program/command.hpp"
#include "sweeping/measured_points.hpp"

namespace halotile {

class CommandCompare final : public Command {
 public:
  [[nodiscard]] std::string name() const override { return "compare"; }
  [[nodiscard]] std::string synopsis() const override {
    return "Tell whether B is faster or slower than A, point by point";
  }
  void set_up(Options& options) override;
  int run() override;

 private:
  [[nodiscard]] nlohmann::json to_json(const ComparedSides& compared, const MeasuredSide& a,
                                       const MeasuredSide& b) const;
  void print(const ComparedSides& compared, const MeasuredSide& a, const MeasuredSide& b) const;

  std::filesystem::path a_;  // a result, a store, a folder of them, or a commit
  std::filesystem::path b_;
  std::filesystem::path store_;  // where the commits' points are; empty: no commits are compared
  double threshold_ = 0.02;      // a share of the time
  bool quiet_ = false;
};

}  // namespace halotile
