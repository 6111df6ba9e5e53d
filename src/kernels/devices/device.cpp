#include "kernels/devices/device.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "patching/error.hpp"

namespace halotile {

namespace {

[[noreturn]] void throw_full(std::size_t bytes) {
  throw UnsupportedError("not enough memory: " + std::to_string(bytes >> 20) +
                         " MiB are needed for the maps; use a smaller batch or sub_batch, or patches with "
                         "patch.stages: fused");
}

[[noreturn]] void throw_unsupported(const Device& device, const char* what) {
  throw UnsupportedError(std::string(what) + ": device " + device.name() + " has none");
}

}  // namespace

void* Device::allocate_in_order(Stream&, std::size_t) { throw_unsupported(*this, "memory in stream order"); }
void Device::release_in_order(Stream&, void*) { throw_unsupported(*this, "memory in stream order"); }
std::unique_ptr<Timeline> Device::make_timeline(std::size_t) { throw_unsupported(*this, "timelines"); }
std::unique_ptr<Replay> Device::capture(std::span<const std::unique_ptr<Stream>>,
                                        const std::function<void()>&) {
  throw_unsupported(*this, "capturing");
}

Buffer CpuDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  // Large buffers lie on huge pages where the system has them: streaming through weights of hundreds of
  // megabytes then misses the address cache less often.
  constexpr std::size_t page = 4096;
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const std::size_t alignment = bytes < 2 * huge_page ? page : huge_page;
  void* data = nullptr;
  if (bytes < SIZE_MAX - alignment) {
    const std::size_t rounded = (bytes + page - 1) / page * page;
    if (posix_memalign(&data, alignment, rounded) != 0) data = nullptr;
    if (data != nullptr && alignment == huge_page) (void)madvise(data, rounded, MADV_HUGEPAGE);
  }
  if (data == nullptr) throw_full(bytes);
  return {data, bytes, [](void* p) { std::free(p); }};
}

// Asks the system for addresses alone, which it refuses by the same rules; no page is touched.
void CpuDevice::check_room(std::size_t bytes) const {
  if (bytes == 0) return;
  void* const room = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) throw_full(bytes);
  munmap(room, bytes);
}

std::unique_ptr<Stream> CpuDevice::make_stream() { return std::make_unique<CpuStream>(on_stream_start_); }

void CpuDevice::upload(Stream& stream, void* device, const void* host, std::size_t bytes) {
  stream.synchronize();
  std::memcpy(device, host, bytes);
}

void CpuDevice::download(Stream& stream, void* host, const void* device, std::size_t bytes) {
  stream.synchronize();
  std::memcpy(host, device, bytes);
}

void CpuDevice::poison(const Buffer& buffer, std::size_t begin) {
  if (begin < buffer.bytes()) std::memset(buffer.data() + begin, 0xff, buffer.bytes() - begin);
}

}  // namespace halotile
