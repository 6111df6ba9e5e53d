// A stage of the plan as operations: the steps that a tile takes, the maps that it reads and writes, and the
// calls that each tile makes of them.
#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "patching/plan.hpp"
#include "pipeline/network/steps.hpp"

namespace halotile {

inline constexpr std::size_t no_number = std::numeric_limits<std::size_t>::max();

/// A map that a stage reads. Values: numbers in the stage's plan.
struct StageInput {
  std::size_t value = 0;
  std::size_t map = 0;            ///< of RunMaps
  std::size_t stage = no_number;  ///< that makes it; none makes the network's input
  std::size_t there = 0;          ///< its number in that stage's plan
};

/// A map that a stage writes.
struct StageOutput {
  std::size_t value = 0;    ///< an output of the plan
  std::size_t written = 0;  ///< the value that a step writes, of which `value` is a name
  std::size_t map = 0;      ///< of RunMaps
  bool placed = false;      ///< by a call of its own, where it does not lie in place
  /// All outputs of the plan that are names of it; `value` is the first.
  std::vector<std::size_t> names{};
};

/// One call of a tile's work. Tiles of a stage make the same calls; where one has nothing to do it is left
/// out.
struct StageCall {
  enum class Kind : std::uint8_t { pack, step, place };
  Kind kind = Kind::step;
  std::size_t number = 0;  ///< of the input, step or output
  /// What it writes is read by later calls, at last by this one; at least by the next.
  std::size_t last_reader = 0;
};

struct LoweredStage {
  std::vector<Step> steps;
  std::vector<StageInput> inputs;
  std::vector<StageOutput> outputs;
  std::vector<StageCall> calls;
  std::vector<std::size_t> lines;  ///< of RunTimes, per step
  std::uint32_t name = 0;          ///< the program's, of its first node

  /// Each step reads what the step before writes, and nothing else.
  [[nodiscard]] bool chain() const;
};

/// A layer behind the feature maps.
struct LoweredVectors {
  Step step;
  std::vector<std::size_t> inputs{};  ///< maps that it reads
  std::size_t map = 0;                ///< and the one that it writes
  std::vector<Interval> blocks{};     ///< output features
  std::size_t line = 0;
  std::uint32_t name = 0;
};

/// Steps, outputs (without maps) and calls of a stage whose tiles are `packed` one by one or not.
[[nodiscard]] LoweredStage lower_stage(const Network& network, const StagePlan& plan, bool lrn_and_pool,
                                       bool packed);

/// The nodes that a stage makes.
[[nodiscard]] std::vector<std::size_t> nodes_of(const StagePlan& plan);

}  // namespace halotile
