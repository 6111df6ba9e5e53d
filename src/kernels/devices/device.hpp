// Devices: where maps lie and streams run. The executor sees memory and streams only through this.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "kernels/devices/stream.hpp"

namespace halotile {

class Device;

/// Memory of a device, owned; aligned to 256 bytes at least.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, std::size_t bytes, std::function<void(void*)> release)
      : data_(data, std::move(release)), bytes_(bytes) {}

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_.get()); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<void, std::function<void(void*)>> data_{nullptr, [](void*) {}};
  std::size_t bytes_ = 0;
};

/// Points in time on a device's streams, for measuring.
class Timeline {
 public:
  virtual ~Timeline() = default;
  /// Point `index` is when the stream has come through all that was queued before.
  virtual void mark(Stream& stream, std::size_t index) = 0;
  /// Between two points that were marked, the streams synchronized since.
  [[nodiscard]] virtual double seconds(std::size_t from, std::size_t to) const = 0;
};

/// Work of several streams, captured once to be queued as a whole.
class Replay {
 public:
  virtual ~Replay() = default;
  virtual void run(Stream& stream) = 0;
};

/// What only devices with memory of their own have (allocate_in_order to capture) throws UnsupportedError
/// elsewhere.
class Device {
 public:
  virtual ~Device() = default;
  /// "cpu", "cuda:0".
  [[nodiscard]] virtual std::string name() const = 0;
  /// True when the host may read and write its memory directly.
  [[nodiscard]] virtual bool host_memory() const = 0;
  /// Throws UnsupportedError, naming the bytes wanted and what to change, when there is not enough. 0 bytes
  /// are fine.
  [[nodiscard]] virtual Buffer allocate(std::size_t bytes) = 0;
  /// Throws what allocate() throws where the device could never give so many bytes at once; takes none. So
  /// work that comes before an allocation need not be done in vain.
  virtual void check_room(std::size_t bytes) const = 0;
  /// Memory of the host, from and to which copies run at full speed and beside other work.
  [[nodiscard]] virtual Buffer allocate_host(std::size_t bytes) { return allocate(bytes); }
  [[nodiscard]] virtual std::unique_ptr<Stream> make_stream() = 0;
  /// A stream whose work takes up what other streams' leaves of the device, where the device can tell.
  [[nodiscard]] virtual std::unique_ptr<Stream> make_background_stream() { return make_stream(); }
  /// Memory from a pool, for work queued on `stream` behind this call (and on others that wait for it), until
  /// it is given back in the same way.
  [[nodiscard]] virtual void* allocate_in_order(Stream& stream, std::size_t bytes);
  virtual void release_in_order(Stream& stream, void* data);
  [[nodiscard]] virtual std::unique_ptr<Timeline> make_timeline(std::size_t points);
  /// Calls `work`, which queues on `streams` and runs nothing, and keeps what it queued. The streams must be
  /// empty; what `work` throws is rethrown.
  [[nodiscard]] virtual std::unique_ptr<Replay> capture(std::span<const std::unique_ptr<Stream>> streams,
                                                        const std::function<void()>& work);
  /// Copies behind what the stream was given before; `host` must stay until the stream has been synchronized.
  virtual void upload(Stream& stream, void* device, const void* host, std::size_t bytes) = 0;
  virtual void download(Stream& stream, void* host, const void* device, std::size_t bytes) = 0;
  /// Fills everything from `begin` on with bytes 0xff, which read as NaN in every floating-point type.
  /// Blocks.
  virtual void poison(const Buffer& buffer, std::size_t begin) = 0;
};

/// The host's own memory; streams are worker threads.
class CpuDevice final : public Device {
 public:
  /// `on_stream_start` runs first on every stream's worker thread.
  explicit CpuDevice(std::function<void()> on_stream_start = {})
      : on_stream_start_(std::move(on_stream_start)) {}

  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] bool host_memory() const override { return true; }
  [[nodiscard]] Buffer allocate(std::size_t bytes) override;
  void check_room(std::size_t bytes) const override;
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override;
  void upload(Stream& stream, void* device, const void* host, std::size_t bytes) override;
  void download(Stream& stream, void* host, const void* device, std::size_t bytes) override;
  void poison(const Buffer& buffer, std::size_t begin) override;

 private:
  std::function<void()> on_stream_start_;
};

}  // namespace halotile
