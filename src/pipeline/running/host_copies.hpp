// The host's side of a device with memory of its own: input and outputs in host memory that copies reach at
// full speed, and the copies.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "kernels/engines/engine.hpp"
#include "pipeline/running/executor.hpp"
#include "pipeline/running/run_times.hpp"

namespace halotile {

class HostCopies {
 public:
  /// Adds its lines to `times`. `downloads`: the numbers of maps that every run copies to the host.
  HostCopies(Engine& engine, const std::optional<PixelInput>& pixels, std::set<std::size_t> downloads,
             RunTimes& times);

  /// Bytes of device memory for pixels that are to be normalized; 0 when the input is floats.
  [[nodiscard]] std::size_t pixel_bytes(const MapGeometry& input) const;
  /// Allocates. `input` is the whole batch's map on the device; `pixels` device memory of pixel_bytes.
  void prepare(const MapView& input, std::byte* pixels);

  /// The whole batch's input on the host, after prepare().
  [[nodiscard]] const MapView& input() const { return input_; }
  /// Queues the copy of some images, and what makes values of their pixels where the input is pixels.
  void upload(Interval images, Stream& stream);
  void normalize(Interval images, Stream& stream);
  [[nodiscard]] bool normalizes() const { return pixels_.has_value(); }

  /// Maps to be copied by every run, `map` giving them on the device.
  [[nodiscard]] const std::set<std::size_t>& downloads() const { return downloads_; }
  void begin_run();
  void download(std::size_t number, const MapView& map, Stream& stream);
  /// The map of the run before on the host; copies it now, on `stream`, if the run did not.
  [[nodiscard]] MapView fetch(std::size_t number, const MapView& map, Stream& stream);
  [[nodiscard]] std::size_t upload_line() const { return upload_line_; }
  [[nodiscard]] std::size_t normalize_line() const { return normalize_line_; }
  [[nodiscard]] std::size_t download_line() const { return download_line_; }

 private:
  struct HostMap {
    Buffer memory;
    bool filled = false;  // by the run before
  };

  Engine& engine_;
  std::optional<PixelInput> pixels_;
  std::set<std::size_t> downloads_;
  double fetched_ = 0;  // bytes a run, of the downloads
  RunTimes& times_;
  std::size_t upload_line_;
  std::size_t normalize_line_ = 0;
  std::size_t download_line_;
  std::unique_ptr<Operation> normalize_;
  Buffer input_memory_;
  MapView input_;
  MapView device_input_;
  MapView device_pixels_;
  std::map<std::size_t, HostMap> maps_;
};

}  // namespace halotile
