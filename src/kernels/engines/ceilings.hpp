// What a device can do at most, measured: the rates that a run's own are held against.
#pragma once

#include <string>

namespace halotile {

struct DeviceLimits {
  double flops_per_second = 0;       ///< a multiply-add is two
  double bytes_per_second = 0;       ///< read and written, in the device's own memory
  double copy_bytes_per_second = 0;  ///< from pinned host memory to the device; 0 on the CPU
};

/// Arithmetic: on the CPU oneDNN's product of square matrices that fit in no second-level cache, in fp32 or
/// bf16; on a GPU multiply-adds between registers (fp32) or on tensor cores (tf32, bf16, fp16), by the
/// fastest instructions of the card. Memory: a copy larger than all caches. The best of several repetitions;
/// about a second altogether. `device` as Device::name() has it; `threads` are the CPU's. Throws
/// UnsupportedError for what the device cannot do.
[[nodiscard]] DeviceLimits measure_limits(const std::string& device, const std::string& precision,
                                          int threads);

/// The GPU's part, see above; throws UnsupportedError in builds without CUDA.
[[nodiscard]] DeviceLimits measure_gpu_limits(int index, const std::string& precision);

}  // namespace halotile
