// How a sweep shows itself: a line that tells the time left on a terminal, a line a point elsewhere, and a
// summary.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "program/progress.hpp"
#include "sweeping/sweep.hpp"

namespace halotile {

/// "patch.size=64 streams=2".
[[nodiscard]] std::string settings_text(const nlohmann::json& settings);

class SweepConsole final : public SweepWatcher {
 public:
  /// `store` is named in what it prints; silent: prints nothing but progress.
  SweepConsole(std::filesystem::path store, bool silent) : store_(std::move(store)), silent_(silent) {}

  void begin(std::size_t points, std::size_t finished) override;
  void measuring(const PlannedPoint& point) override;
  void measured(const PointRecord& point, std::size_t finished) override;
  void waiting(std::size_t points) override;

  /// What the points that are missing will take, in words; begin() prints it.
  void expect(std::string estimate) { estimate_ = std::move(estimate); }
  /// What is there when the sweep was interrupted.
  [[nodiscard]] std::string resumption() const;
  void end() { progress_.reset(); }

 private:
  const std::filesystem::path store_;
  const bool silent_;
  std::string estimate_;
  std::size_t points_ = 0;
  std::size_t finished_ = 0;
  std::size_t finished_before_ = 0;
  bool told_waiting_ = false;
  bool told_time_ = false;
  std::unique_ptr<Progress> progress_;
};

/// The best settings, how they compare with the unpatched point, what failed, and whether the machine
/// drifted.
void print_summary(const SweepOutcome& outcome);

/// The same as JSON.
[[nodiscard]] nlohmann::json summary_json(const SweepOutcome& outcome);

}  // namespace halotile
