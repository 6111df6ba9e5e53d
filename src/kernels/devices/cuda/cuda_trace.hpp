// What a CUDA device did, and the calls that made it do so, recorded through CUPTI's activity records. CUPTI
// is looked for when a trace starts and not before, so that programs run without it. No CUDA headers needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace halotile {

/// A stretch of time on a track. Times are those of trace_clock().
struct TraceSlice {
  enum class Track : std::uint8_t {
    range,            ///< named ranges of a host thread
    call,             ///< calls of the CUDA runtime by a host thread
    synchronization,  ///< waits, on the host's clock
    stream,           ///< work of a stream
    step,             ///< inside it, on the host's own streams: layers, packing, placing
    reassembly,       ///< tiles accepted in a stage's map, by stage
  };
  using Argument = std::pair<std::string, std::variant<std::int64_t, std::string>>;

  Track track = Track::stream;
  std::int64_t id = 0;  ///< the thread's number, or the stream's
  std::string name;
  std::string category;  ///< "kernel", "copy", "memset", "call", "synchronization", "range", "tile", "step",
                         ///< "reassembly"
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t correlation = 0;  ///< shared by a call and the work that it started; 0: none
  std::vector<Argument> arguments;
  std::vector<std::int64_t> flows = {};  ///< of tiles, from their first work to their reassembly
};

/// Records from construction to finish(). One at a time.
class CudaTrace {
 public:
  /// Throws UnsupportedError where this build or this machine has no CUPTI, or CUPTI refuses.
  CudaTrace();
  CudaTrace(const CudaTrace&) = delete;
  CudaTrace& operator=(const CudaTrace&) = delete;
  ~CudaTrace();
  /// Ends the recording. Call it when the device is idle: work still running may be missing.
  [[nodiscard]] std::vector<TraceSlice> finish();

 private:
  class Recorder;
  std::unique_ptr<Recorder> recorder_;
};

/// The function's own name of a mangled kernel: without scopes, template arguments and parameters.
[[nodiscard]] std::string short_kernel_name(std::string_view mangled);

}  // namespace halotile
