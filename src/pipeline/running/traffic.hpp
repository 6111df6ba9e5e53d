// How much memory layers read and write at least: what their time is compared with the memory's speed by.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>

#include "kernels/engines/engine.hpp"
#include "patching/plan.hpp"
#include "pipeline/network/network.hpp"

namespace halotile {

/// Bytes by the name of the layer (as LayerTime has it) for `batch` images: every tile's input and output
/// once, the layer's parameters once, all in the engine's element type.
[[nodiscard]] std::map<std::string, double> least_bytes(const Network& network,
                                                        std::span<const StagePlan> plan, const Engine& engine,
                                                        std::int64_t batch);

}  // namespace halotile
