// Measured limits of the CPU: plausible numbers, and a clear word for what it cannot do.
#include "kernels/engines/ceilings.hpp"

#include <gtest/gtest.h>

#include "kernels/engines/engine.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

TEST(Ceilings, OfTheCpuArePlausible) {
  const DeviceLimits limits = measure_limits("cpu", "fp32", 1);
  EXPECT_GT(limits.flops_per_second, 1e9);
  EXPECT_LT(limits.flops_per_second, 1e12) << "of one core";
  EXPECT_GT(limits.bytes_per_second, 5e8);
  EXPECT_LT(limits.bytes_per_second, 1e12);
  EXPECT_EQ(limits.copy_bytes_per_second, 0);
  if (cpu_has_bf16()) {
    EXPECT_GT(measure_limits("cpu", "bf16", 1).flops_per_second, 1e9);
  }
}

TEST(Ceilings, UnknownPrecisionIsRefused) {
  EXPECT_THROW((void)measure_limits("cpu", "fp16", 1), UnsupportedError);
}

}  // namespace
}  // namespace halotile
