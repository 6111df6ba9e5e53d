// The one place where CUDA's error codes become exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <source_location>
#include <string_view>

#include "patching/error.hpp"

namespace halotile {

/// A CUDA call that failed: what was being done, CUDA's own message, the place in the source, and a remedy.
class CudaError : public UnsupportedError {
 public:
  CudaError(cudaError_t status, const std::string& message) : UnsupportedError(message), status_(status) {}
  [[nodiscard]] cudaError_t status() const { return status_; }

 private:
  cudaError_t status_;
};

/// Throws the CudaError for `status`, whatever it is. `doing` completes "while ...": "copying to the device".
[[noreturn]] void throw_cuda_error(cudaError_t status, std::string_view doing,
                                   std::source_location where = std::source_location::current());

/// Throws CudaError unless `status` is success.
inline void check_cuda(cudaError_t status, std::string_view doing,
                       std::source_location where = std::source_location::current()) {
  if (status != cudaSuccess) throw_cuda_error(status, doing, where);
}

/// True when kernels can be launched while the one before them ends: the current device is a Hopper GPU or
/// newer.
[[nodiscard]] bool can_launch_early();

/// After a launch of `kernel`: throws CudaError when it could not start.
inline void check_launch(std::string_view kernel,
                         std::source_location where = std::source_location::current()) {
  check_cuda(cudaGetLastError(), kernel, where);
}

}  // namespace halotile
