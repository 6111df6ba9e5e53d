// Measuring one setting: everything that a point of a sweep tells of it.
#pragma once

#include <filesystem>
#include <functional>

#include "pipeline/experiment/session.hpp"
#include "pipeline/experiment/verify.hpp"
#include "sweeping/record.hpp"

namespace halotile {

/// Writes a trace of one run of the experiment's first batch, behind its warm-up. Throws what write_trace()
/// does.
void trace_batch(const Experiment& experiment, const std::filesystem::path& file);

using Verifier = std::function<Verification(const Session&)>;

/// Prepares the experiment, verifies it and, when its bits are those of the unpatched run, measures it.
/// Errors of the experiment become the record's; Interrupted is thrown. Fills everything but what places the
/// record in a store: the hash and settings, machine, sweep, sequence, and the input's hash.
[[nodiscard]] PointRecord measure_point(const Experiment& experiment, const Verifier& verifier = verify);

}  // namespace halotile
