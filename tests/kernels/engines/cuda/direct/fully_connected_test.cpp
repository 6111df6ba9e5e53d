// The direct fully connected layer against the reference engine, bit for bit: every variant, batch and block.
#include <gtest/gtest.h>

#include "kernels/engines/cpu/reference.hpp"
#include "kernels/engines/cuda/direct/fully_connected.hpp"
#include "kernels/engines/cuda/support.hpp"

namespace halotile::testing {
namespace {

struct FullyConnectedCase {
  std::string name;
  std::int64_t images = 1;
  std::int64_t in_features = 0;
  std::int64_t out_features = 0;
  Interval features = {};  // empty: all
  bool bias = true;
  bool relu = false;

  friend void PrintTo(const FullyConnectedCase& c, std::ostream* out) { *out << c.name; }
};

class FullyConnectedDirect : public ::testing::TestWithParam<FullyConnectedCase> {};

TEST_P(FullyConnectedDirect, EqualsReferenceInEveryVariantAndLayout) {
  HALOTILE_NEEDS_GPU();
  const FullyConnectedCase& c = GetParam();
  const auto weight = random_values(c.in_features * c.out_features, 1);
  const auto bias = random_values(c.out_features, 2);
  FullyConnected layer{c.in_features, c.out_features, c.relu, Parameter(weight), {}};
  if (c.bias) layer.bias = Parameter(bias);
  const Interval features = c.features.empty() ? Interval{0, c.out_features} : c.features;

  const Buffer device_weight = device().copy_of(weight.data(), weight.size() * sizeof(float));
  const Buffer filters = device().allocate(direct::fully_connected_filter_floats(layer) * sizeof(float));
  device().poison(filters, 0);
  direct::fully_connected_filters(layer, reinterpret_cast<const float*>(device_weight.data()),
                                  reinterpret_cast<float*>(filters.data()), stream().handle());
  stream().synchronize();
  const Buffer device_bias = device().copy_of(bias.data(), bias.size() * sizeof(float));
  const auto constant = direct::fully_connected_constants().reserve(device().index(), bias);

  for (const Layout layout : {Layout::dense, Layout::odd}) {
    TwinMap in(c.images, c.in_features, Rect::whole({1, 1}), {1, 1}, layout);
    TwinMap out(c.images, features.size(), Rect::whole({1, 1}), {1, 1}, layout);
    in.randomize(3);
    reference::fully_connected(layer, features, in.host(), out.host());
    const auto variants = direct::fully_connected_variants(layer, c.images, features.size());
    for (std::size_t n = 0; n < variants.size(); ++n) {
      const Buffer scratch = device().allocate(variants[n].scratch_bytes);
      device().poison(scratch, 0);
      direct::BiasPlace place;
      if (c.bias) {
        place.global = reinterpret_cast<const float*>(device_bias.data());
        if (n % 2 == 0 && constant) place = {constant->offset(), nullptr};
      }
      out.poison_device();
      direct::fully_connected(layer, features, variants[n], reinterpret_cast<const float*>(filters.data()),
                              place, in.on_device(), out.on_device(), {scratch.data(), scratch.bytes()},
                              stream().handle());
      stream().synchronize();
      EXPECT_TRUE(out.same_everywhere()) << to_string(variants[n]) << ", " << to_string(layout);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Small, FullyConnectedDirect,
    ::testing::Values(FullyConnectedCase{"One", 1, 1, 1}, FullyConnectedCase{"LessThanASegment", 3, 100, 20},
                      FullyConnectedCase{"OneSegment", 2, 128, 36, {}, true, true},
                      FullyConnectedCase{"JustBeyondASegment", 5, 129, 10},
                      FullyConnectedCase{"OddFeatures", 9, 391, 67, {}, false},
                      FullyConnectedCase{"Block", 3, 260, 50, {17, 38}},
                      FullyConnectedCase{"AlignedBlock", 33, 260, 50, {16, 50}, true, true},
                      FullyConnectedCase{"LastFeature", 2, 64, 50, {49, 50}},
                      FullyConnectedCase{"ManyImages", 70, 300, 40, {}, true, true},
                      FullyConnectedCase{"TwoPasses", 131, 140, 9}),
    [](const auto& instance) { return instance.param.name; });

INSTANTIATE_TEST_SUITE_P(Large, FullyConnectedDirect,
                         ::testing::Values(FullyConnectedCase{"Batch1", 1, 9216, 500, {}, true, true},
                                           FullyConnectedCase{"Batch2", 2, 4096, 500},
                                           FullyConnectedCase{"Batch3", 3, 4096, 300},
                                           FullyConnectedCase{"Batch32", 32, 9216, 260, {}, true, true},
                                           FullyConnectedCase{"Batch33", 33, 4096, 300},
                                           FullyConnectedCase{"Batch100", 100, 4096, 200}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace halotile::testing
