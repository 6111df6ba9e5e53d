#include "kernels/engines/cuda/direct/constant_space.hpp"

#include <cuda_runtime_api.h>

namespace halotile::direct {

std::optional<ConstantSpace::Range> ConstantSpace::reserve(int device, std::span<const float> values) {
  if (values.size() > capacity) return std::nullopt;
  const int size = static_cast<int>(values.size());
  int offset = 0;
  {
    const std::lock_guard lock(mutex_);
    std::map<int, int>& taken = taken_[device];
    for (const auto& [begin, length] : taken) {
      if (begin - offset >= size) break;
      offset = begin + length;
    }
    if (size == 0 || capacity - offset < size) return std::nullopt;
    taken.emplace(offset, size);
  }
  Range range(*this, device, offset);  // given back if the writing throws
  write_(offset, values);
  return range;
}

int ConstantSpace::used(int device) const {
  const std::lock_guard lock(mutex_);
  int sum = 0;
  if (const auto found = taken_.find(device); found != taken_.end()) {
    for (const auto& range : found->second) sum += range.second;
  }
  return sum;
}

void ConstantSpace::release(int device, int offset) {
  cudaSetDevice(device);
  cudaDeviceSynchronize();
  const std::lock_guard lock(mutex_);
  taken_[device].erase(offset);
}

}  // namespace halotile::direct
