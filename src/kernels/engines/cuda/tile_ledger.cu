// Keys of packed tiles, checked on the device.
//
//   arrived[p] = key of the tile at position p, or all ones; positions 0 .. n - 1
//   (sorted, from) = sort of (arrived, positions) by key
//   wrong = any i with sorted[i] != expected key i, or from[i] != position of that tile
//
// Expected keys ascend: image, row, column. Positions go tile by tile, a tile's images side by side, as tiles
// lie in packed memory; so the sort is the permutation by which cores are placed. arrive: one thread an
// image. The sort is cub::DeviceRadixSort::SortPairs; check: one thread a key. Only a thread that finds
// something wrong writes, to a word in pinned host memory; what is wrong the host then reads from the sorted
// keys.
#include <cub/device/device_radix_sort.cuh>
#include <vector>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/tile_ledger.hpp"

namespace halotile::cuda {
namespace {

constexpr int threads = 128;

using Key = unsigned long long;  // 64 bits

__global__ void arrive_keys(Key* arrived, Key first_key, Key per_image, int position, int images) {
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (i < images) arrived[position + i] = first_key + static_cast<Key>(i) * per_image;
}

struct Expected {
  const Key* sorted;
  const int* from;
  Key first_key;
  Key per_image;
  Key per_row;
  int images;
  int rows;
  int cols;
};

__global__ void check_keys(const Expected e, int* wrong) {
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (i >= e.images * e.rows * e.cols) return;
  const int tile = i % (e.rows * e.cols);
  const int image = i / (e.rows * e.cols);
  const Key key = e.first_key + static_cast<Key>(image) * e.per_image +
                  static_cast<Key>(tile / e.cols) * e.per_row + static_cast<Key>(tile % e.cols);
  if (e.sorted[i] != key || e.from[i] != tile * e.images + image) *wrong = 1;
}

__global__ void number(int* values, int count) {
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (i < count) values[i] = i;
}

class Ledger final : public TileLedger {
 public:
  Ledger(CudaDevice& device, const TileSet& tiles)
      : device_(device), tiles_(tiles), count_(device_int(tiles.size(), "the number of packed tiles")) {
    // Throws when the largest key does not fit.
    (void)key(tiles.images - 1, tiles.grid.height - 1, tiles.grid.width - 1);
    const auto n = static_cast<std::size_t>(count_);
    keys_ = device.allocate(2 * n * sizeof(Key));
    positions_ = device.allocate(2 * n * sizeof(int));
    wrong_ = device.allocate_pinned(sizeof(int));
    wrong() = 0;
    std::size_t bytes = 0;
    check_cuda(sort(nullptr, bytes, nullptr), "preparing a sort of keys");
    scratch_ = device.allocate(std::max<std::size_t>(bytes, 1));
    CudaStream stream(device.index());
    number<<<blocks(count_), threads, 0, stream.handle()>>>(positions(0), count_);
    check_launch("numbering tiles");
    clear(stream);
  }  // the stream's destructor has waited

  void clear(Stream& stream) override {
    check_cuda(cudaMemsetAsync(keys_.data(), 0xff, static_cast<std::size_t>(count_) * sizeof(Key),
                               cuda_stream(stream).handle()),
               "forgetting the keys of tiles");
  }

  void arrive(Stream& stream, std::int64_t row, std::int64_t column) override {
    const int images = static_cast<int>(tiles_.images);
    const int position = static_cast<int>(row * tiles_.grid.width + column) * images;
    arrive_keys<<<blocks(images), threads, 0, cuda_stream(stream).handle()>>>(keys(0), key(0, row, column),
                                                                              per_image(), position, images);
    check_launch("taking in the keys of a tile");
  }

  void check(Stream& stream) override {
    const cudaStream_t handle = cuda_stream(stream).handle();
    std::size_t bytes = scratch_.bytes();
    check_cuda(sort(scratch_.data(), bytes, handle), "sorting the keys of tiles");
    const Expected expected{keys(1),
                            positions(1),
                            key(0, 0, 0),
                            per_image(),
                            key(0, 1, 0) - key(0, 0, 0),
                            static_cast<int>(tiles_.images),
                            static_cast<int>(tiles_.grid.height),
                            static_cast<int>(tiles_.grid.width)};
    check_keys<<<blocks(count_), threads, 0, handle>>>(expected, reinterpret_cast<int*>(wrong_.data()));
    check_launch("checking the keys of tiles");
  }

  void finish() override {
    if (wrong() == 0) return;
    wrong() = 0;
    device_.make_current();
    std::vector<Key> sorted(static_cast<std::size_t>(count_));
    check_cuda(cudaMemcpy(sorted.data(), keys(1), sorted.size() * sizeof(Key), cudaMemcpyDeviceToHost),
               "reading the keys of tiles");
    explain(sorted);
  }

 private:
  [[noreturn]] void explain(const std::vector<Key>& sorted) const {
    const std::int64_t area = tiles_.grid.area();
    std::size_t at = 0;
    for (std::int64_t i = 0; i < tiles_.size(); ++i) {
      const Key expected = key(i / area, i % area / tiles_.grid.width, i % tiles_.grid.width);
      if (at < sorted.size() && sorted[at] == expected) {
        ++at;
        if (at < sorted.size() && sorted[at] == expected) throw_error("doubled", expected);
        continue;
      }
      if (at < sorted.size() && sorted[at] < expected) throw_error("foreign", sorted[at]);
      throw_error("missing", expected);
    }
    throw TileError("a tile of stage " + std::to_string(tiles_.stage) + " is not in its place");
  }

  [[noreturn]] static void throw_error(const char* what, Key key) {
    throw TileError(std::string(what) + " tile (" + to_string(TileKey::unpack(key)) +
                    "): found when the packed tiles were sorted by key");
  }

  [[nodiscard]] Key key(std::int64_t image, std::int64_t row, std::int64_t column) const {
    return TileKey{tiles_.first_image + image, tiles_.stage, row, column}.pack();
  }
  [[nodiscard]] static Key per_image() { return TileKey{1, 0, 0, 0}.pack(); }

  cudaError_t sort(void* scratch, std::size_t& bytes, cudaStream_t stream) {
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, keys(0), keys(1), positions(0), positions(1),
                                           count_, 0, 64, stream);
  }
  [[nodiscard]] Key* keys(int half) const { return reinterpret_cast<Key*>(keys_.data()) + half * count_; }
  [[nodiscard]] int* positions(int half) const {
    return reinterpret_cast<int*>(positions_.data()) + half * count_;
  }
  [[nodiscard]] volatile int& wrong() const { return *reinterpret_cast<volatile int*>(wrong_.data()); }
  static unsigned blocks(int count) { return static_cast<unsigned>(divide_up(std::max(count, 1), threads)); }

  CudaDevice& device_;
  TileSet tiles_;
  int count_;
  Buffer keys_;       // arrived, then sorted
  Buffer positions_;  // 0, 1, 2 and so on, then where the sorted keys come from
  Buffer scratch_;
  Buffer wrong_;
};

}  // namespace

std::unique_ptr<TileLedger> make_tile_ledger(CudaDevice& device, const TileSet& tiles) {
  return std::make_unique<Ledger>(device, tiles);
}

}  // namespace halotile::cuda
