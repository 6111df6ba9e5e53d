// Every kernel can be asked for, and none spills or outgrows the GPU.
#include "kernels/engines/cuda/kernel_resources.hpp"

#include <gtest/gtest.h>

#include <set>

#include "kernels/engines/cuda/support.hpp"

namespace halotile::testing {
namespace {

TEST(SmallKernelResources, OfEveryFamily) {
  HALOTILE_NEEDS_GPU();
  device().make_current();
  const std::size_t shared_limit = device().info().shared_per_block;
  std::set<std::string> families;
  std::set<std::string> names;
  for (const KernelResources& k : kernel_resources()) {
    families.insert(k.family);
    EXPECT_TRUE(names.insert(k.family + " " + k.name).second) << k.family << " " << k.name << " stands twice";
    EXPECT_GT(k.registers, 0) << k.name;
    EXPECT_GT(k.threads, 0) << k.name;
    EXPECT_LE(k.threads, k.max_threads) << k.name;
    EXPECT_LE(k.static_shared + k.dynamic_shared, shared_limit) << k.name;
    EXPECT_GT(k.blocks_per_multiprocessor, 0) << k.name;
    if (k.family == "conv" || k.family == "fully_connected") {
      EXPECT_GE(k.constant, 65536U) << k.name << " reads biases from the module's constant memory";
    }
  }
  EXPECT_EQ(families, (std::set<std::string>{"binary", "conv", "fully_connected", "lrn", "lrn_pool",
                                             "pointwise", "pool", "softmax"}));
}

}  // namespace
}  // namespace halotile::testing
