// Which values of the network are maps of a run: what stages hand to each other, what lies behind the feature
// maps, and what users ask for.
#pragma once

#include <set>
#include <span>
#include <vector>

#include "pipeline/running/lowered_stage.hpp"
#include "pipeline/running/run_maps.hpp"

namespace halotile {

struct RunValues {
  std::vector<MapStore> maps;       ///< 0: the network's input
  std::vector<std::size_t> map_of;  ///< by value; no_number without a map of its own

  /// The map that shows a value whole, under whatever name. Throws ConfigError when it was not kept.
  [[nodiscard]] std::size_t shown(const Network& network, std::size_t value) const;
};

/// Maps of element type `type` for what these stages and vectors write; connects who reads them to them.
/// `keep`: nodes whose outputs must stay readable.
[[nodiscard]] RunValues connect(const Network& network, std::span<const StagePlan> plan,
                                std::span<LoweredStage> stages, std::span<LoweredVectors> vectors,
                                const std::set<std::size_t>& keep, DType type);

}  // namespace halotile
