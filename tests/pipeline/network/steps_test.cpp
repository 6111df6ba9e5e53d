// Lowering layers to steps, and layers to stages.
#include "pipeline/network/steps.hpp"

#include <gtest/gtest.h>

#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::network_of;
using Steps = std::vector<Step>;
using Stages = std::vector<StageRange>;
using Keep = std::set<std::size_t>;

// Layers by their types: conv and fully connected ones of 4 channels, pools 1x1.
Network net(const std::vector<std::string>& types) {
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

Steps all(const Network& n, const Keep& keep = {}) { return lower(n, 0, n.layers.size(), keep); }

TEST(Lower, FusesReluIntoTheConvolutionBeforeIt) {
  const Network n = net({"conv", "relu", "lrn", "relu", "conv"});
  EXPECT_EQ(all(n), (Steps{{0, 0, 2, true, false, {}},
                           {2, 2, 3, false, false, {}},
                           {3, 3, 4, false, false, {}},
                           {4, 4, 5, false, false, {}}}));
}

TEST(Lower, FusesOneReluOnly) {
  EXPECT_EQ(all(net({"conv", "relu", "relu"})),
            (Steps{{0, 0, 2, true, false, {}}, {2, 2, 3, false, false, {}}}));
}

TEST(Lower, FusesThroughDropout) {
  EXPECT_EQ(all(net({"fully_connected", "dropout", "relu", "dropout"})), (Steps{{0, 0, 4, true, false, {}}}));
}

TEST(Lower, FusesLrnIntoTheMaxPoolBehindItWhereAsked) {
  const Network n = net({"conv", "lrn", "dropout", "max_pool", "lrn", "avg_pool", "max_pool"});
  EXPECT_EQ(all(n).size(), 6U);
  EXPECT_EQ(lower(n, 0, 7, {}, true), (Steps{{0, 0, 1, false, false, {}},
                                             {3, 1, 4, false, false, 1},
                                             {4, 4, 5, false, false, {}},
                                             {5, 5, 6, false, false, {}},
                                             {6, 6, 7, false, false, {}}}));
  EXPECT_EQ(lower(n, 0, 4, {1}, true).size(), 3U) << "the LRN's output is kept";
}

TEST(Stages, LrnGoesWithTheMaxPoolBehindItWhereAsked) {
  const Network n = net({"conv", "relu", "lrn", "dropout", "max_pool", "conv", "lrn", "avg_pool", "lrn"});
  EXPECT_EQ(lrn_with_pools(n, per_conv_stages(n)), (Stages{{0, 2}, {2, 5}, {5, 7}, {7, 9}}));
  EXPECT_EQ(lrn_with_pools(n, {{0, 9}}), (Stages{{0, 9}}));
  EXPECT_EQ(lrn_with_pools(n, {{0, 2}, {2, 4}, {4, 9}}), (Stages{{0, 2}, {2, 4}, {4, 9}}))
      << "nothing but LRN";
}

TEST(Lower, IdentityLayersBelongToTheStepBeforeThem) {
  const Network n = net({"dropout", "dropout", "conv", "dropout", "lrn", "dropout"});
  EXPECT_EQ(all(n), (Steps{{2, 0, 4, false, false, {}}, {4, 4, 6, false, false, {}}}));
  EXPECT_EQ(value_end(n, all(n)[0]), 3U);
  EXPECT_EQ(value_end(n, all(n)[1]), 5U);
}

TEST(Lower, OnlyIdentityLayersAreACopy) {
  const Network n = net({"conv", "dropout", "dropout"});
  EXPECT_EQ(lower(n, 1, 3, {}), (Steps{{2, 1, 3, false, true, {}}}));
  EXPECT_EQ(lower(n, 1, 1, {}), Steps{});
}

TEST(Lower, FusesNothingBehindAKeptLayer) {
  const Network n = net({"conv", "relu", "fully_connected", "relu"});
  EXPECT_EQ(all(n, {0}),
            (Steps{{0, 0, 1, false, false, {}}, {1, 1, 2, false, false, {}}, {2, 2, 4, true, false, {}}}));
  EXPECT_EQ(all(n, {1, 3}), (Steps{{0, 0, 2, true, false, {}}, {2, 2, 4, true, false, {}}}));
}

TEST(Lower, FusesNothingBehindALayerKeptBeforeDropout) {
  const Network n = net({"fully_connected", "dropout", "relu"});
  EXPECT_EQ(all(n, {0}), (Steps{{0, 0, 2, false, false, {}}, {2, 2, 3, false, false, {}}}));
  EXPECT_EQ(all(n, {1}), (Steps{{0, 0, 2, false, false, {}}, {2, 2, 3, false, false, {}}}));
}

TEST(PerConv, PoolsAndConvolutionsBeginStages) {
  const Network n = net({"relu", "conv", "relu", "lrn", "max_pool", "dropout", "avg_pool",
                         "adaptive_avg_pool", "conv", "flatten", "fully_connected"});
  EXPECT_EQ(per_conv_stages(n), (Stages{{0, 1}, {1, 4}, {4, 6}, {6, 7}, {7, 8}, {8, 9}}));
}

TEST(Fused, IsOneStageOrNone) {
  EXPECT_EQ(fused_stages(net({"conv", "relu", "max_pool", "flatten"})), (Stages{{0, 3}}));
  EXPECT_EQ(fused_stages(net({"flatten", "fully_connected"})), Stages{});
  EXPECT_EQ(per_conv_stages(net({"fully_connected"})), Stages{});
}

TEST(SplitBehind, EndsAStageBehindEachLayer) {
  const Stages one{{0, 6}};
  EXPECT_EQ(split_behind(one, {2}), (Stages{{0, 3}, {3, 6}}));
  EXPECT_EQ(split_behind(one, {0, 4, 5}), (Stages{{0, 1}, {1, 5}, {5, 6}}));
  EXPECT_EQ(split_behind(one, {4, 0, 2}), (Stages{{0, 1}, {1, 3}, {3, 5}, {5, 6}}));
  EXPECT_EQ(split_behind(one, {5}), one) << "a stage ends there already";
  EXPECT_EQ(split_behind(one, {6, 100}), one) << "not spatial";
  EXPECT_EQ(split_behind({{0, 2}, {2, 4}}, {1, 2}), (Stages{{0, 2}, {2, 3}, {3, 4}}));
}

}  // namespace
}  // namespace halotile
