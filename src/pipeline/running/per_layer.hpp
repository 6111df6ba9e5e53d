// Layer by layer as the CUDA program did that this project grew out of: for every layer allocate on the
// device, copy the input and the weights in from pageable host memory, run, copy the output out, free; each
// step synchronous, on one stream, whole maps. Kept to show what that costs.
#pragma once

#include <memory>

#include "pipeline/running/executor_program.hpp"

namespace halotile {

/// Biases stay where the engine has them; the original's were in constant memory too. Throws UnsupportedError
/// on the CPU, when the plan has patches, or when the settings ask for several streams, sub-batches, packed
/// tiles, a graph (with or without `batched`), pixels or a resident input.
[[nodiscard]] std::unique_ptr<Executor::Program> make_per_layer_program(const Network& network,
                                                                        std::vector<StagePlan> plan,
                                                                        Engine& engine,
                                                                        const ExecutorSettings& settings);

}  // namespace halotile
