#include "kernels/devices/cuda/cuda_device.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

namespace halotile {
namespace {

// Oldest GPUs whose instructions (cp.async) the kernels use.
constexpr int least_capability_major = 8;

std::string mebibytes(std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

std::string cuda_remedy(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
      return "this machine shows no CUDA GPU to the program; set device: cpu, or check nvidia-smi and "
             "CUDA_VISIBLE_DEVICES";
    case cudaErrorInsufficientDriver: {
      int driver = 0;
      int runtime = 0;
      cudaDriverGetVersion(&driver);
      cudaRuntimeGetVersion(&runtime);
      return "this build needs a driver for CUDA " + cuda_version(runtime) + ", " +
             (driver == 0 ? std::string("there is no driver")
                          : "the driver knows CUDA " + cuda_version(driver)) +
             "; install a newer driver, or set device: cpu";
    }
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorInvalidKernelImage:
      return "this build holds no code that the GPU or its driver can run (it needs compute capability 8.0 "
             "or newer); build with CMAKE_CUDA_ARCHITECTURES for this GPU, or set device: cpu";
    case cudaErrorMemoryAllocation:
      return "the device has not enough free memory; use a smaller batch or sub_batch, fewer streams, or "
             "patches with patch.stages: fused";
    case cudaErrorInitializationError:
    case cudaErrorSystemNotReady:
      return "the driver does not start; check nvidia-smi, or set device: cpu";
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorMisalignedAddress:
      return "a kernel failed, which is a defect of halotile: please report it with the config; "
             "compute-sanitizer names the kernel";
    default:
      return "check the GPU with nvidia-smi, or set device: cpu";
  }
}

bool can_launch_early() { return current_device_attribute<cudaDevAttrComputeCapabilityMajor>() >= 9; }

int current_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  return device;
}

void throw_cuda_error(cudaError_t status, std::string_view doing, std::source_location where) {
  cudaGetLastError();  // the next check is to see its own errors only
  std::string file = where.file_name();
  if (const auto source = file.rfind("src/"); source != std::string::npos) file.erase(0, source);
  throw CudaError(status, "CUDA failed at " + std::string(doing) + ": " + cudaGetErrorString(status) + " (" +
                              cudaGetErrorName(status) + ", " + file + ":" + std::to_string(where.line()) +
                              "); " + cuda_remedy(status));
}

std::string cuda_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // the caller only asks
    return 0;
  }
  return count;
}

CudaStream::CudaStream(int device, bool background) : device_(device) {
  check_cuda(cudaSetDevice(device_), "choosing the device");
  int least = 0;
  int greatest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for streams' priorities");
  check_cuda(cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking, background ? least : greatest),
             "making a stream");
}

CudaStream::~CudaStream() {
  cudaSetDevice(device_);
  cudaStreamSynchronize(handle_);
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
  cudaStreamDestroy(handle_);
}

void CudaStream::submit(Callback work) {
  if (failure_) return;
  try {
    check_cuda(cudaSetDevice(device_), "choosing the device");
    work.run(work.context, work.index);
  } catch (...) {
    failure_ = std::current_exception();
  }
}

Event CudaStream::record() {
  check_cuda(cudaSetDevice(device_), "choosing the device");
  const std::lock_guard lock(mutex_);
  const std::size_t slot = next_ticket_ - first_ticket_;
  if (slot == events_.size()) {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
    events_.push_back(event);
  }
  check_cuda(cudaEventRecord(events_[slot], handle_), "recording an event");
  return {this, next_ticket_++};
}

cudaEvent_t CudaStream::event_of(std::uint64_t ticket) const {
  const std::lock_guard lock(mutex_);
  return ticket < first_ticket_ ? nullptr : events_[ticket - first_ticket_];
}

void CudaStream::wait(Event event) {
  if (event.stream == nullptr || event.stream == this) return;  // in-order: what is before is before
  const cudaEvent_t recorded = static_cast<const CudaStream*>(event.stream)->event_of(event.ticket);
  if (recorded == nullptr) return;  // its stream has been synchronized since: done
  check_cuda(cudaSetDevice(device_), "choosing the device");
  check_cuda(cudaStreamWaitEvent(handle_, recorded, 0), "waiting for an event");
}

void CudaStream::synchronize() {
  check_cuda(cudaSetDevice(device_), "choosing the device");
  const cudaError_t status = cudaStreamSynchronize(handle_);
  {
    const std::lock_guard lock(mutex_);
    first_ticket_ = next_ticket_;  // all recorded events are behind us: their objects may be used again
  }
  if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) std::rethrow_exception(failure);
  check_cuda(status, "the work of a stream");
}

CudaStream& cuda_stream(Stream& stream) {
  auto* cuda = dynamic_cast<CudaStream*>(&stream);
  if (cuda == nullptr) throw UnsupportedError("a CUDA engine was given a stream of another device");
  return *cuda;
}

CudaDevice::CudaDevice(int index) : index_(index) {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count), "looking for GPUs");
  if (index < 0 || index >= count) {
    throw CudaError(cudaErrorInvalidDevice, "there is no GPU cuda:" + std::to_string(index) +
                                                ": this machine shows " + std::to_string(count) +
                                                " GPU(s), numbered from 0; change device");
  }
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index), "reading the device's properties");
  info_.index = index;
  info_.name = properties.name;
  info_.multiprocessors = properties.multiProcessorCount;
  info_.capability_major = properties.major;
  info_.capability_minor = properties.minor;
  info_.memory = properties.totalGlobalMem;
  info_.l2_cache = static_cast<std::size_t>(properties.l2CacheSize);
  info_.shared_per_block = properties.sharedMemPerBlockOptin;
  info_.constant_memory = properties.totalConstMem;
  check_cuda(cudaDriverGetVersion(&info_.driver_version), "asking for the driver's version");
  check_cuda(cudaRuntimeGetVersion(&info_.runtime_version), "asking for the runtime's version");
  if (info_.capability_major < least_capability_major) {
    throw CudaError(cudaErrorNoKernelImageForDevice,
                    name() + " (" + info_.name + ") has compute capability " +
                        std::to_string(info_.capability_major) + "." +
                        std::to_string(info_.capability_minor) +
                        ", but the CUDA engines need 8.0 or newer; choose another device, or device: cpu");
  }
  make_current();
}

void CudaDevice::make_current() const { check_cuda(cudaSetDevice(index_), "choosing the device"); }

CudaDeviceInfo CudaDevice::info() const {
  make_current();
  CudaDeviceInfo info = info_;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&info.free_memory, &total), "asking for free memory");
  return info;
}

void CudaDevice::throw_full(std::size_t bytes) const {
  cudaGetLastError();  // not sticky: the device stays usable
  const CudaDeviceInfo now = info();
  throw CudaError(cudaErrorMemoryAllocation,
                  "not enough memory on " + name() + ": " + mebibytes(bytes) + " are needed, " +
                      mebibytes(now.free_memory) + " of " + mebibytes(now.memory) +
                      " are free; use a smaller batch or sub_batch, fewer streams, or patches with "
                      "patch.stages: fused");
}

CudaDevice::~CudaDevice() {
  if (pool_ == nullptr) return;
  cudaSetDevice(index_);
  cudaMemPoolDestroy(pool_);
}

Buffer CudaDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  make_current();
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) throw_full(bytes);
  check_cuda(status, "allocating " + mebibytes(bytes) + " of device memory");
  return {data, bytes, [index = index_](void* p) {
            cudaSetDevice(index);
            cudaFree(p);
          }};
}

void CudaDevice::check_room(std::size_t bytes) const {
  if (bytes > info_.memory) throw_full(bytes);
}

Buffer CudaDevice::allocate_pinned(std::size_t bytes) {
  if (bytes == 0) return {};
  make_current();
  void* data = nullptr;
  const cudaError_t status = cudaMallocHost(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw CudaError(status, "not enough host memory to page-lock: " + mebibytes(bytes) +
                                " are needed for copies; use a smaller batch, or raise the limit on locked "
                                "memory (ulimit -l)");
  }
  check_cuda(status, "allocating " + mebibytes(bytes) + " of page-locked host memory");
  return {data, bytes, [](void* p) { cudaFreeHost(p); }};
}

Buffer CudaDevice::copy_of(const void* host, std::size_t bytes) {
  Buffer buffer = allocate(bytes);
  if (bytes > 0) {
    check_cuda(cudaMemcpy(buffer.data(), host, bytes, cudaMemcpyHostToDevice), "copying to the device");
    // From pageable memory the call may return when the data are staged; streams do not wait for it.
    check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "copying to the device");
  }
  return buffer;
}

std::unique_ptr<Stream> CudaDevice::make_stream() { return std::make_unique<CudaStream>(index_); }

std::unique_ptr<Stream> CudaDevice::make_background_stream() {
  return std::make_unique<CudaStream>(index_, true);
}

void CudaDevice::upload(Stream& stream, void* device, const void* host, std::size_t bytes) {
  make_current();
  check_cuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, cuda_stream(stream).handle()),
             "copying to the device");
}

void CudaDevice::download(Stream& stream, void* host, const void* device, std::size_t bytes) {
  make_current();
  check_cuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, cuda_stream(stream).handle()),
             "copying from the device");
}

void CudaDevice::poison(const Buffer& buffer, std::size_t begin) {
  if (begin >= buffer.bytes()) return;
  make_current();
  check_cuda(cudaMemset(buffer.data() + begin, 0xff, buffer.bytes() - begin), "poisoning memory");
  check_cuda(cudaDeviceSynchronize(), "poisoning memory");
}

void* CudaDevice::allocate_in_order(Stream& stream, std::size_t bytes) {
  make_current();
  if (pool_ == nullptr) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = index_;
    check_cuda(cudaMemPoolCreate(&pool_, &properties), "making a memory pool");
    std::uint64_t keep_all = UINT64_MAX;
    check_cuda(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep_all),
               "making a memory pool");
  }
  void* data = nullptr;
  const cudaError_t status =
      cudaMallocFromPoolAsync(&data, std::max<std::size_t>(bytes, 1), pool_, cuda_stream(stream).handle());
  if (status == cudaErrorMemoryAllocation) throw_full(bytes);
  check_cuda(status, "allocating " + mebibytes(bytes) + " from the pool");
  return data;
}

void CudaDevice::release_in_order(Stream& stream, void* data) {
  make_current();
  check_cuda(cudaFreeAsync(data, cuda_stream(stream).handle()), "giving memory back to the pool");
}

namespace {

// Destroys a handle of CUDA's.
template <auto destroy>
struct Destroy {
  template <typename Object>
  void operator()(Object* object) const {
    destroy(object);
  }
};
template <typename Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

class CudaTimeline final : public Timeline {
 public:
  explicit CudaTimeline(std::size_t points) {
    events_.reserve(points);
    for (std::size_t i = 0; i < points; ++i) {
      cudaEvent_t event = nullptr;
      check_cuda(cudaEventCreate(&event), "making an event");
      events_.emplace_back(event);
    }
  }
  void mark(Stream& stream, std::size_t index) override {
    check_cuda(cudaEventRecord(events_.at(index).get(), cuda_stream(stream).handle()), "recording an event");
  }
  [[nodiscard]] double seconds(std::size_t from, std::size_t to) const override {
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, events_.at(from).get(), events_.at(to).get()),
               "reading a time");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  std::vector<Owned<cudaEvent_t, cudaEventDestroy>> events_;
};

using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;

class CudaReplay final : public Replay {
 public:
  explicit CudaReplay(Graph graph) : graph_(std::move(graph)) {
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaGraphInstantiate(&executable, graph_.get(), cudaGraphInstantiateFlagUseNodePriority),
               "making a graph");
    executable_.reset(executable);
  }
  void run(Stream& stream) override {
    check_cuda(cudaGraphLaunch(executable_.get(), cuda_stream(stream).handle()), "launching a graph");
  }

 private:
  Graph graph_;
  Owned<cudaGraphExec_t, cudaGraphExecDestroy> executable_;
};

}  // namespace

std::unique_ptr<Timeline> CudaDevice::make_timeline(std::size_t points) {
  make_current();
  return std::make_unique<CudaTimeline>(points);
}

std::unique_ptr<Replay> CudaDevice::capture(std::span<const std::unique_ptr<Stream>> streams,
                                            const std::function<void()>& work) {
  make_current();
  Stream& origin = *streams.front();
  const cudaStream_t handle = cuda_stream(origin).handle();
  check_cuda(cudaStreamBeginCapture(handle, cudaStreamCaptureModeThreadLocal), "capturing a graph");
  std::exception_ptr failure;
  try {
    const Event begin = origin.record();
    for (const auto& stream : streams) stream->wait(begin);
    work();
    for (const auto& stream : streams) origin.wait(stream->record());
  } catch (...) {
    failure = std::current_exception();
  }
  cudaGraph_t captured = nullptr;
  const cudaError_t status = cudaStreamEndCapture(handle, &captured);
  Graph graph(captured);
  for (const auto& stream : streams) {
    try {
      stream->synchronize();  // rethrows what the work threw
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) {
    cudaGetLastError();
    std::rethrow_exception(failure);
  }
  check_cuda(status, "capturing a graph");
  return std::make_unique<CudaReplay>(std::move(graph));
}

}  // namespace halotile
