// Maps as kernels take them: by value, with 32-bit coordinates and 64-bit strides. For nvcc only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/rounding.hpp"
#include "kernels/maps/map.hpp"
#include "patching/error.hpp"

namespace halotile::cuda {

/// A view in device memory of elements T: float, __nv_bfloat16 or __half. Coordinates are those of the whole
/// map; strides count elements.
template <typename T>
struct DeviceMap {
  T* data = nullptr;  // (image 0, row0, col0, channel 0)
  std::int64_t image_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
  int images = 0;
  int channels = 0;
  int row0 = 0;  // what the view shows
  int col0 = 0;
  int rows = 0;
  int cols = 0;
  int read_row0 = 0;  // what of it lies inside the image: all else reads as padding
  int read_col0 = 0;
  int read_rows = 0;
  int read_cols = 0;

  // Element offset of (image, row, col, channel 0); may be taken for positions outside the view.
  [[nodiscard]] __host__ __device__ std::int64_t offset(int image, int row, int col) const {
    return image * image_stride + static_cast<std::int64_t>(row - row0) * row_stride +
           static_cast<std::int64_t>(col - col0) * col_stride;
  }
  [[nodiscard]] __host__ __device__ bool readable_row(int row) const {
    return static_cast<unsigned>(row - read_row0) < static_cast<unsigned>(read_rows);
  }
  [[nodiscard]] __host__ __device__ bool readable_col(int col) const {
    return static_cast<unsigned>(col - read_col0) < static_cast<unsigned>(read_cols);
  }
};

/// `value` as a kernel's int. Throws ShapeError naming `what` when it does not fit.
inline int device_int(std::int64_t value, const char* what) {
  if (!std::in_range<int>(value)) {
    throw ShapeError(std::string(what) + " (" + std::to_string(value) +
                     ") is too large for one launch; use smaller patches or a smaller sub_batch");
  }
  return static_cast<int>(value);
}

/// Throws UnsupportedError for maps of another element type than T.
template <typename T>
DeviceMap<T> device_map(const MapGeometry& map, const void* data) {
  if (map.dtype != dtype_of<T>) {
    throw UnsupportedError("a kernel for maps of " + std::string(to_string(dtype_of<T>)) + " got one of " +
                           std::string(to_string(map.dtype)));
  }
  const Rect readable = intersect(map.rect, Rect::whole(map.whole));
  const Extent2 extent = map.rect.extent();
  DeviceMap<T> result;
  result.data = static_cast<T*>(const_cast<void*>(data));
  result.image_stride = map.image_stride;
  result.row_stride = map.row_stride;
  result.col_stride = map.col_stride;
  result.images = device_int(map.images, "the number of images");
  result.channels = device_int(map.channels, "the number of channels");
  result.row0 = device_int(map.rect.rows.begin, "a row");
  result.col0 = device_int(map.rect.cols.begin, "a column");
  result.rows = device_int(extent.height, "the number of rows");
  result.cols = device_int(extent.width, "the number of columns");
  result.read_row0 = device_int(readable.rows.begin, "a row");
  result.read_col0 = device_int(readable.cols.begin, "a column");
  result.read_rows = device_int(readable.rows.size(), "the number of rows");
  result.read_cols = device_int(readable.cols.size(), "the number of columns");
  return result;
}

/// Positions of all images. Throws ShapeError when they are too many for one launch.
template <typename T>
int positions(const DeviceMap<T>& map) {
  const std::int64_t per_image = std::int64_t{map.rows} * map.cols;
  return device_int(checked_multiply(per_image, map.images, "the number of positions"),
                    "the number of positions");
}

/// True when every position of the view starts on a boundary of `width` elements, by default 16 bytes, so
/// that its channels may be loaded that many at a time.
template <typename T>
bool vector_aligned(const DeviceMap<T>& map, int width = vector_width<T>) {
  return reinterpret_cast<std::uintptr_t>(map.data) % (static_cast<unsigned>(width) * sizeof(T)) == 0 &&
         map.image_stride % width == 0 && map.row_stride % width == 0 && map.col_stride % width == 0;
}

using halotile::divide_up;

/// Division of ints from 0 on by one that is known at launch, as a multiplication.
/// Source: Granlund and Montgomery 1994, Division by invariant integers using multiplication.
class Divider {
 public:
  Divider() = default;
  /// `divisor` is at least 1.
  explicit Divider(int divisor) : divisor_(divisor) {
    while (std::int64_t{1} << shift_ < divisor) ++shift_;
    const std::uint64_t above = (std::uint64_t{1} << shift_) - static_cast<std::uint64_t>(divisor);
    factor_ = static_cast<std::uint32_t>((above << 32) / static_cast<std::uint64_t>(divisor) + 1);
  }
  [[nodiscard]] __host__ __device__ int divisor() const { return divisor_; }
  /// The quotient and what remains.
  [[nodiscard]] __device__ __forceinline__ int2 divide(int n) const {
    const auto u = static_cast<std::uint32_t>(n);
    const auto quotient = static_cast<int>((__umulhi(u, factor_) + u) >> shift_);
    return make_int2(quotient, n - quotient * divisor_);
  }

 private:
  int divisor_ = 1;
  int shift_ = 0;
  std::uint32_t factor_ = 1;
};

/// How a launch lays threads over outputs that come in rows of `units` each: x along a line of whole rows,
/// several where they are short, so that small tiles fill their blocks; y, in steps of the grid, over lines.
struct LineGrid {
  int rows = 0;        // of an image
  int line_rows = 1;   // of a line
  int lines = 0;       // of an image
  Divider unit_count;  // units of a row

  LineGrid() = default;
  /// Throws ShapeError for rows too long for one launch. `threads` of a block.
  LineGrid(int row_count, std::int64_t units, int threads)
      : rows(row_count), unit_count(device_int(units, "the length of a row")) {
    const std::int64_t enough = 8 * std::int64_t{threads};
    line_rows = static_cast<int>(std::clamp<std::int64_t>(divide_up(enough, units), 1, rows));
    lines = divide_up(rows, line_rows);
    device_int(units * line_rows + threads, "the length of a row");
  }
  [[nodiscard]] dim3 grid(int images, int threads) const {
    return dim3(static_cast<unsigned>(divide_up(unit_count.divisor() * line_rows, threads)),
                static_cast<unsigned>(std::min<std::int64_t>(std::int64_t{images} * lines, 65535)));
  }
  /// Calls work(image, row, unit) for this thread's units; rows count from 0.
  template <typename Work>
  __device__ __forceinline__ void for_each(int images, const Work& work) const {
    const int2 place = unit_count.divide(static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x));
    if (place.x >= line_rows) return;
    for (int line = static_cast<int>(blockIdx.y); line < images * lines;
         line += static_cast<int>(gridDim.y)) {
      const int image = line / lines;
      const int row = (line - image * lines) * line_rows + place.x;
      if (row < rows) work(image, row, place.y);
    }
  }
};

}  // namespace halotile::cuda
