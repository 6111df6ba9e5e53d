// ReLU, copies and softmax: every output depends on its own position alone.
//
//   relu      y = x < 0 ? 0 : x   (keeps -0 and NaN)
//   copy_map  y = x
//   softmax   y(c) = exp(x(c) - m) / s,  m = max of x, s = sum of exp(x(c) - m), over the channels
//
// Maps are NHWC views of f32 with any strides. ReLU and copies go over stretches that are contiguous in both
// maps: rows of positions, or single positions where there are gaps between them. Grid: x along a stretch, 4
// values (1 where not aligned) a thread; y, in steps of the grid, over stretches. Softmax: a block of 128
// threads takes a position; the sum is a tree over static shared memory whose shape depends on the number of
// channels alone. Preconditions: those of reference.hpp; out.rect in in.rect; relu may work in place.
#include <algorithm>
#include <limits>

#include "kernels/cuda_error.hpp"
#include "kernels/device_map.cuh"
#include "kernels/kernel_list_direct.hpp"
#include "kernels/map_operations_direct.hpp"

namespace halotile::direct {
namespace {

constexpr int threads = 128;

struct Parameters {
  DeviceMap in;
  DeviceMap out;
  int stretch;    // values
  int stretches;  // of all images
  bool whole_rows;
};

template <bool relu>
__device__ __forceinline__ float apply(float x) {
  return relu && x < 0.0F ? 0.0F : x;
}
template <bool relu>
__device__ __forceinline__ float4 apply(const float4& x) {
  return {apply<relu>(x.x), apply<relu>(x.y), apply<relu>(x.z), apply<relu>(x.w)};
}

template <bool relu, typename T>
__global__ void __launch_bounds__(threads) pointwise(const Parameters p) {
  const int e = static_cast<int>((blockIdx.x * threads + threadIdx.x) * (sizeof(T) / sizeof(float)));
  if (e >= p.stretch) return;
  for (int n = static_cast<int>(blockIdx.y); n < p.stretches; n += static_cast<int>(gridDim.y)) {
    const int col = p.whole_rows ? 0 : n % p.out.cols;
    const int line = p.whole_rows ? n : n / p.out.cols;
    const int image = line / p.out.rows;
    const int row = p.out.row0 + line % p.out.rows;
    const T x = *reinterpret_cast<const T*>(p.in.data + p.in.offset(image, row, p.out.col0 + col) + e);
    *reinterpret_cast<T*>(p.out.data + p.out.offset(image, row, p.out.col0 + col) + e) = apply<relu>(x);
  }
}

struct Maximum {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return __fadd_rn(a, b); }
};

// The fold of all threads' values, given to all of them.
template <typename Fold>
__device__ float fold_block(float value, float* shared, Fold fold) {
  __syncthreads();  // the previous fold has been read
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = threads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] = fold(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  return shared[0];
}

__global__ void __launch_bounds__(threads) softmax_position(const Parameters p) {
  __shared__ float shared[threads];
  const auto position = static_cast<int>(blockIdx.x);
  const int col = p.out.col0 + position % p.out.cols;
  const int row = p.out.row0 + position / p.out.cols % p.out.rows;
  const int image = position / p.out.cols / p.out.rows;
  const float* x = p.in.data + p.in.offset(image, row, col);
  float* y = p.out.data + p.out.offset(image, row, col);
  float largest = -__int_as_float(0x7f800000);
  for (int c = static_cast<int>(threadIdx.x); c < p.out.channels; c += threads)
    largest = fmaxf(largest, x[c]);
  largest = fold_block(largest, shared, Maximum{});
  float sum = 0.0F;
  for (int c = static_cast<int>(threadIdx.x); c < p.out.channels; c += threads) {
    sum = __fadd_rn(sum, expf(x[c] - largest));
  }
  sum = fold_block(sum, shared, Sum{});
  for (int c = static_cast<int>(threadIdx.x); c < p.out.channels; c += threads) {
    y[c] = __fdiv_rn(expf(x[c] - largest), sum);
  }
}

Parameters parameters(const char* what, const ConstMapView& in, const MapView& out) {
  if (in.images != out.images || in.channels != out.channels) {
    throw ShapeError(std::string(what) + ": in and out must have the same images and channels");
  }
  if (!in.rect.contains(out.rect)) {
    throw ShapeError(std::string(what) + ": the outputs " + to_string(out.rect) +
                     " must lie in the input's rectangle " + to_string(in.rect));
  }
  Parameters p{};
  p.in = device_map(in, in.data);
  p.out = device_map(out, out.data);
  return p;
}

template <bool relu>
void launch(const char* what, const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  Parameters p = parameters(what, in, out);
  if (positions(p.out) == 0 || out.channels == 0) return;
  p.whole_rows = in.col_stride == in.channels && out.col_stride == out.channels;
  p.stretches = p.whole_rows ? device_int(std::int64_t{p.out.images} * p.out.rows, "the number of rows")
                             : positions(p.out);
  p.stretch = p.whole_rows ? device_int(std::int64_t{p.out.cols} * p.out.channels, "the length of a row")
                           : p.out.channels;
  // Stretches begin at rows (or positions), whose strides alone must then be aligned.
  const auto aligned = [&](DeviceMap map) {
    if (p.whole_rows) map.col_stride = 0;
    return vector_aligned(map);
  };
  const bool same_column = !p.whole_rows || (std::int64_t{p.out.col0 - p.in.col0} * p.in.channels) % 4 == 0;
  const bool vector = p.stretch % 4 == 0 && same_column && aligned(p.in) && aligned(p.out);
  const int units = vector ? p.stretch / 4 : p.stretch;
  const dim3 grid(static_cast<unsigned>(divide_up(units, threads)),
                  static_cast<unsigned>(std::min(p.stretches, 65535)));
  if (vector) {
    pointwise<relu, float4><<<grid, threads, 0, stream>>>(p);
  } else {
    pointwise<relu, float><<<grid, threads, 0, stream>>>(p);
  }
  check_launch(what);
}

}  // namespace

void relu(const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  launch<true>("launching relu", in, out, stream);
}

void copy_map(const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  launch<false>("launching copy_map", in, out, stream);
}

void softmax(const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  const Parameters p = parameters("softmax", in, out);
  if (positions(p.out) == 0 || out.channels == 0) return;
  softmax_position<<<static_cast<unsigned>(positions(p.out)), threads, 0, stream>>>(p);
  check_launch("launching softmax");
}

std::vector<KernelEntry> pointwise_kernels() {
  return {{"pointwise", "relu", address_of(pointwise<true, float4>), threads, 0},
          {"pointwise", "relu, unaligned", address_of(pointwise<true, float>), threads, 0},
          {"pointwise", "copy", address_of(pointwise<false, float4>), threads, 0},
          {"pointwise", "copy, unaligned", address_of(pointwise<false, float>), threads, 0},
          {"softmax", "position", address_of(softmax_position), threads, 0}};
}

}  // namespace halotile::direct
