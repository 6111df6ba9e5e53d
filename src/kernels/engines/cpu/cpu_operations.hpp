// Operations that the CPU engines share, on top of the kernels in pointwise.hpp.
#pragma once

#include "kernels/engines/engine.hpp"

namespace halotile {

/// Base of the CPU engines: everything but convolution and fully connected layers.
class CpuEngine : public Engine {
 public:
  /// `threads` share the rows of each pooling, normalization and copy.
  /// `on_stream_start` runs first on every stream's worker thread.
  explicit CpuEngine(int threads, std::function<void()> on_stream_start = {})
      : threads_(threads), device_(std::move(on_stream_start)) {}

  [[nodiscard]] Device& device() override { return device_; }

  [[nodiscard]] std::unique_ptr<Operation> pool2d(const Pool2d& layer, const MapGeometry& in,
                                                  const MapGeometry& out) override;
  [[nodiscard]] std::unique_ptr<Operation> lrn(const Lrn& layer, const MapGeometry& in,
                                               const MapGeometry& out) override;
  [[nodiscard]] std::unique_ptr<Operation> relu(const MapGeometry& in, const MapGeometry& out) override;
  [[nodiscard]] std::unique_ptr<Operation> softmax(const MapGeometry& in, const MapGeometry& out) override;
  [[nodiscard]] std::unique_ptr<Operation> copy(const MapGeometry& in, const MapGeometry& out) override;

 protected:
  [[nodiscard]] int threads() const { return threads_; }

 private:
  int threads_;
  CpuDevice device_;
};

}  // namespace halotile
