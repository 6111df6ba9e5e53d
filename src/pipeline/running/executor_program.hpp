// What stands behind an Executor: tiles on streams (tile_program.hpp).
#pragma once

#include "pipeline/running/executor.hpp"

namespace halotile {

class Executor::Program {
 public:
  virtual ~Program() = default;
  [[nodiscard]] virtual MapView input() const = 0;
  virtual void load_input() = 0;
  virtual void set_dropout(std::int64_t sample, std::span<const std::int64_t> images) = 0;
  virtual void run(bool profiled) = 0;
  [[nodiscard]] virtual ConstMapView output(std::size_t layer) = 0;
  [[nodiscard]] virtual ConstMapView device_output(std::size_t layer) const = 0;
  [[nodiscard]] virtual const std::vector<StagePlan>& plan() const = 0;
  [[nodiscard]] virtual StageWork work(std::size_t stage) const {
    return {plan()[stage].flops(), plan()[stage].recomputed_flops()};
  }
  [[nodiscard]] virtual MemoryUse memory() const = 0;
  [[nodiscard]] virtual const RunTimes& times() const = 0;
  [[nodiscard]] virtual double idle_seconds() const = 0;
  virtual void reset_times() = 0;
};

[[nodiscard]] std::unique_ptr<Executor::Program> make_tile_program(const Network& network,
                                                                   std::vector<StagePlan> plan,
                                                                   Engine& engine,
                                                                   const ExecutorSettings& settings);

}  // namespace halotile
