// Devices: where maps lie and streams run. The executor sees memory and streams only through this.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "kernels/stream.hpp"

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
  [[nodiscard]] virtual std::unique_ptr<Stream> make_stream() = 0;
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
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override;
  void upload(Stream& stream, void* device, const void* host, std::size_t bytes) override;
  void download(Stream& stream, void* host, const void* device, std::size_t bytes) override;
  void poison(const Buffer& buffer, std::size_t begin) override;

 private:
  std::function<void()> on_stream_start_;
};

}  // namespace halotile
