#include "pipeline/running/far_engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "kernels/engines/cpu/pointwise.hpp"
#include "patching/error.hpp"

namespace halotile::support {
namespace {

class ClockTimeline final : public Timeline {
 public:
  explicit ClockTimeline(std::size_t points) : points_(points) {}
  void mark(Stream&, std::size_t index) override { points_.at(index) = std::chrono::steady_clock::now(); }
  [[nodiscard]] double seconds(std::size_t from, std::size_t to) const override {
    return std::chrono::duration<double>(points_.at(to) - points_.at(from)).count();
  }

 private:
  std::vector<std::chrono::steady_clock::time_point> points_;
};

class PixelOperation final : public Operation {
 public:
  explicit PixelOperation(const Normalize& pixels) : pixels_(pixels) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext&) override {
    const auto* from = static_cast<const std::uint8_t*>(in.front().data);
    auto* to = static_cast<float*>(out.data);
    for (std::int64_t i = 0; i < in.front().elements(); ++i) {
      const auto c = static_cast<std::size_t>(i % 3);
      to[i] = (static_cast<float>(from[i]) / 255.0F - pixels_.mean[c]) / pixels_.stddev[c];
    }
  }

 private:
  Normalize pixels_;
};

class ConvolutionOfCopy final : public Operation {
 public:
  ConvolutionOfCopy(Engine& engine, const Conv2d& layer, const MapGeometry& in, const MapGeometry& out)
      : bytes_(in.images * in.channels * in.rect.extent().area() * size_of(in.dtype)),
        inner_(engine.prepare(layer, in, out)) {}

  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override {
    begin(in.front(), context);
    finish(in.front(), out, context);
  }
  static void begin(const ConstMapView& in, const RunContext& context) {
    if (!in.rect.empty()) copy_map(in, copy_of(in, context));
  }
  void finish(const MapGeometry& in, const MapView& out, const RunContext& context) {
    inner_->run(copy_of(in, context), out, {context.stream, {}});
  }
  [[nodiscard]] std::size_t scratch_bytes() const override { return static_cast<std::size_t>(bytes_); }

 private:
  static MapView copy_of(const MapGeometry& in, const RunContext& context) {
    return {dense_geometry(in.dtype, in.images, in.channels, in.rect, in.whole), context.scratch.data()};
  }

  std::int64_t bytes_;
  std::unique_ptr<Operation> inner_;
};

class Convolutions final : public TileStep {
 public:
  Convolutions(std::span<const TileCall> calls, std::atomic<int>& begun)
      : calls_(calls.begin(), calls.end()), begun_(begun) {}
  void run(Stream& stream) override {
    for (const TileCall& call : calls_) ConvolutionOfCopy::begin(call.in.front(), call.context);
    finish(stream);
  }
  void begin(Stream&) override {
    ++begun_;
    for (const TileCall& call : calls_) ConvolutionOfCopy::begin(call.in.front(), call.context);
  }
  void finish(Stream&) override {
    for (const TileCall& call : calls_) convolution(call).finish(call.in.front(), call.out, call.context);
  }

 private:
  static ConvolutionOfCopy& convolution(const TileCall& call) {
    return static_cast<ConvolutionOfCopy&>(*call.operation);
  }

  std::vector<TileCall> calls_;
  std::atomic<int>& begun_;
};

class Copies final : public TileCopies {
 public:
  explicit Copies(std::span<const TileCopy> copies) : copies_(copies.begin(), copies.end()) {}
  void run(Stream&) override {
    for (const TileCopy& copy : copies_) {
      if (!copy.to.rect.empty()) copy_map(subview(copy.from, {0, copy.from.images}, copy.to.rect), copy.to);
    }
  }

 private:
  std::vector<TileCopy> copies_;
};

class Ledger final : public TileLedger {
 public:
  Ledger(const TileSet& tiles, std::atomic<int>& lost) : tiles_(tiles), lost_(lost) {}
  void clear(Stream&) override {
    const std::lock_guard lock(mutex_);
    here_.clear();
  }
  void arrive(Stream&, std::int64_t row, std::int64_t column) override {
    const std::lock_guard lock(mutex_);
    if (lost_.load() > 0 && lost_.fetch_sub(1) > 0) return;
    if (!here_.insert({row, column}).second) throw TileError("doubled tile");
  }
  void check(Stream&) override {
    const std::lock_guard lock(mutex_);
    complete_ = static_cast<std::int64_t>(here_.size()) == tiles_.grid.area();
  }
  void finish() override {
    if (!complete_) throw TileError("missing tile");
  }

 private:
  TileSet tiles_;
  std::atomic<int>& lost_;
  std::mutex mutex_;
  std::set<std::pair<std::int64_t, std::int64_t>> here_;
  bool complete_ = false;
};

}  // namespace

Buffer FarDevice::allocate(std::size_t bytes) {
  ++allocations;
  return near_.allocate(bytes);
}

void* FarDevice::allocate_in_order(Stream&, std::size_t bytes) {
  if (until_full >= 0 && until_full-- == 0) throw UnsupportedError("not enough memory");
  ++allocations;
  ++in_order;
  void* const data = ::operator new (bytes, std::align_val_t{256});
  std::memset(data, 0xff, bytes);
  return data;
}

void FarDevice::release_in_order(Stream&, void* data) {
  --in_order;
  ::operator delete (data, std::align_val_t{256});
}

std::unique_ptr<Timeline> FarDevice::make_timeline(std::size_t points) {
  return std::make_unique<ClockTimeline>(points);
}

void FarDevice::upload(Stream&, void* device, const void* host, std::size_t bytes) {
  uploaded += bytes;
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void FarDevice::download(Stream&, void* host, const void* device, std::size_t bytes) {
  downloaded += bytes;
  if (bytes > 0) std::memcpy(host, device, bytes);
}

FarEngine::FarEngine() : inner_(make_reference_engine()) {}

std::unique_ptr<Operation> FarEngine::make(const Op& op, std::span<const MapGeometry> in,
                                           const MapGeometry& out) {
  if (const auto* const layer = std::get_if<Conv2d>(&op))
    return std::make_unique<ConvolutionOfCopy>(*inner_, *layer, in.front(), out);
  if (const auto* const pixels = std::get_if<Normalize>(&op))
    return std::make_unique<PixelOperation>(*pixels);
  return inner_->prepare(op, in, out);
}

std::unique_ptr<TileStep> FarEngine::tile_step(std::span<const TileCall> calls) {
  const auto is_convolution = [](const TileCall& call) {
    return dynamic_cast<const ConvolutionOfCopy*>(call.operation) != nullptr;
  };
  if (!std::ranges::all_of(calls, is_convolution)) return Engine::tile_step(calls);
  return std::make_unique<Convolutions>(calls, begun);
}

std::unique_ptr<TileCopies> FarEngine::tile_copies(std::span<const TileCopy> copies) {
  return std::make_unique<Copies>(copies);
}

std::unique_ptr<TileLedger> FarEngine::tile_ledger(const TileSet& tiles) {
  return std::make_unique<Ledger>(tiles, lost_arrivals);
}

}  // namespace halotile::support
