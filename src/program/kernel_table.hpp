// `info --kernels`: what the CUDA kernels take of a GPU.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/engines/cuda/kernel_resources.hpp"

namespace halotile {

/// All kernels. Throws UnsupportedError in a build without CUDA, CudaError without a GPU.
[[nodiscard]] std::vector<KernelResources> known_kernels();
[[nodiscard]] nlohmann::json kernels_json(const std::vector<KernelResources>& kernels);
[[nodiscard]] std::string kernels_text(const std::vector<KernelResources>& kernels);

}  // namespace halotile
