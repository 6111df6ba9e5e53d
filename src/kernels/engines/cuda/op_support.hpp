// Which operations the CUDA engines have, for those who ask without a GPU or without CUDA in the build too.
#pragma once

#include <string>

#include "kernels/engines/op.hpp"

namespace halotile::cuda {

/// Engine::obstacle() of each engine.
[[nodiscard]] std::string direct_obstacle(const Op& op);
[[nodiscard]] std::string tensor_core_obstacle(const Op& op);
[[nodiscard]] std::string cudnn_obstacle(const Op& op);

}  // namespace halotile::cuda
