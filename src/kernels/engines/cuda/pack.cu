// Batched copies of rectangles.
//
//   to(i, r, q, c) = from(i, r, q, c) for all (r, q) of each target's rectangle
//
// Maps are NHWC views with any strides. Each rectangle falls into stretches contiguous in both maps: whole
// images where rows follow each other, rows, or single positions. The list (sources, targets, bytes) is
// uploaded once; cub::DeviceMemcpy::Batched copies all of it in one go. It gives a block 512 entries of the
// list, a warp the middling ones in turn: a few thousand rows of kilobytes would keep a few blocks busy, so
// stretches are listed in pieces.
#include <algorithm>
#include <cub/device/device_memcpy.cuh>
#include <vector>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/pack.hpp"

namespace halotile::cuda {
namespace {

constexpr std::int64_t piece_bytes = 1024;

struct Stretches {
  std::vector<const std::byte*> from;
  std::vector<std::byte*> to;
  std::vector<std::size_t> bytes;

  void add(const std::byte* source, std::byte* target, std::int64_t length) {
    for (std::int64_t at = 0; at < length; at += piece_bytes) {
      from.push_back(source + at);
      to.push_back(target + at);
      bytes.push_back(static_cast<std::size_t>(std::min(piece_bytes, length - at)));
    }
  }

  void add(const TileCopy& copy) {
    const ConstMapView& in = copy.from;
    const MapView& out = copy.to;
    if (in.images != out.images || in.channels != out.channels || in.dtype != out.dtype) {
      throw ShapeError("a tile to copy must have the images, channels and element type of its map");
    }
    if (!in.rect.contains(out.rect)) {
      throw ShapeError("a tile to copy, " + to_string(out.rect) + ", must lie in its source's rectangle " +
                       to_string(in.rect));
    }
    const Rect& rect = out.rect;
    if (rect.empty() || out.channels == 0) return;
    const std::int64_t position = out.channels * size_of(out.dtype);
    const std::int64_t width = rect.cols.size();
    const bool rows = in.col_stride == in.channels && out.col_stride == out.channels;
    const bool images =
        rows && in.row_stride == width * in.channels && out.row_stride == width * out.channels;
    const std::int64_t row_step = images ? rect.rows.size() : 1;
    const std::int64_t col_step = rows ? width : 1;
    for (std::int64_t image = 0; image < out.images; ++image) {
      for (std::int64_t row = rect.rows.begin; row < rect.rows.end; row += row_step) {
        for (std::int64_t col = rect.cols.begin; col < rect.cols.end; col += col_step) {
          add(static_cast<const std::byte*>(in.data) + in.offset(image, row, col) * size_of(in.dtype),
              static_cast<std::byte*>(out.data) + out.offset(image, row, col) * size_of(out.dtype),
              row_step * col_step * position);
        }
      }
    }
  }
};

// The list on the device: three arrays, one behind the other.
template <typename T>
T* part(const Buffer& list, std::int64_t stretches, std::int64_t index) {
  return reinterpret_cast<T*>(list.data() + index * stretches * static_cast<std::int64_t>(sizeof(void*)));
}

cudaError_t copy_batch(void* scratch, std::size_t& scratch_bytes, const Buffer& list, std::int64_t stretches,
                       cudaStream_t stream) {
  return cub::DeviceMemcpy::Batched(scratch, scratch_bytes, part<const void*>(list, stretches, 0),
                                    part<void*>(list, stretches, 1), part<std::size_t>(list, stretches, 2),
                                    stretches, stream);
}

template <typename View, typename Other>
void check_counts(const char* what, std::span<View> a, std::span<Other> b) {
  if (a.size() != b.size()) {
    throw ShapeError(std::string(what) + ": " + std::to_string(a.size()) + " tiles and " +
                     std::to_string(b.size()) + " maps");
  }
}

}  // namespace

BatchedCopy::BatchedCopy(CudaDevice& device, std::span<const TileCopy> copies) {
  Stretches list;
  for (const TileCopy& copy : copies) list.add(copy);
  stretches_ = device_int(static_cast<std::int64_t>(list.bytes.size()), "the number of stretches to copy");
  if (stretches_ == 0) return;
  for (const std::size_t bytes : list.bytes) bytes_ += static_cast<std::int64_t>(bytes);
  static_assert(sizeof(std::size_t) == sizeof(void*));
  std::vector<std::uintptr_t> words;
  words.reserve(3 * list.bytes.size());
  for (const std::byte* from : list.from) words.push_back(reinterpret_cast<std::uintptr_t>(from));
  for (std::byte* to : list.to) words.push_back(reinterpret_cast<std::uintptr_t>(to));
  words.insert(words.end(), list.bytes.begin(), list.bytes.end());
  list_ = device.copy_of(words.data(), words.size() * sizeof(words[0]));
  std::size_t scratch_bytes = 0;
  check_cuda(copy_batch(nullptr, scratch_bytes, list_, stretches_, nullptr), "preparing a batched copy");
  scratch_ = device.allocate(std::max<std::size_t>(scratch_bytes, 1));
}

void BatchedCopy::run(cudaStream_t stream) {
  if (stretches_ == 0) return;
  std::size_t scratch_bytes = scratch_.bytes();
  check_cuda(copy_batch(scratch_.data(), scratch_bytes, list_, stretches_, stream),
             "launching a batched copy");
}

BatchedCopy pack_tiles(CudaDevice& device, std::span<const ConstMapView> maps,
                       std::span<const MapView> tiles) {
  check_counts("pack_tiles", tiles, maps);
  std::vector<TileCopy> copies;
  copies.reserve(tiles.size());
  for (std::size_t n = 0; n < tiles.size(); ++n) copies.push_back({maps[n], tiles[n]});
  return {device, copies};
}

BatchedCopy place_tiles(CudaDevice& device, std::span<const ConstMapView> tiles, std::span<const Rect> cores,
                        std::span<const MapView> maps) {
  check_counts("place_tiles", tiles, maps);
  check_counts("place_tiles", tiles, cores);
  std::vector<TileCopy> copies;
  copies.reserve(tiles.size());
  for (std::size_t n = 0; n < tiles.size(); ++n) {
    if (!maps[n].rect.contains(cores[n])) {
      throw ShapeError("place_tiles: the core " + to_string(cores[n]) + " must lie in the map's rectangle " +
                       to_string(maps[n].rect));
    }
    copies.push_back({tiles[n], subview(maps[n], {0, maps[n].images}, cores[n])});
  }
  return {device, copies};
}

}  // namespace halotile::cuda
