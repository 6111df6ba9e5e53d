// CUDA devices behind the Device and Stream interfaces: memory, streams, events. Host code only.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <mutex>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/device.hpp"

namespace halotile {

/// What is known of a CUDA device, for `info` and for provenance.
struct CudaDeviceInfo {
  int index = 0;
  std::string name;  ///< "NVIDIA H200"
  int multiprocessors = 0;
  int capability_major = 0;  ///< compute capability
  int capability_minor = 0;
  std::size_t memory = 0;            ///< bytes on the device
  std::size_t free_memory = 0;       ///< bytes, when asked
  std::size_t l2_cache = 0;          ///< bytes
  std::size_t shared_per_block = 0;  ///< bytes of shared memory that one block may ask for
  std::size_t constant_memory = 0;   ///< bytes a module may declare
  int driver_version = 0;            ///< newest CUDA the driver knows: 13000 is 13.0
  int runtime_version = 0;           ///< CUDA runtime of this build
};

/// What `status` means for the user, and what to do: "this machine shows no CUDA GPU to the program; ...".
[[nodiscard]] std::string cuda_remedy(cudaError_t status);
/// "13.0" from 13000.
[[nodiscard]] std::string cuda_version(int version);
/// Number of usable CUDA devices: 0 where there is no GPU or no driver. Never throws.
[[nodiscard]] int cuda_device_count() noexcept;

/// Index of the calling thread's current device.
[[nodiscard]] int current_device();

/// A value for every device, at first T().
template <typename T>
class PerDevice {
 public:
  /// The current device's.
  [[nodiscard]] std::atomic<T>& here() {
    return values_[static_cast<std::size_t>(current_device()) % values_.size()];
  }

 private:
  std::array<std::atomic<T>, 64> values_{};
};

/// An attribute of the current device, never 0; asked for once.
template <cudaDeviceAttr attribute>
[[nodiscard]] int current_device_attribute() {
  static PerDevice<int> known;
  std::atomic<int>& value = known.here();
  if (value == 0) {
    int asked = 0;
    check_cuda(cudaDeviceGetAttribute(&asked, attribute, current_device()),
               "asking for a device's attribute");
    value = asked;
  }
  return value;
}

/// An in-order CUDA stream. `submit` runs the work at once on the calling thread, which launches kernels and
/// copies on handle(); they run later, in order. Events come from a pool that synchronize() makes free again.
class CudaStream final : public Stream {
 public:
  /// In the background, blocks of other streams' kernels go first.
  explicit CudaStream(int device, bool background = false);
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  /// Waits for what was queued; errors are dropped.
  ~CudaStream() override;

  /// What the work throws is kept for synchronize(); work behind a failure is skipped.
  void submit(Callback work) override;
  [[nodiscard]] Event record() override;
  /// `event` must be of a CudaStream of the same process.
  void wait(Event event) override;
  void synchronize() override;

  [[nodiscard]] cudaStream_t handle() const { return handle_; }
  [[nodiscard]] int device() const { return device_; }

 private:
  // The event of a ticket; nullptr when a synchronize() since has outlived it.
  [[nodiscard]] cudaEvent_t event_of(std::uint64_t ticket) const;

  int device_;
  cudaStream_t handle_ = nullptr;
  std::exception_ptr failure_;
  mutable std::mutex mutex_;  // events are recorded by one thread and may be waited for by another
  std::vector<cudaEvent_t> events_;
  std::uint64_t first_ticket_ = 1;  // ticket of events_[0]
  std::uint64_t next_ticket_ = 1;
};

/// The CudaStream behind a Stream. Throws UnsupportedError when it is one of the CPU's.
[[nodiscard]] CudaStream& cuda_stream(Stream& stream);

class CudaDevice final : public Device {
 public:
  /// Throws CudaError saying what was needed and what is there: no GPU, no such GPU, a driver older than this
  /// build's CUDA, a GPU older than compute capability 8.0.
  explicit CudaDevice(int index = 0);
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;
  ~CudaDevice() override;

  [[nodiscard]] std::string name() const override { return "cuda:" + std::to_string(index_); }
  [[nodiscard]] bool host_memory() const override { return false; }
  [[nodiscard]] Buffer allocate(std::size_t bytes) override;
  void check_room(std::size_t bytes) const override;
  [[nodiscard]] Buffer allocate_host(std::size_t bytes) override { return allocate_pinned(bytes); }
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override;
  [[nodiscard]] std::unique_ptr<Stream> make_background_stream() override;
  /// From a pool that keeps what it has got from the driver.
  [[nodiscard]] void* allocate_in_order(Stream& stream, std::size_t bytes) override;
  void release_in_order(Stream& stream, void* data) override;
  [[nodiscard]] std::unique_ptr<Timeline> make_timeline(std::size_t points) override;
  /// As a CUDA graph.
  [[nodiscard]] std::unique_ptr<Replay> capture(std::span<const std::unique_ptr<Stream>> streams,
                                                const std::function<void()>& work) override;
  /// Overlap with other work only from and to pinned host memory.
  void upload(Stream& stream, void* device, const void* host, std::size_t bytes) override;
  void download(Stream& stream, void* host, const void* device, std::size_t bytes) override;
  void poison(const Buffer& buffer, std::size_t begin) override;

  /// Page-locked host memory, which copies reach at full speed and without a staging copy.
  [[nodiscard]] Buffer allocate_pinned(std::size_t bytes);
  /// Device memory holding a copy of `bytes` bytes of host memory. Blocks.
  [[nodiscard]] Buffer copy_of(const void* host, std::size_t bytes);
  /// Makes this the calling thread's current device.
  void make_current() const;
  [[nodiscard]] int index() const { return index_; }
  /// With the memory free now.
  [[nodiscard]] CudaDeviceInfo info() const;

 private:
  [[noreturn]] void throw_full(std::size_t bytes) const;

  int index_;
  CudaDeviceInfo info_;
  cudaMemPool_t pool_ = nullptr;  // made when first asked for memory
};

}  // namespace halotile
