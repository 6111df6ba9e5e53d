// Local response normalization across channels.
//
//   y(c) = x(c) / d^beta,  d = k + alpha / size * sum of x(j)^2,  j in [c - size / 2, c + (size - 1) / 2] of
//   the map, ascending;  d^0.75 = sqrt(d) sqrt(sqrt(d)), every step correctly rounded
//
// Maps are NHWC views of f32 with any strides. Two kernels, neighbouring threads on neighbouring channels:
//   five  size 5 and aligned channels: a thread computes 4 channels of a position from 12, of which its
//         neighbours have read 8 (they meet in the L1 cache); outside the map it takes zeros, which leave the
//         sum as it is
//   any   a thread computes one channel
// Preconditions: those of reference.hpp; out.rect in in.rect. Source: Krizhevsky et al. 2012, 3.3; PyTorch's
// LocalResponseNorm for the division of alpha by size.
#include "kernels/cuda_error.hpp"
#include "kernels/device_map.cuh"
#include "kernels/kernel_list_direct.hpp"
#include "kernels/map_operations_direct.hpp"

namespace halotile::direct {
namespace {

constexpr int threads = 256;

enum class Power : std::uint8_t { three_quarters, half, one, other };

struct Parameters {
  DeviceMap in;
  DeviceMap out;
  std::int64_t work;  // positions x vectors
  int vectors;        // of a position
  int size;
  float scale;  // alpha / size
  float k;
  float beta;
};

template <Power power>
__device__ __forceinline__ float normalize(float x, float sum, const Parameters& p) {
  const float d = __fmaf_rn(p.scale, sum, p.k);
  float to_power = d;
  if constexpr (power == Power::three_quarters) {
    const float root = __fsqrt_rn(d);
    to_power = __fmul_rn(root, __fsqrt_rn(root));
  } else if constexpr (power == Power::half) {
    to_power = __fsqrt_rn(d);
  } else if constexpr (power == Power::other) {
    to_power = powf(d, p.beta);
  }
  return __fdiv_rn(x, to_power);
}

struct Place {
  const float* in;
  float* out;
  int channel;
};

template <int width>
__device__ __forceinline__ Place thread_place(const Parameters& p, std::int64_t index) {
  const auto position = static_cast<unsigned>(index / p.vectors);
  const int c = static_cast<int>(index - static_cast<std::int64_t>(position) * p.vectors) * width;
  const int col = static_cast<int>(position % p.out.cols) + p.out.col0;
  const int row = static_cast<int>(position / p.out.cols % p.out.rows) + p.out.row0;
  const int image = static_cast<int>(position / p.out.cols / p.out.rows);
  return {p.in.data + p.in.offset(image, row, col), p.out.data + p.out.offset(image, row, col) + c, c};
}

template <Power power>
__global__ void __launch_bounds__(threads) lrn_five(const Parameters p) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (index >= p.work) return;
  const Place place = thread_place<4>(p, index);
  float x[12] = {};
#pragma unroll
  for (int part = 0; part < 3; ++part) {
    const int c = place.channel + 4 * (part - 1);
    if (c >= 0 && c < p.in.channels) {
      const float4 v = __ldg(reinterpret_cast<const float4*>(place.in + c));
      x[4 * part] = v.x;
      x[4 * part + 1] = v.y;
      x[4 * part + 2] = v.z;
      x[4 * part + 3] = v.w;
    }
  }
  float y[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    float sum = 0.0F;
#pragma unroll
    for (int j = 2; j < 7; ++j) sum = __fmaf_rn(x[e + j], x[e + j], sum);
    y[e] = normalize<power>(x[e + 4], sum, p);
  }
  *reinterpret_cast<float4*>(place.out) = make_float4(y[0], y[1], y[2], y[3]);
}

template <Power power>
__global__ void __launch_bounds__(threads) lrn_any(const Parameters p) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (index >= p.work) return;
  const Place place = thread_place<1>(p, index);
  const int first = max(place.channel - p.size / 2, 0);
  const int last = min(place.channel + (p.size - 1) / 2, p.in.channels - 1);
  float sum = 0.0F;
  for (int j = first; j <= last; ++j) {
    const float x = __ldg(place.in + j);
    sum = __fmaf_rn(x, x, sum);
  }
  *place.out = normalize<power>(__ldg(place.in + place.channel), sum, p);
}

template <Power power>
void launch(const Parameters& p, bool five, cudaStream_t stream) {
  const auto blocks =
      static_cast<unsigned>(device_int(divide_up<std::int64_t>(p.work, threads), "the number of blocks"));
  if (five) {
    lrn_five<power><<<blocks, threads, 0, stream>>>(p);
  } else {
    lrn_any<power><<<blocks, threads, 0, stream>>>(p);
  }
  check_launch("launching lrn");
}

}  // namespace

void lrn(const Lrn& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  if (in.images != out.images || in.channels != out.channels) {
    throw ShapeError("lrn: in and out must have the same images and channels");
  }
  if (!in.rect.contains(out.rect)) throw ShapeError("lrn: the outputs must lie in the input's rectangle");
  if (layer.size < 1) {
    throw ShapeError("lrn: the size must be at least 1 (it is " + std::to_string(layer.size) + ")");
  }
  Parameters p{};
  p.in = device_map(in, in.data);
  p.out = device_map(out, out.data);
  if (positions(p.out) == 0 || out.channels == 0) return;
  p.size = device_int(layer.size, "the size");
  p.scale = layer.alpha / static_cast<float>(layer.size);
  p.k = layer.k;
  p.beta = layer.beta;
  const bool five = layer.size == 5 && out.channels % 4 == 0 && vector_aligned(p.in) && vector_aligned(p.out);
  p.vectors = five ? p.out.channels / 4 : p.out.channels;
  p.work = static_cast<std::int64_t>(positions(p.out)) * p.vectors;
  if (layer.beta == 0.75F) {
    launch<Power::three_quarters>(p, five, stream);
  } else if (layer.beta == 0.5F) {
    launch<Power::half>(p, five, stream);
  } else if (layer.beta == 1.0F) {
    launch<Power::one>(p, five, stream);
  } else {
    launch<Power::other>(p, five, stream);
  }
}

std::vector<KernelEntry> lrn_kernels() {
  return {{"lrn", "five, beta 0.75", address_of(lrn_five<Power::three_quarters>), threads, 0},
          {"lrn", "any size, beta 0.75", address_of(lrn_any<Power::three_quarters>), threads, 0},
          {"lrn", "five, any beta", address_of(lrn_five<Power::other>), threads, 0},
          {"lrn", "any size and beta", address_of(lrn_any<Power::other>), threads, 0}};
}

}  // namespace halotile::direct
