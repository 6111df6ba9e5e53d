// The rate of Hopper's tensor cores: y = y + a b again and again, with a and b in shared memory and y in
// registers, so that nothing but the products takes time.
//
// A block of two warpgroups on each multiprocessor; each multiplies its 64 rows of a by the 256 columns of b,
// 32 bytes along the sum an instruction, 128 bytes a pass. Elements are random in sign and mantissa: a card
// that multiplies zeros draws less power and runs faster than it can with data. For sm_90a alone.
// Sources: PTX ISA (wgmma); hopper.cuh.
#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/ceilings.cuh"
#include "kernels/engines/cuda/hopper.cuh"

namespace halotile::ceilings {
namespace {

using cuda::Element;

constexpr int warpgroups = 2;
constexpr int cols = 256;
constexpr int row_words = 32;
constexpr int passes = 4;  // over the 128 bytes, between two waits

// +-1.xx whether it is read as bf16, fp16 or the upper half of tf32.
__device__ std::uint32_t element_bits(std::uint32_t i) {
  std::uint32_t h = i * 2654435761U;
  h ^= h >> 15;
  h *= 2246822519U;
  return (h & 0x807f807fU) | 0x3f803f80U;
}

template <Element element>
__global__ void __launch_bounds__(128 * warpgroups) multiply(int rounds, float* out) {
  __shared__ alignas(1024) std::uint32_t a[warpgroups * 64 * row_words];
  __shared__ alignas(1024) std::uint32_t b[cols * row_words];
  for (unsigned i = threadIdx.x; i < warpgroups * 64 * row_words; i += blockDim.x) a[i] = element_bits(i);
  for (unsigned i = threadIdx.x; i < cols * row_words; i += blockDim.x) b[i] = element_bits(~i);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // the products read past the usual caches
  __syncthreads();
  const unsigned warpgroup = threadIdx.x / 128;
  const std::uint64_t da =
      hopper::descriptor<128>(hopper::shared_address(a) + warpgroup * 64 * row_words * 4);
  const std::uint64_t db = hopper::descriptor<128>(hopper::shared_address(b));
  float sum[cols / 2] = {};
  for (int round = 0; round < rounds; ++round) {
    hopper::hold(sum);
    hopper::begin_products();
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
#pragma unroll
      for (int unit = 0; unit < 4; ++unit) {
        hopper::Product<element, cols>::run(sum, da + 2 * unit, db + 2 * unit, 1);
      }
    }
    hopper::commit_products();
    hopper::wait_products<0>();
  }
  hopper::hold(sum);
  if (rounds < 0) *out = sum[0];
}

template <Element element>
void launch(int blocks, int rounds, float* out, cudaStream_t stream) {
  multiply<element><<<static_cast<unsigned>(blocks), 128 * warpgroups, 0, stream>>>(rounds, out);
  check_launch("measuring the rate of tensor cores");
}

}  // namespace

double launch_warpgroup_products(Element element, int blocks, int rounds, float* out, cudaStream_t stream) {
  switch (element) {
    case Element::bf16:
      launch<Element::bf16>(blocks, rounds, out, stream);
      break;
    case Element::f16:
      launch<Element::f16>(blocks, rounds, out, stream);
      break;
    case Element::tf32:
    case Element::f32:
      launch<Element::tf32>(blocks, rounds, out, stream);
      break;
  }
  const double depth = 32.0 / static_cast<double>(cuda::size_of(element));
  return 2.0 * 64 * cols * depth * 4 * passes * rounds * warpgroups * blocks;
}

}  // namespace halotile::ceilings
