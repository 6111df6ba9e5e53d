// The instructions of tensor cores, as every card from Ampere on has them, and asynchronous copies.
// Source: PTX ISA, "Matrix multiply-accumulate operation using mma instruction", "ldmatrix", "cp.async".
//
// A fragment of 32 bytes of k: thread t of a warp holds, of an 8 x 16-byte matrix, bytes 4 (t % 4) .. + 3 of
// row t / 4. Whether these are two 16-bit elements or one of tf32 makes no difference to where they lie.
#pragma once

#include <cstdint>

#include "kernels/engines/cuda/matrix_element.hpp"

namespace halotile::cuda {

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// Copies 16 bytes to shared memory behind the thread's back; with `bytes` 0 it writes zeros and reads
/// nothing, so that `from` may point anywhere.
__device__ __forceinline__ void copy_unit(unsigned to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `pending` committed groups of this thread are under way.
template <int pending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// Four matrices of 8 rows x 16 bytes; thread t gives the address of row t % 8 of matrix t / 8.
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

/// f32 to tf32, to nearest, ties away from zero: products would drop the bits behind.
__device__ __forceinline__ void round_to_tf32(unsigned (&values)[4]) {
#pragma unroll
  for (unsigned& value : values) {
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(value) : "f"(__uint_as_float(value)));
  }
}

/// sum += a b: 16 x (32 bytes of k) times (32 bytes of k) x 8. `a`: rows 0-7 and 8-15 of the first 16 bytes,
/// then of the others; b0, b1: columns' first and other 16 bytes. Thread t's sums: row t / 4, columns
/// 2 (t % 4) and the next, then row t / 4 + 8.
template <Element element>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                             unsigned b1) {
  if constexpr (element == Element::bf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else if constexpr (element == Element::f16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace halotile::cuda
