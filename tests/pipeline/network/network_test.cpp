// Model files: shapes, defaults, known networks, and one clear line for each thing that is wrong.
#include "pipeline/network/network.hpp"

#include <gtest/gtest.h>

#include "patching/error.hpp"
#include "pipeline/network/op_table.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using support::message_of;
using support::network_of;
using support::TempFolder;

const fs::path models = fs::path(HALOTILE_SOURCE_DIR) / "configs" / "models";
const std::string input_8 = "input: {channels: 4, height: 8, width: 8}\nlayers:\n";

struct KnownModel {
  std::string name;
  std::vector<std::pair<std::string, MapShape>> shapes;  // of some layers' outputs
  std::int64_t parameters = 0;
  double multiply_adds = 0;  // of convolutions and fully connected layers, one image
};

std::ostream& operator<<(std::ostream& out, const KnownModel& c) { return out << c.name; }

class PublishedModel : public testing::TestWithParam<KnownModel> {};

TEST_P(PublishedModel, HasItsPublishedShapes) {
  const KnownModel& known = GetParam();
  const Network network = read_network(models / (known.name + ".yaml"), std::nullopt, "");
  EXPECT_EQ(network.name, known.name);
  for (const auto& [layer, shape] : known.shapes)
    EXPECT_EQ(network.out(network.index_of(layer)).shape, shape) << layer;
  std::int64_t parameters = 0;
  double multiply_adds = 0;
  for (const Node& node : network.nodes) {
    parameters += parameter_count(node);
    if (node.is<Conv2d>() || node.is<FullyConnected>()) multiply_adds += node.flops / 2;
  }
  EXPECT_EQ(parameters, known.parameters);
  EXPECT_DOUBLE_EQ(multiply_adds, known.multiply_adds);
}

INSTANTIATE_TEST_SUITE_P(
    Known, PublishedModel,
    testing::Values(KnownModel{"alexnet",
                               {{"conv1", {96, {55, 55}}},
                                {"pool1", {96, {27, 27}}},
                                {"conv2", {256, {27, 27}}},
                                {"pool2", {256, {13, 13}}},
                                {"conv3", {384, {13, 13}}},
                                {"conv4", {384, {13, 13}}},
                                {"conv5", {256, {13, 13}}},
                                {"pool5", {256, {6, 6}}},
                                {"flatten1", {9216, {1, 1}}},
                                {"fc6", {4096, {1, 1}}},
                                {"prob", {1000, {1, 1}}}},
                               60965224,
                               724406816},
                    KnownModel{"alexnet_single_tower",
                               {{"conv1", {96, {55, 55}}},
                                {"pool2", {256, {13, 13}}},
                                {"pool5", {256, {6, 6}}},
                                {"fc8", {1000, {1, 1}}}},
                               62378344,
                               1135256096},
                    KnownModel{"alexnet_torchvision",
                               {{"conv1", {64, {55, 55}}},
                                {"conv2", {192, {27, 27}}},
                                {"avgpool", {256, {6, 6}}},
                                {"fc8", {1000, {1, 1}}}},
                               61100840,
                               714188480},
                    KnownModel{"vgg16",
                               {{"conv1_2", {64, {224, 224}}},
                                {"pool1", {64, {112, 112}}},
                                {"conv3_3", {256, {56, 56}}},
                                {"pool4", {512, {14, 14}}},
                                {"pool5", {512, {7, 7}}},
                                {"avgpool", {512, {7, 7}}},
                                {"fc6", {4096, {1, 1}}}},
                               138357544,
                               15470264320},
                    KnownModel{"vit_patch_embed", {{"patch_embed", {768, {14, 14}}}}, 590592, 115605504},
                    KnownModel{"digits",
                               {{"conv1", {24, {32, 32}}}, {"pool3", {64, {4, 4}}}, {"fc5", {10, {1, 1}}}},
                               167258,
                               5072128}),
    [](const testing::TestParamInfo<KnownModel>& c) { return c.param.name; });

TEST(Network, EveryShippedModelIsTested) {
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(models))
    files += entry.path().extension() == ".yaml" ? 1 : 0;
  EXPECT_EQ(files, 6U) << "a model was added or removed: give it its known numbers above";
}

TEST(Network, DefaultsArePyTorchs) {
  const Network n =
      network_of(input_8 +
                 "  - {type: conv, out_channels: 6, kernel: 3}\n  - {type: max_pool, kernel: 2}\n"
                 "  - {type: avg_pool, kernel: [2, 3]}\n  - {type: lrn}\n");
  EXPECT_EQ(n.name, "model");
  EXPECT_EQ(n.nodes[0].as<Conv2d>()->window, (Window{{3, 3}, {1, 1}, {0, 0}, {1, 1}, false, std::nullopt}));
  EXPECT_EQ(n.nodes[0].as<Conv2d>()->groups, 1);
  EXPECT_TRUE(n.nodes[0].has_bias);
  EXPECT_FALSE(n.nodes[0].as<Conv2d>()->relu);
  EXPECT_EQ(n.nodes[1].as<Pool2d>()->window.stride, (Extent2{2, 2}));
  EXPECT_EQ(n.nodes[2].as<Pool2d>()->window.stride, (Extent2{2, 3}));
  EXPECT_TRUE(n.nodes[2].as<Pool2d>()->count_include_pad);
  EXPECT_EQ(n.out(2).shape, (MapShape{6, {1, 1}}));
  EXPECT_EQ(n.nodes[3].as<Lrn>()->size, 5);
  EXPECT_EQ(n.nodes[3].as<Lrn>()->k, 1.0F);
  EXPECT_EQ(network_of(input_8 + "  - {type: lrn, k: 0}\n").nodes[0].as<Lrn>()->k, 0.0F);
  EXPECT_EQ(n.nodes[0].name, "conv1");
  EXPECT_EQ(n.nodes[1].name, "max_pool1");
}

TEST(Network, AxesAreIndependent) {
  const Network n = network_of(
      "input: {channels: 2, height: 20, width: 9}\nlayers:\n"
      "  - {type: conv, out_channels: 4, kernel: [5, 1], stride: [3, 2], padding: [1, 0], dilation: [2, 1], "
      "groups: 2}\n"
      "  - {type: adaptive_avg_pool, output: [2, 7]}\n");
  EXPECT_EQ(n.out(0).shape, (MapShape{4, {5, 5}}));
  EXPECT_EQ(n.out(1).shape, (MapShape{4, {2, 7}}));
  EXPECT_DOUBLE_EQ(n.nodes[0].flops, 2.0 * 5 * 25 * 4);
}

TEST(Network, FlattenMovesNothing) {
  const Network n = network_of(input_8 +
                               "  - {type: relu}\n  - {type: flatten}\n  - {type: dropout}\n"
                               "  - {type: fully_connected, out_features: 3}\n");
  EXPECT_EQ(n.spatial_nodes(), 1U);
  EXPECT_EQ(n.out(1).shape, (MapShape{256, {1, 1}}));
  EXPECT_EQ(n.out(1).memory, (MapShape{4, {8, 8}}));
  EXPECT_EQ(n.out(2).memory, (MapShape{4, {8, 8}}));
  EXPECT_EQ(n.out(3).memory, (MapShape{3, {1, 1}}));
  EXPECT_EQ(n.nodes[3].as<FullyConnected>()->in_features, 256);
}

TEST(Network, LogitsAreBeforeSoftmaxAndDropout) {
  EXPECT_EQ(network_of(input_8 + "  - {type: relu}\n  - {type: softmax}\n  - {type: dropout}\n").logits(),
            0U);
  EXPECT_EQ(network_of(input_8 + "  - {type: softmax}\n").logits(), 0U);
  const Network alexnet = read_network(models / "alexnet.yaml", std::nullopt, "");
  EXPECT_EQ(alexnet.nodes[alexnet.logits()].name, "fc8");
}

TEST(Network, UntilCutsBehindALayer) {
  const Network n = read_network(models / "alexnet.yaml", Extent2{300, 400}, "pool5");
  EXPECT_EQ(n.nodes.back().name, "pool5");
  EXPECT_EQ(n.input(), (MapShape{3, {300, 400}}));
  EXPECT_EQ(n.out(0).shape, (MapShape{96, {73, 98}}));
  EXPECT_EQ(
      message_of<ConfigError>("", [] { (void)read_network(models / "alexnet.yaml", std::nullopt, "pol5"); }),
      "network alexnet has no layer 'pol5'; did you mean 'pool5'?");
  const std::string far =
      message_of<ConfigError>("", [] { (void)read_network(models / "alexnet.yaml", std::nullopt, "zebra"); });
  EXPECT_EQ(far.find("network alexnet has no layer 'zebra'; its layers are conv1, relu1, "), 0U) << far;
}

struct NetworkCase {
  std::string name;
  std::string yaml;
  std::string message;  // whole, or where it begins when it ends in "..."
};

std::ostream& operator<<(std::ostream& out, const NetworkCase& c) { return out << c.name; }

class RefusedModel : public testing::TestWithParam<NetworkCase> {};

TEST_P(RefusedModel, IsOneLineWithPlaceAndRemedy) {
  const TempFolder folder;
  const fs::path file = folder.write("m.yaml", GetParam().yaml);
  std::string message =
      message_of<ConfigError>(folder.path(), [&] { (void)read_network(file, std::nullopt, ""); });
  std::string expected = GetParam().message;
  if (expected.ends_with("...")) {
    expected.resize(expected.size() - 3);
    message.resize(std::min(message.size(), expected.size()));
  }
  EXPECT_EQ(message, expected);
}

const std::string from_1 = "; a whole number from 1 to 2147483647 is needed";
const std::string from_0 = "; a whole number from 0 to 2147483647 is needed";
std::string all_types() {
  std::string types;
  for (const std::string& type : op_types()) types += (types.empty() ? "" : ", ") + type;
  return types;
}

constexpr const char* huge_input = "input: {channels: 2147483647, height: 1, width: 1}\nlayers:\n";

INSTANTIATE_TEST_SUITE_P(
    Files, RefusedModel,
    testing::Values(
        NetworkCase{"holds_nothing", "", "m.yaml: is empty; a mapping (key: value lines) is needed"},
        NetworkCase{"no_layers_key", "input: {channels: 1, height: 2, width: 3}",
                    "m.yaml:1:1: lacks the key 'layers', ..."},
        NetworkCase{"no_layers", "input: {channels: 1, height: 2, width: 3}\nlayers: []",
                    "m.yaml:2:9: layers: holds no layers; a network needs at least one"},
        NetworkCase{"layers_is_a_mapping", "input: {channels: 1, height: 2, width: 3}\nlayers: {type: relu}",
                    "m.yaml:2:9: layers: is a mapping; a list is needed"},
        NetworkCase{"layer_is_a_word", input_8 + "  - relu",
                    "m.yaml:3:5: layers[0]: is 'relu'; a mapping (key: value) is needed..."},
        NetworkCase{
            "no_input", "layers: [{type: relu}]",
            "m.yaml:1:1: lacks the key 'input', for example `input: {channels: 3, height: 227, width: "
            "227}`..."},
        NetworkCase{"input_without_height", "input: {channels: 1, width: 3}\nlayers: [{type: relu}]",
                    "m.yaml:1:8: input: lacks the key 'height', for example `height: 224`"},
        NetworkCase{"input_0", "input: {channels: 0, height: 2, width: 3}\nlayers: [{type: relu}]",
                    "m.yaml:1:19: input.channels: is '0'" + from_1},
        NetworkCase{"no_type", input_8 + "  - {name: x}",
                    "m.yaml:3:5: layers[0]: lacks the key 'type', for example `type: conv`"},
        NetworkCase{"unknown_type", input_8 + "  - {type: maxpool, kernel: 2}",
                    "m.yaml:3:12: layers[0].type: is 'maxpool'; one of " + all_types() +
                        " is needed; did you mean 'max_pool'?"},
        NetworkCase{"misspelt_key", input_8 + "  - {type: conv, out_channels: 4, kernal: 3, kernel: 3}",
                    "m.yaml:3:35: layers[0].kernal: is not a known key; did you mean 'kernel'?"},
        NetworkCase{"misspelt_top_key", "nmae: x\n" + input_8 + "  - {type: relu}",
                    "m.yaml:1:1: nmae: is not a known key; did you mean 'name'?"},
        NetworkCase{"wrong_type", input_8 + "  - {type: conv, out_channels: many, kernel: 3}",
                    "m.yaml:3:32: layers[0].out_channels: is 'many'" + from_1},
        NetworkCase{"duplicate_key", input_8 + "  - {type: relu, name: a, name: b}",
                    "m.yaml:3:27: layers[0].name: stands twice; keep one of the two"},
        NetworkCase{"duplicate_name", input_8 + "  - {type: relu, name: a}\n  - {type: relu, name: a}",
                    "m.yaml:4:5: layers[1]: has the name 'a', which an earlier layer has; names must differ"},
        NetworkCase{"negative_stride", input_8 + "  - {type: conv, out_channels: 4, kernel: 3, stride: -1}",
                    "m.yaml:3:54: layers[0].stride: is '-1'" + from_1},
        NetworkCase{"stride_0", input_8 + "  - {type: max_pool, kernel: 3, stride: 0}",
                    "m.yaml:3:41: layers[0].stride: is '0'" + from_1},
        NetworkCase{"negative_padding",
                    input_8 + "  - {type: conv, out_channels: 4, kernel: 3, padding: [0, -1]}",
                    "m.yaml:3:59: layers[0].padding[1]: is '-1'" + from_0},
        NetworkCase{"dilation_0", input_8 + "  - {type: conv, out_channels: 4, kernel: 3, dilation: 0}",
                    "m.yaml:3:56: layers[0].dilation: is '0'" + from_1},
        NetworkCase{
            "groups_do_not_divide", input_8 + "  - {type: conv, out_channels: 6, kernel: 3, groups: 4}",
            "m.yaml:3:5: layers[0]: has groups 4, which does not divide its 4 input and 6 output channels"},
        NetworkCase{
            "kernel_over_padded_input", input_8 + "  - {type: conv, out_channels: 4, kernel: 11, padding: 1}",
            "m.yaml:3:5: layers[0]: (conv1, on a 8x8 map of 4 channels): the kernel (11 positions) is "
            "larger than the "
            "padded input (10 positions); use a smaller kernel or a larger input"},
        NetworkCase{"pool_padding", input_8 + "  - {type: max_pool, kernel: 3, padding: 2}",
                    "m.yaml:3:5: layers[0]: has padding 2x2 with kernel 3x3; a pool's padding may be at most "
                    "half its kernel, "
                    "or windows would hold nothing but padding"},
        NetworkCase{"dilated_average", input_8 + "  - {type: avg_pool, kernel: 3, dilation: 2}",
                    "m.yaml:3:33: layers[0].dilation: is not a known key..."},
        NetworkCase{"no_kernel", input_8 + "  - {type: conv, out_channels: 4}",
                    "m.yaml:3:5: layers[0]: lacks the key 'kernel', for example `kernel: 3`"},
        NetworkCase{"no_features", input_8 + "  - {type: fully_connected}",
                    "m.yaml:3:5: layers[0]: lacks the key 'out_features', for example `out_features: 4096`"},
        NetworkCase{"conv_behind_flatten",
                    input_8 + "  - {type: flatten}\n  - {type: conv, out_channels: 4, kernel: 1}",
                    "m.yaml:4:5: layers[1]: is a conv layer behind flatten or fully_connected; it needs a "
                    "feature map"},
        NetworkCase{"dropout_p", input_8 + "  - {type: dropout, p: 2}",
                    "m.yaml:3:24: layers[0].p: is '2'; a number from 0 to 1 is needed"},
        NetworkCase{"k_negative", input_8 + "  - {type: lrn, k: -1}",
                    "m.yaml:3:20: layers[0].k: is '-1'; a number from 0 to 1000000 is needed"},
        NetworkCase{"ceil_mode_word", input_8 + "  - {type: max_pool, kernel: 2, ceil_mode: yes}",
                    "m.yaml:3:44: layers[0].ceil_mode: is 'yes'; true or false is needed"},
        // Products that leave 64 bits, or any memory.
        NetworkCase{
            "input_overflows",
            "input: {channels: 2147483647, height: 2147483647, width: 2147483647}\nlayers: [{type: relu}]",
            "m.yaml:2:9: layers: the input is too large: ..."},
        NetworkCase{"output_overflows", input_8 + "  - {type: adaptive_avg_pool, output: 2147483647}",
                    "m.yaml:3:5: layers[0]: (adaptive_avg_pool1, on a 8x8 map of 4 channels): ..."},
        NetworkCase{"conv_weights_overflow",
                    std::string(huge_input) +
                        "  - {type: conv, out_channels: 2147483647, kernel: [3, 1], padding: 2}",
                    "m.yaml:3:5: layers[0]: (conv1, on a 1x1 map of 2147483647 channels): ..."},
        NetworkCase{"conv_weight_bytes_overflow",
                    std::string(huge_input) + "  - {type: conv, out_channels: 2147483647, kernel: 1}",
                    "m.yaml:3:5: layers[0]: (conv1, on a 1x1 map of 2147483647 channels): the bytes of the "
                    "weights overflows: ..."},
        NetworkCase{
            "fully_connected_weights_overflow",
            std::string(huge_input) + "  - {type: fully_connected, out_features: 2147483647}",
            "m.yaml:3:5: layers[0]: (fully_connected1, on a 1x1 map of 2147483647 channels): the bytes "
            "of the weights..."},
        NetworkCase{"kernel_overflows",
                    input_8 + "  - {type: conv, out_channels: 1, kernel: 2147483647, padding: 2147483647, "
                              "dilation: 2147483647}",
                    "m.yaml:3:5: layers[0]: (conv1, on a 8x8 map of 4 channels): ..."},
        NetworkCase{"several_at_once",
                    input_8 +
                        "  - {type: conv, out_channels: 4, kernel: 3, strid: 2}\n  - {type: relu, slope: 1}\n"
                        "  - {type: max_pool, kernel: 0}",
                    "m.yaml:3:46: layers[0].strid: is not a known key; did you mean 'stride'?\n"
                    "m.yaml:4:18: layers[1].slope: is not a known key; known here: from, name, type\n"
                    "m.yaml:5:30: layers[2].kernel: is '0'" +
                        from_1}),
    [](const testing::TestParamInfo<NetworkCase>& c) { return c.param.name; });

}  // namespace
}  // namespace halotile
