#include "kernels/devices/cuda/cuda_trace.hpp"

#include <cxxabi.h>

#include <cstdlib>

#include "patching/error.hpp"

#ifdef HALOTILE_HAS_CUPTI
#include <cupti.h>
#include <dlfcn.h>

#include <mutex>

#include "kernels/devices/trace_range.hpp"
#endif

namespace halotile {

std::string short_kernel_name(std::string_view mangled) {
  const std::string whole(mangled);
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(whole.c_str(), nullptr, nullptr, &status), &std::free);
  std::string name;
  int depth = 0;  // of template arguments and parentheses, which scopes have too: (anonymous namespace)
  for (const char c : demangled ? std::string_view(demangled.get()) : mangled) {
    if (c == '<' || c == '(') ++depth;
    if (depth == 0) name += c;
    if (c == '>' || c == ')') --depth;
  }
  // Template functions carry their return type in front.
  const auto begin = name.find_last_of(" :");
  return begin == std::string::npos ? name : name.substr(begin + 1);
}

#ifdef HALOTILE_HAS_CUPTI
namespace {

constexpr std::size_t buffer_bytes = std::size_t{8} << 20;
constexpr std::size_t buffer_alignment = 8;

// CUPTI's functions, looked up in its shared library. The library stays loaded: it may still have threads.
struct Cupti {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next_record = nullptr;
  decltype(&cuptiGetCallbackName) callback_name = nullptr;
  decltype(&cuptiGetResultString) result_string = nullptr;
  decltype(&cuptiGetTimestamp) timestamp = nullptr;
  decltype(&cuptiSetThreadIdType) set_thread_id_type = nullptr;
};

void* open_library() {
  // Records are laid out as in the CUPTI of this build's CUDA, so no other major version will do.
  const std::string file = "libcupti.so." + std::to_string(CUPTI_API_VERSION / 10000);
  std::vector<std::string> places{file};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* home = std::getenv(variable)) {
      places.push_back(std::string(home) + "/lib64/" + file);
      places.push_back(std::string(home) + "/extras/CUPTI/lib64/" + file);
    }
  }
  places.push_back("/usr/local/cuda/lib64/" + file);
  places.push_back("/usr/local/cuda/extras/CUPTI/lib64/" + file);
  for (const std::string& place : places) {
    if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  }
  throw UnsupportedError("measure.trace: " + file +
                         " was not found; put the folder of CUDA's CUPTI (it comes with the CUDA toolkit, in "
                         "extras/CUPTI/lib64) into LD_LIBRARY_PATH, or leave measure.trace out");
}

const Cupti& cupti() {
  static const Cupti functions = [] {
    void* const library = open_library();
    Cupti f;
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr) {
        throw UnsupportedError(std::string("measure.trace: CUPTI has no function ") + name +
                               "; install the CUPTI of this build's CUDA, or leave measure.trace out");
      }
    };
    find(f.register_callbacks, "cuptiActivityRegisterCallbacks");
    find(f.enable, "cuptiActivityEnable");
    find(f.disable, "cuptiActivityDisable");
    find(f.flush, "cuptiActivityFlushAll");
    find(f.next_record, "cuptiActivityGetNextRecord");
    find(f.callback_name, "cuptiGetCallbackName");
    find(f.result_string, "cuptiGetResultString");
    find(f.timestamp, "cuptiGetTimestamp");
    find(f.set_thread_id_type, "cuptiSetThreadIdType");
    return f;
  }();
  return functions;
}

void check_cupti(CUptiResult result, const char* doing) {
  if (result == CUPTI_SUCCESS) return;
  const char* reason = "unknown";
  cupti().result_string(result, &reason);
  throw UnsupportedError(std::string("measure.trace: CUPTI failed at ") + doing + ": " + reason +
                         "; end other profilers of this program, or leave measure.trace out");
}

constexpr CUpti_ActivityKind kinds[]{CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                     CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_SYNCHRONIZATION,
                                     CUPTI_ACTIVITY_KIND_RUNTIME};

// Slices as CUPTI delivers them, on CUPTI's clock. Its callbacks know no context, so there is one store.
std::mutex store_mutex;
std::vector<TraceSlice> store;

std::string dimensions(std::int32_t x, std::int32_t y, std::int32_t z) {
  return std::to_string(x) + "x" + std::to_string(y) + "x" + std::to_string(z);
}

std::string copy_name(std::uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
      return "copy host to device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
      return "copy device to host";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOD:
      return "copy on device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_PTOP:
      return "copy between devices";
    default:
      return "copy";
  }
}

std::string memory_name(std::uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE:
      return "pageable";
    case CUPTI_ACTIVITY_MEMORY_KIND_PINNED:
      return "pinned";
    case CUPTI_ACTIVITY_MEMORY_KIND_DEVICE:
    case CUPTI_ACTIVITY_MEMORY_KIND_DEVICE_STATIC:
      return "device";
    default:
      return "other";
  }
}

std::string synchronization_name(CUpti_ActivitySynchronizationType type) {
  switch (type) {
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_EVENT_SYNCHRONIZE:
      return "host waits for event";
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_WAIT_EVENT:
      return "stream waits for event";
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_SYNCHRONIZE:
      return "host waits for stream";
    case CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_CONTEXT_SYNCHRONIZE:
      return "host waits for device";
    default:
      return "synchronization";
  }
}

template <typename Record>
TraceSlice slice_of(const Record& record, TraceSlice::Track track, std::int64_t id, std::string name,
                    std::string category) {
  return {track,
          id,
          std::move(name),
          std::move(category),
          static_cast<std::int64_t>(record.start),
          static_cast<std::int64_t>(record.end),
          static_cast<std::int64_t>(record.correlationId),
          {}};
}

TraceSlice kernel_slice(const CUpti_ActivityKernel10& k) {
  TraceSlice slice = slice_of(k, TraceSlice::Track::stream, k.streamId, short_kernel_name(k.name), "kernel");
  slice.arguments = {{"grid", dimensions(k.gridX, k.gridY, k.gridZ)},
                     {"block", dimensions(k.blockX, k.blockY, k.blockZ)},
                     {"registers per thread", std::int64_t{k.registersPerThread}},
                     {"static shared bytes", std::int64_t{k.staticSharedMemory}},
                     {"dynamic shared bytes", std::int64_t{k.dynamicSharedMemory}},
                     {"local bytes per thread", std::int64_t{k.localMemoryPerThread}}};
  return slice;
}

TraceSlice copy_slice(const CUpti_ActivityMemcpy6& c) {
  TraceSlice slice = slice_of(c, TraceSlice::Track::stream, c.streamId, copy_name(c.copyKind), "copy");
  slice.arguments = {{"bytes", static_cast<std::int64_t>(c.bytes)},
                     {"from", memory_name(c.srcKind)},
                     {"to", memory_name(c.dstKind)}};
  return slice;
}

TraceSlice memset_slice(const CUpti_ActivityMemset4& m) {
  TraceSlice slice = slice_of(m, TraceSlice::Track::stream, m.streamId, "memset", "memset");
  slice.arguments = {{"bytes", static_cast<std::int64_t>(m.bytes)}, {"value", std::int64_t{m.value}}};
  return slice;
}

TraceSlice call_slice(const CUpti_ActivityAPI& a) {
  const char* name = nullptr;
  if (cupti().callback_name(CUPTI_CB_DOMAIN_RUNTIME_API, a.cbid, &name) != CUPTI_SUCCESS) name = "call";
  std::string shown(name);
  if (const auto version = shown.rfind("_v"); version != std::string::npos) shown.erase(version);
  return slice_of(a, TraceSlice::Track::call, a.threadId, std::move(shown), "call");
}

TraceSlice synchronization_slice(const CUpti_ActivitySynchronization2& s) {
  TraceSlice slice =
      slice_of(s, TraceSlice::Track::synchronization, 0, synchronization_name(s.type), "synchronization");
  if (s.streamId != CUPTI_SYNCHRONIZATION_INVALID_VALUE) {
    slice.arguments = {{"stream", std::int64_t{s.streamId}}};
  }
  return slice;
}

void keep(const CUpti_Activity& record) {
  const auto as = [&]<typename T>() -> const T& { return reinterpret_cast<const T&>(record); };
  TraceSlice slice;
  switch (record.kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
    case CUPTI_ACTIVITY_KIND_KERNEL:
      slice = kernel_slice(as.operator()<CUpti_ActivityKernel10>());
      break;
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      slice = copy_slice(as.operator()<CUpti_ActivityMemcpy6>());
      break;
    case CUPTI_ACTIVITY_KIND_MEMSET:
      slice = memset_slice(as.operator()<CUpti_ActivityMemset4>());
      break;
    case CUPTI_ACTIVITY_KIND_RUNTIME:
      slice = call_slice(as.operator()<CUpti_ActivityAPI>());
      break;
    case CUPTI_ACTIVITY_KIND_SYNCHRONIZATION:
      slice = synchronization_slice(as.operator()<CUpti_ActivitySynchronization2>());
      break;
    default:
      return;
  }
  const std::lock_guard lock(store_mutex);
  store.push_back(std::move(slice));
}

void CUPTIAPI request_buffer(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most_records) {
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(buffer_alignment, buffer_bytes));
  *bytes = *buffer != nullptr ? buffer_bytes : 0;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI complete_buffer(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t,
                              std::size_t valid_bytes) {
  CUpti_Activity* record = nullptr;
  while (cupti().next_record(buffer, valid_bytes, &record) == CUPTI_SUCCESS) keep(*record);
  std::free(buffer);
}

}  // namespace

class CudaTrace::Recorder {
 public:
  Recorder() {
    const Cupti& c = cupti();
    {
      const std::lock_guard lock(store_mutex);
      store.clear();
    }
    check_cupti(c.set_thread_id_type(CUPTI_ACTIVITY_THREAD_ID_TYPE_SYSTEM), "choosing thread numbers");
    check_cupti(c.register_callbacks(request_buffer, complete_buffer), "registering buffers");
    try {
      for (const CUpti_ActivityKind kind : kinds) check_cupti(c.enable(kind), "enabling records");
      std::uint64_t now = 0;
      const std::int64_t before = trace_clock();
      check_cupti(c.timestamp(&now), "reading its clock");
      offset_ns_ = before / 2 + trace_clock() / 2 - static_cast<std::int64_t>(now);
    } catch (...) {
      stop();
      throw;
    }
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() { stop(); }

  [[nodiscard]] std::vector<TraceSlice> finish() {
    stop();
    // Forced: buffers that hold records without an end, too.
    check_cupti(cupti().flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "flushing records");
    std::vector<TraceSlice> slices;
    {
      const std::lock_guard lock(store_mutex);
      slices.swap(store);
    }
    // Work that CUPTI could not time has no beginning.
    std::erase_if(slices, [](const TraceSlice& s) { return s.begin_ns == 0 || s.end_ns < s.begin_ns; });
    for (TraceSlice& slice : slices) {
      slice.begin_ns += offset_ns_;
      slice.end_ns += offset_ns_;
    }
    return slices;
  }

 private:
  static void stop() noexcept {
    for (const CUpti_ActivityKind kind : kinds) cupti().disable(kind);
  }

  std::int64_t offset_ns_ = 0;  // from CUPTI's clock to ours
};

#else

class CudaTrace::Recorder {
 public:
  Recorder() {
    throw UnsupportedError(
        "measure.trace: this build has no CUPTI; build where CMake finds cupti.h (it comes with the CUDA "
        "toolkit), or leave measure.trace out");
  }
  [[nodiscard]] std::vector<TraceSlice> finish() { return {}; }
};

#endif

CudaTrace::CudaTrace() : recorder_(std::make_unique<Recorder>()) {}
CudaTrace::~CudaTrace() = default;
std::vector<TraceSlice> CudaTrace::finish() { return recorder_->finish(); }

}  // namespace halotile
