// The second pass of products whose sum was cut into segments.
//
//   y(m, o) = relu?(bias(o) + (partial(0, m, o) + partial(1, m, o) + ...)), added in ascending order
//
// partial is (segments, output positions, groups * out), f32; y an NHWC map with any strides. One thread
// makes 4 neighbouring channels of a position, or 1 where their number is no multiple of 4. It loads 16
// segments before it adds them: there are often fewer threads than would hide the latency. Grid: x threads.
// Infinities and NaN that went apart (non_finite.cuh) come in here, output by output.
#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"
#include "kernels/engines/cuda/tensor_core/non_finite.cuh"

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
  SpreadLayer spread;
  UnpackedInput unpacked;
};

// One or four floats.
template <int n>
struct alignas(4 * n) Floats {
  float x[n];
};

// Writes those of n outputs again that infinities and NaN reach.
template <typename T, int n>
__device__ __forceinline__ void spread(const Sums& p, int3 position, int channel, T* to) {
  const int group = channel / p.spread.outputs;
  const SpreadPlace place{position.x, position.y, position.z, group};
  const SpreadWindow window(p.spread, p.unpacked, place);
#pragma unroll 1
  for (int e = 0; e < n; ++e) {
    float y;
    if (window.sum(channel + e - group * p.spread.outputs, y)) to[e] = cuda::narrow_one<T>(y);
  }
}

// `apart`: infinities and NaN of the input may be; layers whose are not do without the code.
template <typename T, int n, bool apart>
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
  const uint2 marks = apart ? read_account(p.spread) : uint2{};
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
  const unsigned row = line - image * static_cast<unsigned>(p.out_rows);
  const unsigned col = position - line * static_cast<unsigned>(p.out_cols);
  T* const to = static_cast<T*>(p.output) + image * p.image_stride +
                static_cast<std::int64_t>(row) * p.row_stride +
                static_cast<std::int64_t>(col) * p.col_stride + channel;
  cuda::store(to, cuda::narrow<T, n>(total.x));
  if constexpr (apart) {
    const int3 place{static_cast<int>(image), static_cast<int>(row), static_cast<int>(col)};
    if (spread_wanted(p.spread, marks)) spread<T, n>(p, place, channel, to);
  }
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
  p.spread = spread_layer(layer, call);
  p.unpacked = call.unpacked;
  device_int(call.positions(), "the number of positions");
  const bool vector = fours(p, call.output_type);
  p.count = p.step / (vector ? 4 : 1);
  const auto blocks =
      static_cast<unsigned>(device_int(divide_up<std::int64_t>(p.count, threads), "the number of positions"));
  cuda::with_device_type(call.output_type, [&]<typename T>(cuda::DeviceType<T>) {
    const auto kernel = p.spread.account != nullptr ? (vector ? add<T, 4, true> : add<T, 1, true>)
                                                    : (vector ? add<T, 4, false> : add<T, 1, false>);
    launch_early(kernel, blocks, threads, 0, stream, "launching the sum of the segments", p);
  });
}

}  // namespace halotile::tensor_core
