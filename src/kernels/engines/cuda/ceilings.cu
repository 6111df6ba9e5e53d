// The limits of a GPU: multiply-adds between registers, matrix products on tensor cores, a copy of device
// memory, a copy from the host.
//
// add_up: thread t keeps `chains` independent sums, enough to cover an instruction's latency, and adds
//   multiply-adds to them; blocks of 256 threads, 8 a multiprocessor. multiply: the same with one 16 x 8
//   product of a warp (mma.sync) a step; cards that are not of compute capability 9.0. copy: thread t moves
//   16 bytes at t, t + all threads, ...
#include <algorithm>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/ceilings.hpp"
#include "kernels/engines/cuda/ceilings.cuh"
#include "kernels/engines/cuda/matrix_instructions.cuh"

namespace halotile {
namespace {

using cuda::Element;

constexpr int threads = 256;
constexpr int blocks_each = 8;  // a multiprocessor
constexpr int chains = 8;
constexpr int repetitions = 7;

__global__ void __launch_bounds__(threads) add_up(int rounds, float x, float y, float* out) {
  float sum[chains];
#pragma unroll
  for (int c = 0; c < chains; ++c) sum[c] = static_cast<float>(threadIdx.x + c);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int step = 0; step < 16; ++step) {
#pragma unroll
      for (int c = 0; c < chains; ++c) sum[c] = __fmaf_rn(sum[c], x, y);
    }
  }
  float total = 0;
#pragma unroll
  for (int c = 0; c < chains; ++c) total += sum[c];
  if (rounds < 0) *out = total;
}

template <Element element>
__global__ void __launch_bounds__(threads) multiply(int rounds, float* out) {
  float sum[chains][4];
#pragma unroll
  for (int c = 0; c < chains; ++c) {
    for (float& s : sum[c]) s = static_cast<float>(threadIdx.x + c);  // no two alike: none can be left out
  }
  const unsigned bits = 0x3f803f80U | (threadIdx.x * 0x00050003U & 0x007f007fU);  // 1.xx in each type
  const unsigned a[4] = {bits, bits ^ 0x80008000U, bits ^ 0x00008000U, bits ^ 0x80000000U};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int c = 0; c < chains; ++c) cuda::multiply_add<element>(sum[c], a, bits, ~bits & 0xbfffbfffU);
  }
  float total = 0;
#pragma unroll
  for (int c = 0; c < chains; ++c) total += sum[c][0] + sum[c][1] + sum[c][2] + sum[c][3];
  if (rounds < 0) *out = total;
}

__global__ void __launch_bounds__(threads) copy(const uint4* from, uint4* to, std::size_t units) {
  const std::size_t all = std::size_t{gridDim.x} * threads;
  for (std::size_t i = std::size_t{blockIdx.x} * threads + threadIdx.x; i < units; i += all) to[i] = from[i];
}

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&handle_), "making an event"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(handle_); }
  [[nodiscard]] cudaEvent_t handle() const { return handle_; }

 private:
  cudaEvent_t handle_ = nullptr;
};

// The shortest of several runs of `work`, which queues on `stream`, behind one that does not count.
template <typename Work>
double best_seconds(cudaStream_t stream, const Work& work) {
  const Event begin;
  const Event end;
  float best = 0;
  for (int i = 0; i <= repetitions; ++i) {
    check_cuda(cudaEventRecord(begin.handle(), stream), "measuring the GPU's limits");
    work();
    check_cuda(cudaEventRecord(end.handle(), stream), "measuring the GPU's limits");
    check_cuda(cudaEventSynchronize(end.handle()), "measuring the GPU's limits");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, begin.handle(), end.handle()),
               "measuring the GPU's limits");
    if (i == 1 || (i > 1 && milliseconds < best)) best = milliseconds;
  }
  return 1e-3 * static_cast<double>(best);
}

double fp32_rate(unsigned blocks, float* out, cudaStream_t stream) {
  constexpr int rounds = 4096;
  const double seconds = best_seconds(stream, [&] {
    add_up<<<blocks, threads, 0, stream>>>(rounds, 0.999F, 0.001F, out);
    check_launch("measuring the rate of multiply-adds");
  });
  return 2.0 * blocks * threads * chains * 16 * rounds / seconds;
}

template <Element element>
double warp_rate(unsigned blocks, float* out, cudaStream_t stream) {
  constexpr int rounds = 8192;
  const double seconds = best_seconds(stream, [&] {
    multiply<element><<<blocks, threads, 0, stream>>>(rounds, out);
    check_launch("measuring the rate of tensor cores");
  });
  const double flops = 2.0 * 16 * 8 * 32 / static_cast<double>(cuda::size_of(element));
  return flops * chains * rounds * (threads / 32) * blocks / seconds;
}

double tensor_rate(Element element, const CudaDeviceInfo& info, float* out, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(info.multiprocessors * blocks_each);
  if (info.capability_major == 9) {
    constexpr int rounds = 4096;
    double flops = 0;
    const double seconds = best_seconds(stream, [&] {
      flops = ceilings::launch_warpgroup_products(element, info.multiprocessors, rounds, out, stream);
    });
    return flops / seconds;
  }
  switch (element) {
    case Element::bf16:
      return warp_rate<Element::bf16>(blocks, out, stream);
    case Element::f16:
      return warp_rate<Element::f16>(blocks, out, stream);
    case Element::tf32:
    case Element::f32:
      break;
  }
  return warp_rate<Element::tf32>(blocks, out, stream);
}

double arithmetic_rate(const std::string& precision, const CudaDeviceInfo& info, float* out,
                       cudaStream_t stream) {
  if (precision == "fp32") {
    return fp32_rate(static_cast<unsigned>(info.multiprocessors * blocks_each), out, stream);
  }
  if (precision == "tf32") return tensor_rate(Element::tf32, info, out, stream);
  if (precision == "bf16") return tensor_rate(Element::bf16, info, out, stream);
  if (precision == "fp16") return tensor_rate(Element::f16, info, out, stream);
  throw UnsupportedError("the GPU's limits in '" + precision +
                         "' cannot be measured; use fp32, tf32, bf16 or fp16");
}

}  // namespace

DeviceLimits measure_gpu_limits(int index, const std::string& precision) {
  CudaDevice device(index);
  const CudaDeviceInfo info = device.info();
  CudaStream stream(index);
  const cudaStream_t handle = stream.handle();
  // Copies beyond the second-level cache, but never more than a part of what is free.
  const std::size_t bytes =
      std::min(std::max(std::size_t{256} << 20, 8 * info.l2_cache), info.free_memory / 4) / 4096 * 4096;
  const Buffer from = device.allocate(bytes);
  const Buffer to = device.allocate(bytes);
  check_cuda(cudaMemsetAsync(from.data(), 0, bytes, handle), "measuring the GPU's limits");
  DeviceLimits limits;
  limits.flops_per_second = arithmetic_rate(precision, info, reinterpret_cast<float*>(to.data()), handle);
  const auto blocks = static_cast<unsigned>(info.multiprocessors * blocks_each);
  limits.bytes_per_second =
      2.0 * static_cast<double>(bytes) / best_seconds(handle, [&] {
        copy<<<blocks, threads, 0, handle>>>(reinterpret_cast<const uint4*>(from.data()),
                                             reinterpret_cast<uint4*>(to.data()), bytes / sizeof(uint4));
        check_launch("measuring the rate of memory");
      });
  const std::size_t uploaded = std::min(bytes, std::size_t{128} << 20);
  const Buffer host = device.allocate_pinned(uploaded);
  limits.copy_bytes_per_second =
      static_cast<double>(uploaded) / best_seconds(handle, [&] {
        check_cuda(cudaMemcpyAsync(to.data(), host.data(), uploaded, cudaMemcpyHostToDevice, handle),
                   "measuring the rate of copies to the device");
      });
  return limits;
}

}  // namespace halotile
