// The kernels of each .cu file, for asking the driver what they take.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace halotile::cuda {

struct KernelEntry {
  std::string family;
  std::string name;
  const void* function = nullptr;
  int threads = 0;                 ///< of a block, as launched
  std::size_t dynamic_shared = 0;  ///< bytes, the input patch of patch kernels left out
};

[[nodiscard]] std::vector<KernelEntry> pool2d_kernels();
[[nodiscard]] std::vector<KernelEntry> lrn_kernels();
[[nodiscard]] std::vector<KernelEntry> lrn_pool_kernels();
[[nodiscard]] std::vector<KernelEntry> binary_kernels();
[[nodiscard]] std::vector<KernelEntry> pointwise_kernels();

/// A kernel's address as the runtime's host functions take it.
template <typename... Parameters>
[[nodiscard]] const void* address_of(void (*kernel)(Parameters...)) {
  return reinterpret_cast<const void*>(kernel);
}

}  // namespace halotile::cuda

namespace halotile::direct {

[[nodiscard]] std::vector<cuda::KernelEntry> conv2d_kernels();
[[nodiscard]] std::vector<cuda::KernelEntry> fully_connected_kernels();

}  // namespace halotile::direct
