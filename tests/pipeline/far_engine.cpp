#include "far_engine.hpp"

#include <chrono>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "kernels/pointwise.hpp"
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

class Normalize final : public Operation {
 public:
  Normalize(const std::array<float, 3>& mean, const std::array<float, 3>& stddev)
      : mean_(mean), stddev_(stddev) {}
  void run(const ConstMapView& in, const MapView& out, const RunContext&) override {
    const auto* from = static_cast<const std::uint8_t*>(in.data);
    auto* to = static_cast<float*>(out.data);
    for (std::int64_t i = 0; i < in.elements(); ++i) {
      const auto c = static_cast<std::size_t>(i % 3);
      to[i] = (static_cast<float>(from[i]) / 255.0F - mean_[c]) / stddev_[c];
    }
  }

 private:
  std::array<float, 3> mean_;
  std::array<float, 3> stddev_;
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

std::unique_ptr<Operation> FarEngine::normalize(const std::array<float, 3>& mean,
                                                const std::array<float, 3>& stddev) {
  return std::make_unique<Normalize>(mean, stddev);
}

std::unique_ptr<TileCopies> FarEngine::tile_copies(std::span<const TileCopy> copies) {
  return std::make_unique<Copies>(copies);
}

std::unique_ptr<TileLedger> FarEngine::tile_ledger(const TileSet& tiles) {
  return std::make_unique<Ledger>(tiles, lost_arrivals);
}

}  // namespace halotile::support
