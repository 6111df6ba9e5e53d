// Ranges of a CUDA module's constant memory. Constant memory belongs to the module, not to the launch: layers
// that run at the same time on different streams must own different ranges, written once, before they run.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace halotile::direct {

/// Hands out ranges of one module's `__constant__` array of `capacity` floats, per device. Thread-safe.
class ConstantSpace {
 public:
  static constexpr int capacity = 16384;  ///< floats: all of the 64 KiB a module may declare
  /// Writes values into the array from `offset` on, on the current device.
  using Write = void (*)(int offset, std::span<const float> values);

  /// A range, given back when destroyed, when the device has nothing more to do: kernels may still read it.
  class Range {
   public:
    Range(ConstantSpace& space, int device, int offset) : space_(&space), device_(device), offset_(offset) {}
    Range(Range&& other) noexcept
        : space_(std::exchange(other.space_, nullptr)), device_(other.device_), offset_(other.offset_) {}
    Range& operator=(Range&& other) noexcept {
      std::swap(space_, other.space_);
      std::swap(device_, other.device_);
      std::swap(offset_, other.offset_);
      return *this;
    }
    ~Range() {
      if (space_ != nullptr) space_->release(device_, offset_);
    }
    [[nodiscard]] int offset() const { return offset_; }

   private:
    ConstantSpace* space_;
    int device_;
    int offset_;
  };

  explicit ConstantSpace(Write write) : write_(write) {}
  /// First fit; writes `values` there on `device`, which must be current. Nothing when they do not fit.
  [[nodiscard]] std::optional<Range> reserve(int device, std::span<const float> values);
  /// Floats taken on `device`.
  [[nodiscard]] int used(int device) const;

 private:
  void release(int device, int offset);

  Write write_;
  mutable std::mutex mutex_;
  std::map<int, std::map<int, int>> taken_;  // per device: offset -> size
};

}  // namespace halotile::direct
