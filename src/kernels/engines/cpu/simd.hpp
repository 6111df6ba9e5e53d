// Function multiversioning: one source compiled for several instruction sets, chosen when the program loads.
//
// How to use it: write the body as a HALOTILE_INLINE template of plain loops over channels, and call it from
// a non-template function marked HALOTILE_MULTIVERSION. The body is then inlined into, and vectorized for,
// every target. std::fma becomes one instruction where the target has it; the `default` target calls the C
// library, whose result is the same (one rounding), only slower. So bits depend neither on the target nor on
// the lane: every lane does the same IEEE operations, contraction is off, and no sum is reordered.
//
// Loops with std::sqrt vectorize only under -fno-math-errno, which changes no result.
#pragma once

// Sanitizers start after ifuncs are resolved: such builds define HALOTILE_NO_MULTIVERSIONING and pass
// -mavx2 -mfma.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(HALOTILE_NO_MULTIVERSIONING)
#define HALOTILE_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HALOTILE_MULTIVERSION
#endif

#define HALOTILE_INLINE inline __attribute__((always_inline))
