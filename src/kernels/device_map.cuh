// Maps as kernels take them: by value, with 32-bit coordinates and 64-bit strides. For nvcc only.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "kernels/map_element.cuh"
#include "kernels/tensor.hpp"
#include "patching/error.hpp"

namespace halotile::direct {

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

template <typename T>
[[nodiscard]] __host__ __device__ constexpr T divide_up(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace halotile::direct
