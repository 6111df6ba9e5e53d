// The second pass of products whose sum was cut into segments.
//
//   y(m, o) = relu?(bias(o) + (partial(0, m, o) + partial(1, m, o) + ...)), added in ascending order
//
// partial is (segments, output positions, groups * out), f32; y an NHWC map with any strides. One thread
// makes 4 neighbouring channels of a position, or 1 where their number is no multiple of 4. It loads 16
// segments before it adds them: there are often fewer threads than would hide the latency. Grid: x threads.
#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"

namespace halotile::tensor_core {
namespace {

using cuda::device_int;
using cuda::divide_up;

constexpr int threads = 64;
constexpr int ahead = 16;  // segments

struct Sums {
  const float* partial;
  std::int64_t step;  // floats from a segment to the next
  const float* bias;
  bool relu;
  int segments;
  int channels;
  int out_rows, out_cols;
  std::int64_t count;  // threads' work items
  void* output;
  std::int64_t image_stride, row_stride, col_stride;
};

// One or four floats.
template <int n>
struct alignas(4 * n) Floats {
  float x[n];
};

template <typename T, int n>
__global__ void __launch_bounds__(threads) add(const Sums p) {
  let_next_start();
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (item >= p.count) return;
  const int items = p.channels / n;  // of a position
  const auto position = static_cast<unsigned>(item / items);
  const int channel = static_cast<int>(item - static_cast<std::int64_t>(position) * items) * n;
  const float* from = p.partial + item * n;
  Floats<n> bias{};
#pragma unroll
  for (int e = 0; e < n; ++e) {
    if (p.bias != nullptr) bias.x[e] = __ldg(p.bias + channel + e);
  }
  wait_for_previous();
  Floats<n> total{};
#pragma unroll 1
  for (int first = 0; first < p.segments; first += ahead) {
    Floats<n> part[ahead];
#pragma unroll
    for (int s = 0; s < ahead; ++s) {
      if (first + s < p.segments) part[s] = *reinterpret_cast<const Floats<n>*>(from + s * p.step);
    }
    from += ahead * p.step;
#pragma unroll
    for (int s = 0; s < ahead; ++s) {
      if (first + s >= p.segments) continue;
#pragma unroll
      for (int e = 0; e < n; ++e) {
        total.x[e] = first + s == 0 ? part[s].x[e] : __fadd_rn(total.x[e], part[s].x[e]);
      }
    }
  }
#pragma unroll
  for (int e = 0; e < n; ++e) {
    if (p.bias != nullptr) total.x[e] = __fadd_rn(total.x[e], bias.x[e]);
    if (p.relu && total.x[e] <= 0.0F) total.x[e] = 0.0F;
  }
  const unsigned line = position / static_cast<unsigned>(p.out_cols);
  const unsigned image = line / static_cast<unsigned>(p.out_rows);
  T* const to =
      static_cast<T*>(p.output) + image * p.image_stride +
      static_cast<std::int64_t>(line - image * static_cast<unsigned>(p.out_rows)) * p.row_stride +
      static_cast<std::int64_t>(position - line * static_cast<unsigned>(p.out_cols)) * p.col_stride + channel;
  cuda::store(to, cuda::narrow<T, n>(total.x));
}

// True when four channels may be loaded and stored at once.
bool fours(const Sums& p, DType type) {
  const auto aligned = [](const void* data, std::int64_t bytes) {
    return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(bytes) == 0;
  };
  return p.channels % 4 == 0 && aligned(p.partial, 16) && aligned(p.output, 4 * size_of(type)) &&
         p.image_stride % 4 == 0 && p.row_stride % 4 == 0 && p.col_stride % 4 == 0;
}

}  // namespace

void add_segments(const MatrixLayer& layer, const MatrixCall& call, cudaStream_t stream) {
  if (call.positions() == 0 || layer.out == 0) return;
  Sums p{};
  p.partial = call.partial;
  p.bias = call.bias;
  p.relu = layer.relu;
  p.segments = device_int(layer.segments, "the number of segments");
  p.channels = device_int(layer.groups * layer.out, "the number of channels");
  p.step = call.positions() * p.channels;
  p.out_rows = device_int(call.outputs.height, "the number of rows");
  p.out_cols = device_int(call.outputs.width, "the number of columns");
  p.output = call.output;
  p.image_stride = call.output_image_stride;
  p.row_stride = call.output_row_stride;
  p.col_stride = call.output_col_stride;
  device_int(call.positions(), "the number of positions");
  const bool vector = fours(p, call.output_type);
  p.count = p.step / (vector ? 4 : 1);
  const auto blocks =
      static_cast<unsigned>(device_int(divide_up<std::int64_t>(p.count, threads), "the number of positions"));
  cuda::with_device_type(call.output_type, [&]<typename T>(cuda::DeviceType<T>) {
    if (vector) {
      launch_early(add<T, 4>, blocks, threads, 0, stream, "launching the sum of the segments", p);
    } else {
      launch_early(add<T, 1>, blocks, threads, 0, stream, "launching the sum of the segments", p);
    }
  });
}

}  // namespace halotile::tensor_core
