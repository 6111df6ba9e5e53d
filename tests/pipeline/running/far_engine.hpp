// A device whose memory the host is not to touch, and an engine on it, made of host memory and the reference
// engine: what the executor does for GPUs can be tested without one.
#pragma once

#include <atomic>
#include <memory>

#include "kernels/engines/engine.hpp"

namespace halotile::support {

/// Copies work as on a GPU: inside the work of streams.
class FarDevice final : public Device {
 public:
  [[nodiscard]] std::string name() const override { return "far"; }
  [[nodiscard]] bool host_memory() const override { return false; }
  [[nodiscard]] Buffer allocate(std::size_t bytes) override;
  void check_room(std::size_t bytes) const override { near_.check_room(bytes); }
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override { return near_.make_stream(); }
  [[nodiscard]] void* allocate_in_order(Stream& stream, std::size_t bytes) override;
  void release_in_order(Stream& stream, void* data) override;
  [[nodiscard]] std::unique_ptr<Timeline> make_timeline(std::size_t points) override;
  void upload(Stream& stream, void* device, const void* host, std::size_t bytes) override;
  void download(Stream& stream, void* host, const void* device, std::size_t bytes) override;
  void poison(const Buffer& buffer, std::size_t begin) override { near_.poison(buffer, begin); }

  std::atomic<int> allocations = 0;  ///< made so far, also in order
  std::atomic<int> until_full = -1;  ///< allocations in order until there is no more memory; -1: always some
  std::atomic<int> in_order = 0;     ///< allocated in order and not given back yet
  std::atomic<std::size_t> uploaded = 0;
  std::atomic<std::size_t> downloaded = 0;

 private:
  CpuDevice near_;
};

class FarEngine final : public Engine {
 public:
  FarEngine();

  [[nodiscard]] std::string_view name() const override { return "far"; }
  [[nodiscard]] DType map_type() const override { return DType::f32; }
  [[nodiscard]] FarDevice& device() override { return device_; }
  /// As a GPU's engine without fused operations.
  [[nodiscard]] std::string obstacle(const Op& op) const override {
    return is_one_of<Normalize>(op) ? "" : inner_->obstacle(op);
  }
  [[nodiscard]] std::unique_ptr<TileCopies> tile_copies(std::span<const TileCopy> copies) override;
  [[nodiscard]] std::unique_ptr<TileLedger> tile_ledger(const TileSet& tiles) override;
  /// Of convolutions: the copies, and all else, in two.
  [[nodiscard]] std::unique_ptr<TileStep> tile_step(std::span<const TileCall> calls) override;

  std::atomic<int> begun = 0;          ///< steps of tiles that began apart from their rest
  std::atomic<int> lost_arrivals = 0;  ///< so many keys of tiles never arrive

 private:
  /// Convolutions copy their input into scratch memory first.
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override;

  FarDevice device_;
  std::unique_ptr<Engine> inner_;
};

}  // namespace halotile::support
