// What Hopper's own instructions need: barriers in shared memory that count bytes, the bulk copy engine, and
// warpgroup matrix products. One function an instruction; for device code compiled for sm_90a.
// Source: the PTX ISA manual (mbarrier, cp.async.bulk.tensor with im2col, wgmma).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/engines/cuda/matrix_element.hpp"
#include "kernels/engines/cuda/matrix_instructions.cuh"

namespace halotile::hopper {

using cuda::shared_address;

// ---- barriers ----

__device__ __forceinline__ void init_barrier(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Barriers become known to the copy engine.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void arrive_if(bool condition, std::uint32_t barrier) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.u32 p, %1, 0;\n"
      "@p mbarrier.arrive.shared::cta.b64 _, [%0];\n"
      "}" ::"r"(barrier),
      "r"(static_cast<std::uint32_t>(condition))
      : "memory");
}
__device__ __forceinline__ void arrive_expecting(std::uint32_t barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void wait(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra through;\n"
      "bra again;\n"
      "through:\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// ---- threads ----

// The warp's number in a block of one dimension; the compiler knows it as the same for all lanes.
__device__ __forceinline__ int warp_of_block() {
  return __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x / 32), 0);
}
// True for one lane of a whole warp. Behind a test of anything else the compiler wraps each instruction that
// takes uniform registers into a loop over lanes.
__device__ __forceinline__ bool elect() {
  std::uint32_t chosen;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(chosen));
  return chosen != 0;
}

// ---- copies into shared memory ----

// Bytes one after the other: 16-byte aligned, a multiple of 16.
__device__ __forceinline__ void copy_bytes(std::uint32_t to, const void* from, std::uint32_t bytes,
                                           std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// How long the L2 cache keeps what is copied. That which is read once makes room first.
__device__ __forceinline__ std::uint64_t cache_policy(bool read_once) {
  std::uint64_t once;
  std::uint64_t again;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(once));
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(again));
  return read_once ? once : again;
}
// As above.
__device__ __forceinline__ void copy_bytes(std::uint32_t to, const void* from, std::uint32_t bytes,
                                           std::uint32_t barrier, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
      : "memory");
}

// Where a window begins, and which of its taps is wanted.
struct Pixel {
  int channel;
  int col;
  int row;
  int image;
  std::uint16_t tap_col;
  std::uint16_t tap_row;
};

// One tap of consecutive windows, in the order of images, rows, columns; as many as the map says.
__device__ __forceinline__ void copy_pixels(std::uint32_t to, const CUtensorMap* map, const Pixel& p,
                                            std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(to),
      "l"(map), "r"(barrier), "r"(p.channel), "r"(p.col), "r"(p.row), "r"(p.image), "h"(p.tap_col),
      "h"(p.tap_row)
      : "memory");
}

// A map that lies in global memory may have been written since the engine last read it.
__device__ __forceinline__ void refresh_map(const CUtensorMap* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}

// ---- matrix products ----

// Rows of 128, 64 or 32 bytes that follow each other in shared memory, their 16-byte units exchanged (see
// matrix_filters). 32 bytes further along the rows: + 2.
template <int row_bytes>
__device__ __forceinline__ std::uint64_t descriptor(std::uint32_t address) {
  constexpr std::uint64_t layout = row_bytes == 128 ? 1 : row_bytes == 64 ? 2 : 3;
  constexpr std::uint64_t eight_rows = row_bytes * 8 / 16;
  return (layout << 62) | (eight_rows << 32) | (std::uint64_t{1} << 16) | ((address & 0x3ffffU) >> 4);
}

// Rows without exchanged units: unit u of 16 bytes of row r lies at address + u * plane_bytes + 16 r.
__device__ __forceinline__ std::uint64_t descriptor_of_planes(std::uint32_t address, int plane_bytes) {
  constexpr std::uint64_t eight_rows = 8;
  return (eight_rows << 32) | (static_cast<std::uint64_t>(plane_bytes / 16) << 16) |
         ((address & 0x3ffffU) >> 4);
}

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int pending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// sum = (add ? sum : 0) + a b of a warpgroup: 64 rows, `cols` columns, 32 bytes along the sum. Of the sum a
// thread holds rows 16 (warp % 4) + lane / 4 + 8 h and columns 8 j + 2 (lane % 4) + e in sum[4 j + 2 h + e].
template <cuda::Element element, int cols>
struct Product;

#define HALOTILE_N8(a, b, c, d, e, f, g, h) \
  "%" #a ", %" #b ", %" #c ", %" #d ", %" #e ", %" #f ", %" #g ", %" #h
#define HALOTILE_N16 HALOTILE_N8(0, 1, 2, 3, 4, 5, 6, 7) ", " HALOTILE_N8(8, 9, 10, 11, 12, 13, 14, 15)
#define HALOTILE_N32 \
  HALOTILE_N16       \
  ", " HALOTILE_N8(16, 17, 18, 19, 20, 21, 22, 23) ", " HALOTILE_N8(24, 25, 26, 27, 28, 29, 30, 31)
#define HALOTILE_N48 \
  HALOTILE_N32       \
  ", " HALOTILE_N8(32, 33, 34, 35, 36, 37, 38, 39) ", " HALOTILE_N8(40, 41, 42, 43, 44, 45, 46, 47)
#define HALOTILE_N64 \
  HALOTILE_N48       \
  ", " HALOTILE_N8(48, 49, 50, 51, 52, 53, 54, 55) ", " HALOTILE_N8(56, 57, 58, 59, 60, 61, 62, 63)
#define HALOTILE_N96                                                               \
  HALOTILE_N64 ", " HALOTILE_N8(64, 65, 66, 67, 68, 69, 70, 71) ", " HALOTILE_N8(  \
      72, 73, 74, 75, 76, 77, 78, 79) ", " HALOTILE_N8(80, 81, 82, 83, 84, 85, 86, \
                                                       87) ", " HALOTILE_N8(88, 89, 90, 91, 92, 93, 94, 95)
#define HALOTILE_N128                                                                                    \
  HALOTILE_N96 ", " HALOTILE_N8(96, 97, 98, 99, 100, 101, 102, 103) ", " HALOTILE_N8(                    \
      104, 105, 106, 107, 108, 109, 110, 111) ", " HALOTILE_N8(112, 113, 114, 115, 116, 117, 118,        \
                                                               119) ", " HALOTILE_N8(120, 121, 122, 123, \
                                                                                     124, 125, 126, 127)

#define HALOTILE_D8(i)                                                                        \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define HALOTILE_D16 HALOTILE_D8(0), HALOTILE_D8(8)
#define HALOTILE_D32 HALOTILE_D16, HALOTILE_D8(16), HALOTILE_D8(24)
#define HALOTILE_D48 HALOTILE_D32, HALOTILE_D8(32), HALOTILE_D8(40)
#define HALOTILE_D64 HALOTILE_D48, HALOTILE_D8(48), HALOTILE_D8(56)
#define HALOTILE_D96 HALOTILE_D64, HALOTILE_D8(64), HALOTILE_D8(72), HALOTILE_D8(80), HALOTILE_D8(88)
#define HALOTILE_D128 HALOTILE_D96, HALOTILE_D8(96), HALOTILE_D8(104), HALOTILE_D8(112), HALOTILE_D8(120)

// a, b, p: numbers of the operands behind the sums.
#define HALOTILE_PRODUCT(element, instruction, flags, cols, sums, a, b, p)                           \
  template <>                                                                                        \
  struct Product<cuda::Element::element, cols> {                                                     \
    static __device__ __forceinline__ void run(float (&d)[sums], std::uint64_t da, std::uint64_t db, \
                                               int add) {                                            \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #p                                           \
                   ", 0;\n"                                                                          \
                   "wgmma.mma_async.sync.aligned.m64n" #cols instruction " {" HALOTILE_N##sums       \
                   "}, %" #a ", %" #b ", p, 1, 1" flags ";\n}"                                       \
                   : HALOTILE_D##sums                                                                \
                   : "l"(da), "l"(db), "r"(add));                                                    \
    }                                                                                                \
  };
#define HALOTILE_PRODUCTS(element, instruction, flags)               \
  HALOTILE_PRODUCT(element, instruction, flags, 32, 16, 16, 17, 18)  \
  HALOTILE_PRODUCT(element, instruction, flags, 64, 32, 32, 33, 34)  \
  HALOTILE_PRODUCT(element, instruction, flags, 96, 48, 48, 49, 50)  \
  HALOTILE_PRODUCT(element, instruction, flags, 128, 64, 64, 65, 66) \
  HALOTILE_PRODUCT(element, instruction, flags, 192, 96, 96, 97, 98) \
  HALOTILE_PRODUCT(element, instruction, flags, 256, 128, 128, 129, 130)

HALOTILE_PRODUCTS(bf16, "k16.f32.bf16.bf16", ", 0, 0")
HALOTILE_PRODUCTS(f16, "k16.f32.f16.f16", ", 0, 0")
HALOTILE_PRODUCTS(tf32, "k8.f32.tf32.tf32", "")

// The compiler may not move uses of the sums across.
template <int count>
__device__ __forceinline__ void hold(float (&d)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

}  // namespace halotile::hopper
