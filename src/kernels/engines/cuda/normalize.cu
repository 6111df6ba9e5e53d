// Photographs as they leave preprocessing: 8-bit pixels become the network's floats.
//
//   y(c) = (x(c) / 255 - mean(c)) / stddev(c), each step rounded to float: the bits of normalize() on the
//   host; then rounded to the map's type where that is bf16 or f16
//
// Two divisions for each value would cost more than the memory traffic. With r = 1 / b rounded, q = a r and
// q + r (a - q b) by fused multiply-adds is a / b nearly always; of 3 x 256 outcomes all can be tried.
//
// Both maps are dense NHWC with 3 channels. A thread takes the 4 pixels, of 2-byte elements the 8, that
// become 48 bytes, or where the maps are not aligned for that (an image of 227 x 227 pixels has an odd number
// of bytes) and at the end one value at a time.
#include <cmath>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_operations.hpp"

namespace halotile::cuda {
namespace {

constexpr int threads = 128;
constexpr float brightest = 255.0F;

// a / b, or nearly; r = 1 / b.
__host__ __device__ inline float quotient(float a, float b, float r) {
#ifdef __CUDA_ARCH__
  const float q = __fmul_rn(a, r);
  return __fmaf_rn(r, __fmaf_rn(-b, q, a), q);
#else
  const float q = a * r;
  return std::fma(r, std::fma(-b, q, a), q);
#endif
}

template <bool by_products>
struct Normalization {
  float mean[3];
  float stddev[3];
  float reciprocal[3];

  explicit Normalization(const PixelNormalization& p) {
    for (std::size_t c = 0; c < 3; ++c) {
      mean[c] = p.mean[c];
      stddev[c] = p.stddev[c];
      reciprocal[c] = p.reciprocal[c];
    }
  }
  __device__ float operator()(std::uint8_t x, int channel) const {
    const float unit = divide(static_cast<float>(x), brightest, 1.0F / brightest);
    return divide(__fsub_rn(unit, mean[channel]), stddev[channel], reciprocal[channel]);
  }

 private:
  __device__ static float divide(float a, float b, float r) {
    return by_products ? quotient(a, b, r) : __fdiv_rn(a, b);
  }
};

// Values of a thread: those of three 16-byte stores, whole pixels.
template <typename T>
constexpr int per_thread_of = 3 * vector_width<T>;

template <bool aligned, bool by_products, typename T>
__global__ void __launch_bounds__(threads)
    normalize_pixels(const Normalization<by_products> normal, const std::uint8_t* __restrict__ in,
                     T* __restrict__ out, std::int64_t values) {
  constexpr int per_thread = per_thread_of<T>;
  const std::int64_t begin = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * per_thread;
  if (aligned && begin + per_thread <= values) {
    std::uint8_t x[per_thread];
    float y[per_thread];
#pragma unroll
    for (int i = 0; i < per_thread; i += 4) {
      *reinterpret_cast<uchar4*>(x + i) = *reinterpret_cast<const uchar4*>(in + begin + i);
    }
#pragma unroll
    for (int i = 0; i < per_thread; ++i) y[i] = normal(x[i], i % 3);
#pragma unroll
    for (int i = 0; i < per_thread; i += vector_width<T>) {
      store<T, vector_width<T>>(out + begin + i, narrow<T, vector_width<T>>(y + i));
    }
    return;
  }
  // Neighbouring threads take neighbouring values.
  const std::int64_t end = (std::int64_t{blockIdx.x} + 1) * threads * per_thread;
  const std::int64_t first = aligned ? begin : std::int64_t{blockIdx.x} * threads * per_thread + threadIdx.x;
  const std::int64_t last = aligned || end > values ? values : end;
  for (std::int64_t i = first; i < last; i += aligned ? 1 : threads)
    out[i] = narrow_one<T>(normal(in[i], static_cast<int>(i % 3)));
}

}  // namespace

PixelNormalization::PixelNormalization(const std::array<float, 3>& means,
                                       const std::array<float, 3>& deviations)
    : mean(means), stddev(deviations), reciprocal{}, by_products(true) {
  for (std::size_t c = 0; c < 3; ++c) {
    reciprocal[c] = 1.0F / stddev[c];
    for (int x = 0; x < 256; ++x) {
      const auto value = static_cast<float>(x);
      const float unit = value / brightest;
      const float centred = unit - mean[c];
      if (quotient(value, brightest, 1.0F / brightest) != unit ||
          quotient(centred, stddev[c], reciprocal[c]) != centred / stddev[c]) {
        by_products = false;
      }
    }
  }
}

void normalize(const PixelNormalization& normalization, const ConstMapView& in, const MapView& out,
               cudaStream_t stream) {
  if (in.dtype != DType::u8 || out.dtype == DType::u8 || in.channels != 3 || out.channels != 3 ||
      in.images != out.images || in.rect.extent() != out.rect.extent() || !in.dense() || !out.dense()) {
    throw ShapeError("normalize: dense u8 pixels of 3 channels must go to dense maps of the same extent");
  }
  const std::int64_t values = in.elements();
  if (values == 0) return;
  const bool aligned = reinterpret_cast<std::uintptr_t>(in.data) % 4 == 0 &&
                       reinterpret_cast<std::uintptr_t>(out.data) % 16 == 0;
  with_device_type(out.dtype, [&]<typename T>(DeviceType<T>) {
    const std::int64_t per_block = std::int64_t{threads} * per_thread_of<T>;
    const int blocks = device_int(divide_up(values, per_block), "the number of blocks of pixels");
    const auto launch = [&]<bool by_products>(std::bool_constant<by_products>) {
      const auto kernel =
          aligned ? normalize_pixels<true, by_products, T> : normalize_pixels<false, by_products, T>;
      kernel<<<static_cast<unsigned>(blocks), threads, 0, stream>>>(Normalization<by_products>(normalization),
                                                                    static_cast<const std::uint8_t*>(in.data),
                                                                    static_cast<T*>(out.data), values);
    };
    if (normalization.by_products) {
      launch(std::true_type{});
    } else {
      launch(std::false_type{});
    }
  });
  check_launch("launching normalize");
}

}  // namespace halotile::cuda
