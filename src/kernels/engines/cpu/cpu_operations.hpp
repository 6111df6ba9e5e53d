// Operations that the CPU engines share, on top of the kernels in pointwise.hpp.
#pragma once

#include "kernels/engines/engine.hpp"

namespace halotile {

/// Engine::obstacle() of all CPU engines.
[[nodiscard]] std::string cpu_obstacle(const Op& op);

/// Base of the CPU engines: everything but convolution and fully connected layers.
class CpuEngine : public Engine {
 public:
  /// `threads` share the rows of each pooling, normalization and copy.
  /// `on_stream_start` runs first on every stream's worker thread.
  explicit CpuEngine(int threads, std::function<void()> on_stream_start = {})
      : threads_(threads), device_(std::move(on_stream_start)) {}

  [[nodiscard]] Device& device() override { return device_; }

  [[nodiscard]] std::string obstacle(const Op& op) const override { return cpu_obstacle(op); }

 protected:
  [[nodiscard]] int threads() const { return threads_; }
  /// All but convolutions and fully connected layers.
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override;

 private:
  int threads_;
  CpuDevice device_;
};

}  // namespace halotile
