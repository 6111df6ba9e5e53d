// Which nodes of a network are a stage.
#include "pipeline/network/stages.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::network_of;

// Layers by their types: conv and fully connected ones of 4 channels, pools 1x1.
Network layers_of_types(const std::vector<std::string>& types) {
  std::string model = "input: {channels: 4, height: 6, width: 6}\nlayers:\n";
  for (const std::string& type : types) {
    model += "  - {type: " + type;
    if (type == "conv") model += ", out_channels: 4, kernel: 1";
    if (type == "max_pool" || type == "avg_pool") model += ", kernel: 1";
    if (type == "adaptive_avg_pool") model += ", output: 6";
    if (type == "fully_connected") model += ", out_features: 4";
    model += "}\n";
  }
  return network_of(model);
}

NodeGroups ranges(const Network& network, const std::vector<std::size_t>& firsts) {
  return groups_from(network, firsts);
}

TEST(PerConv, PoolsAndConvolutionsBeginStages) {
  const Network n = layers_of_types({"relu", "conv", "relu", "lrn", "max_pool", "dropout", "avg_pool",
                                     "adaptive_avg_pool", "conv", "flatten", "fully_connected"});
  EXPECT_EQ(per_conv_groups(n), ranges(n, {0, 1, 4, 6, 7, 8}));
}

TEST(PerConv, LrnGoesWithTheMaxPoolBehindItWhereAsked) {
  const Network n =
      layers_of_types({"conv", "relu", "lrn", "dropout", "max_pool", "conv", "lrn", "avg_pool", "lrn"});
  EXPECT_EQ(lrn_with_pools(n, per_conv_groups(n)), ranges(n, {0, 2, 5, 7}));
  EXPECT_EQ(lrn_with_pools(n, fused_groups(n)), fused_groups(n));
  EXPECT_EQ(lrn_with_pools(n, ranges(n, {0, 2, 4})), ranges(n, {0, 2, 4})) << "nothing but LRN";
}

TEST(Fused, IsOneStageOrNone) {
  EXPECT_EQ(fused_groups(layers_of_types({"conv", "relu", "max_pool", "flatten"})), (NodeGroups{{0, 1, 2}}));
  EXPECT_EQ(fused_groups(layers_of_types({"flatten", "fully_connected"})), NodeGroups{});
  EXPECT_EQ(per_conv_groups(layers_of_types({"fully_connected"})), NodeGroups{});
}

TEST(SplitBehind, EndsAStageBehindEachNode) {
  const NodeGroups one{{0, 1, 2, 3, 4, 5}};
  EXPECT_EQ(split_behind(one, {2}), (NodeGroups{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(split_behind(one, {0, 4, 5}), (NodeGroups{{0}, {1, 2, 3, 4}, {5}}));
  EXPECT_EQ(split_behind(one, {5}), one) << "a stage ends there already";
  EXPECT_EQ(split_behind(one, {6, 100}), one) << "not spatial";
  EXPECT_EQ(split_behind({{0, 1}, {2, 3}}, {1, 2}), (NodeGroups{{0, 1}, {2}, {3}}));
}

}  // namespace
}  // namespace halotile
