// Which engine on which device an experiment runs on.
#pragma once

#include <memory>
#include <string>

#include "kernels/engines/registry/registry.hpp"
#include "pipeline/experiment/config.hpp"

namespace halotile {

/// Which engine it is, before there is one: what plans and runs agree on.
struct EngineSelection {
  const EngineEntry* entry = nullptr;
  int gpu = 0;       ///< index
  std::string note;  ///< why device: auto did not take a GPU; empty when it did, or nobody asked for one
};

/// The experiment's engine. device: auto takes a GPU when one is usable and the engine allows; otherwise no
/// GPU is asked for. Throws UnsupportedError for an engine of another device and a precision that it has not.
[[nodiscard]] EngineSelection select_engine(const Experiment& experiment);

struct EngineChoice {
  std::unique_ptr<Engine> engine;
  std::string note;  ///< the selection's
};

/// The engine that select_engine() names, made; `threads` inside each stream on the CPU. Throws
/// UnsupportedError for a device that is not there too.
[[nodiscard]] EngineChoice choose_engine(const Experiment& experiment, int threads);

}  // namespace halotile
