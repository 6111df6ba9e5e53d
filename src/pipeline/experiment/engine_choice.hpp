// Which engine on which device an experiment runs on.
#pragma once

#include <memory>
#include <string>

#include "pipeline/experiment/config.hpp"

namespace halotile {

struct EngineChoice {
  std::unique_ptr<Engine> engine;
  std::string note;  ///< why device: auto did not take a GPU; empty when it did, or nobody asked for one
};

/// The experiment's engine; `threads` inside each stream on the CPU. device: auto takes a GPU when one is
/// usable and engine and precision allow. Throws UnsupportedError for what cannot be: a device that is not
/// there, an engine of another device, a precision that the engine has not.
[[nodiscard]] EngineChoice choose_engine(const Experiment& experiment, int threads);

}  // namespace halotile
