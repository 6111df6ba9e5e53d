// The measured limits of the device that an experiment runs on.
#pragma once

#include "pipeline/experiment/session.hpp"
#include "sweeping/record.hpp"

namespace halotile {

/// Of the session's device in its precision, with all cores that the process may use; `machine` is left 0.
/// Takes about a second on the CPU. Throws UnsupportedError, see kernels/ceilings.hpp.
[[nodiscard]] Ceiling measure_ceiling(const Session& session);

}  // namespace halotile
