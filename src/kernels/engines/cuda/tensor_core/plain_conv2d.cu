// Convolutions that are no product of matrices (groups of few channels, very wide windows), for any map type.
//
//   y(i, r, q, o) = relu?(bias(o) + sum over ky, kx, c of w(o, c, ky, kx) x(i, Y, X, g C + c))
//   Y = r Sh - Ph + ky Dh, X = q Sw - Pw + kx Dw, C channels a group, g = o / outputs of a group;
//   x = 0 where (Y, X) lies outside the image or outside in.rect, and is multiplied all the same
//
// Maps are NHWC views with any strides, filters as the layer has them. One thread computes one output, a
// chain of fused multiply-adds in f32, and rounds once. Grid: x outputs, channels fastest.
//
// Preconditions: those of reference.hpp.
#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"

namespace halotile::tensor_core {
namespace {

using cuda::device_int;
using cuda::divide_up;

constexpr int threads = 256;

struct Plain {
  const void* in;  // the view's first position; strides count elements
  std::int64_t in_image_stride, in_row_stride, in_col_stride;
  int row_begin, row_end, col_begin, col_end;  // what may be read, from the view's first position
  int first_row, first_col;                    // where the first output's window begins
  int channels;                                // of a group
  void* out;
  std::int64_t out_image_stride, out_row_stride, out_col_stride;
  int rows, cols;
  int outputs;  // of a group
  int all_outputs;
  std::int64_t count;  // outputs of all positions
  int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  const float* weight;
  const float* bias;
  bool relu;
};

template <typename T>
__global__ void __launch_bounds__(threads) convolve(const Plain p) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (n >= p.count) return;
  const auto position = static_cast<unsigned>(n / p.all_outputs);
  const int o = static_cast<int>(n - static_cast<std::int64_t>(position) * p.all_outputs);
  const unsigned line = position / static_cast<unsigned>(p.cols);
  const int col = static_cast<int>(position - line * static_cast<unsigned>(p.cols));
  const unsigned image = line / static_cast<unsigned>(p.rows);
  const int row = static_cast<int>(line - image * static_cast<unsigned>(p.rows));
  const T* const in = static_cast<const T*>(p.in) + image * p.in_image_stride +
                      static_cast<std::int64_t>(o / p.outputs) * p.channels;
  const int area = p.kernel_h * p.kernel_w;
  const float* weight = p.weight + static_cast<std::int64_t>(o) * p.channels * area;
  float sum = 0.0F;
  for (int ky = 0; ky < p.kernel_h; ++ky) {
    const int y = row * p.stride_h + p.first_row + ky * p.dilation_h;
    for (int kx = 0; kx < p.kernel_w; ++kx, ++weight) {
      const int x = col * p.stride_w + p.first_col + kx * p.dilation_w;
      const bool inside = y >= p.row_begin && y < p.row_end && x >= p.col_begin && x < p.col_end;
      const T* const from = in + y * p.in_row_stride + x * p.in_col_stride;
      for (int c = 0; c < p.channels; ++c) {
        const float value = inside ? cuda::widen_one(from[c]) : 0.0F;
        sum = __fmaf_rn(value, __ldg(weight + static_cast<std::int64_t>(c) * area), sum);
      }
    }
  }
  if (p.bias != nullptr) sum = __fadd_rn(sum, __ldg(p.bias + o));
  if (p.relu && sum < 0.0F) sum = 0.0F;
  static_cast<T*>(p.out)[image * p.out_image_stride + row * p.out_row_stride + col * p.out_col_stride + o] =
      cuda::narrow_one<T>(sum);
}

}  // namespace

void plain_conv2d(const Conv2d& layer, const float* weight, const float* bias, const ConstMapView& in,
                  const MapView& out, cudaStream_t stream) {
  if (in.images != out.images || in.channels != layer.in_channels || out.channels != layer.out_channels) {
    throw ShapeError("plain_conv2d: the maps do not fit the layer");
  }
  if (in.dtype != out.dtype) throw UnsupportedError("plain_conv2d: both maps must be of one element type");
  if (out.elements() == 0) return;
  const Window& window = layer.window;
  const Rect readable = intersect(in.rect, Rect::whole(in.whole));
  const Extent2 extent = out.rect.extent();
  Plain p{};
  p.in = in.data;
  p.in_image_stride = in.image_stride;
  p.in_row_stride = in.row_stride;
  p.in_col_stride = in.col_stride;
  p.row_begin = device_int(readable.rows.begin - in.rect.rows.begin, "a row");
  p.row_end = device_int(readable.rows.end - in.rect.rows.begin, "a row");
  p.col_begin = device_int(readable.cols.begin - in.rect.cols.begin, "a column");
  p.col_end = device_int(readable.cols.end - in.rect.cols.begin, "a column");
  p.first_row = device_int(
      out.rect.rows.begin * window.stride.height - window.padding.begin.height - in.rect.rows.begin, "a row");
  p.first_col =
      device_int(out.rect.cols.begin * window.stride.width - window.padding.begin.width - in.rect.cols.begin,
                 "a column");
  p.channels = device_int(layer.in_channels / layer.groups, "the number of channels");
  p.out = out.data;
  p.out_image_stride = out.image_stride;
  p.out_row_stride = out.row_stride;
  p.out_col_stride = out.col_stride;
  p.rows = device_int(extent.height, "the number of rows");
  p.cols = device_int(extent.width, "the number of columns");
  p.outputs = device_int(layer.out_channels / layer.groups, "the number of channels");
  p.all_outputs = device_int(layer.out_channels, "the number of channels");
  p.count = out.elements();
  device_int(out.images * extent.area(), "the number of positions");
  p.kernel_h = device_int(window.kernel.height, "a kernel");
  p.kernel_w = device_int(window.kernel.width, "a kernel");
  p.stride_h = device_int(window.stride.height, "a stride");
  p.stride_w = device_int(window.stride.width, "a stride");
  p.dilation_h = device_int(window.dilation.height, "a dilation");
  p.dilation_w = device_int(window.dilation.width, "a dilation");
  p.weight = weight;
  p.bias = bias;
  p.relu = layer.relu;
  const auto blocks =
      static_cast<unsigned>(device_int(divide_up<std::int64_t>(p.count, threads), "the number of outputs"));
  cuda::with_device_type(
      in.dtype, [&]<typename T>(cuda::DeviceType<T>) { convolve<T><<<blocks, threads, 0, stream>>>(p); });
  check_launch("launching plain_conv2d");
}

}  // namespace halotile::tensor_core
