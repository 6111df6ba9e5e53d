// Lowering nodes to steps.
#include "pipeline/network/steps.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::network_of;
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

std::vector<std::size_t> numbers(std::size_t first, std::size_t last) {
  std::vector<std::size_t> all(last - first);
  std::iota(all.begin(), all.end(), first);
  return all;
}

// "conv1,relu1>relu1" for a step that computes both and writes the second's value.
std::string shown(const Network& n, const std::vector<Step>& steps) {
  const auto name = [&](std::size_t value) { return value == 0 ? "input" : n.nodes[value - 1].name; };
  std::string text;
  for (const Step& step : steps) {
    std::string nodes;
    for (const std::size_t node : step.nodes) nodes += (nodes.empty() ? "" : ",") + n.nodes[node].name;
    std::string inputs;
    for (const std::size_t v : step.inputs) inputs += (inputs.empty() ? "" : ",") + name(v);
    text += (text.empty() ? "" : " ") + inputs + ">" + (step.copy ? "copy" : nodes) + ">" + name(step.output);
    EXPECT_EQ(step.relu, step.nodes.size() > 1 && !step.lrn) << text;
  }
  return text;
}

std::string all(const Network& n, const Keep& kept = {}, bool lrn_and_pool = false) {
  return shown(n, lower(n, numbers(0, n.nodes.size()), kept, lrn_and_pool));
}

TEST(Lower, FusesReluIntoTheConvolutionBeforeIt) {
  EXPECT_EQ(all(net({"conv", "relu", "lrn", "relu", "conv"})),
            "input>conv1,relu1>relu1 relu1>lrn1>lrn1 lrn1>relu2>relu2 relu2>conv2>conv2");
}

TEST(Lower, FusesOneReluOnly) {
  EXPECT_EQ(all(net({"conv", "relu", "relu"})), "input>conv1,relu1>relu1 relu1>relu2>relu2");
}

TEST(Lower, FusesThroughDropout) {
  EXPECT_EQ(all(net({"fully_connected", "dropout", "relu", "dropout"})),
            "input>fully_connected1,relu1>relu1");
}

TEST(Lower, FusesLrnIntoTheMaxPoolBehindItWhereAsked) {
  const Network n = net({"conv", "lrn", "dropout", "max_pool", "lrn", "avg_pool", "max_pool"});
  EXPECT_EQ(all(n, {}, true),
            "input>conv1>conv1 conv1>lrn1,max_pool1>max_pool1 max_pool1>lrn2>lrn2 lrn2>avg_pool1>avg_pool1 "
            "avg_pool1>max_pool2>max_pool2");
  EXPECT_EQ(lower(n, numbers(0, 7), {}).size(), 6U);
  EXPECT_EQ(lower(n, numbers(0, 4), {2}, true).size(), 3U) << "the LRN's output is kept";
}

TEST(Lower, OnlyIdentityLayersAreACopy) {
  const Network n = net({"conv", "dropout", "dropout"});
  EXPECT_EQ(shown(n, lower(n, numbers(1, 3), {3})), "conv1>copy>dropout2");
  EXPECT_EQ(shown(n, lower(n, {}, {})), "");
}

TEST(Lower, FusesNothingBehindAKeptValue) {
  const Network n = net({"conv", "relu", "fully_connected", "relu"});
  EXPECT_EQ(all(n, {1}), "input>conv1>conv1 conv1>relu1>relu1 relu1>fully_connected1,relu2>relu2");
  EXPECT_EQ(all(n, {2, 4}), "input>conv1,relu1>relu1 relu1>fully_connected1,relu2>relu2");
}

TEST(Lower, FusesNothingBehindAValueKeptBeforeDropout) {
  const Network n = net({"fully_connected", "dropout", "relu"});
  EXPECT_EQ(all(n, {1}), "input>fully_connected1>fully_connected1 fully_connected1>relu1>relu1");
  EXPECT_EQ(all(n, {2}), all(n, {1}));
}

}  // namespace
}  // namespace halotile
