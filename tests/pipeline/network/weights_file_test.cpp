// Weights from a file: names, renaming, PyTorch's order, and every tensor that does not fit named at once.
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "formats/tensor_file.hpp"
#include "patching/error.hpp"
#include "pipeline/network/weights.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::message_of;
using support::network_of;
using support::TempFolder;
using Names = std::map<std::string, std::string>;

struct Tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  float first = 0;  // element i is first + i
};

// The bytes of a safetensors file: the header's length, the header, the elements.
std::string safetensors(const std::vector<Tensor>& tensors) {
  nlohmann::json header;
  std::string data;
  for (const Tensor& t : tensors) {
    std::int64_t count = 1;
    for (const std::int64_t size : t.shape) count *= size;
    const std::size_t begin = data.size();
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = t.first + static_cast<float>(i);
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header[t.name] = {{"dtype", "F32"}, {"shape", t.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text + data;
}

const std::string model =
    "input: {channels: 2, height: 2, width: 3}\nlayers:\n"
    "  - {type: conv, name: c, out_channels: 2, kernel: 1}\n"
    "  - {type: fully_connected, name: f, out_features: 2, bias: false}\n";
const Tensor c_weight{"c.weight", {2, 2, 1, 1}, 1};
const Tensor c_bias{"c.bias", {2}, 10};
const Tensor f_weight{"f.weight", {2, 12}, 100};

class WeightsFile : public testing::Test {
 protected:
  Weights read(const Network& network, const std::vector<Tensor>& tensors, const Names& rename = {}) {
    return Weights::from_file(network, *open_weights(folder_.write("w.safetensors", safetensors(tensors))),
                              rename);
  }
  std::string refusal(const std::vector<Tensor>& tensors, const Names& rename = {}) {
    const Network network = network_of(model);
    return message_of<FormatError>(folder_.path(), [&] { (void)read(network, tensors, rename); });
  }
  TempFolder folder_;
};

TEST_F(WeightsFile, FillsTheLayersInMemoryOrder) {
  Network network = network_of(model);
  const Weights weights = read(network, {c_weight, c_bias, f_weight});
  weights.bind(network);
  const auto conv = *network.nodes[0].as<Conv2d>();
  EXPECT_EQ(std::vector<float>(conv.weight.begin(), conv.weight.end()), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(std::vector<float>(conv.bias.begin(), conv.bias.end()), (std::vector<float>{10, 11}));
  // PyTorch's (C, H, W) = (2, 2, 3) becomes (H, W, C).
  const auto fc = network.nodes[1].as<FullyConnected>()->weight;
  EXPECT_EQ(std::vector<float>(fc.begin(), fc.begin() + 12),
            (std::vector<float>{100, 106, 101, 107, 102, 108, 103, 109, 104, 110, 105, 111}));
  EXPECT_EQ(fc[12], 112);
  EXPECT_TRUE(network.nodes[1].as<FullyConnected>()->bias.empty());
}

TEST_F(WeightsFile, NamesAreMappedByTheConfigAndByTheModel) {
  const std::vector<Tensor> tensors{
      {"features.0.weight", {2, 2, 1, 1}, 1}, {"features.0.bias", {2}, 10}, f_weight};
  EXPECT_EQ(refusal(tensors, {{"features.0", "c"}}), "");
  const Network mapped = network_of("weights: {rename: {features.0: c}}\n" + model);
  EXPECT_NO_THROW((void)read(mapped, tensors));
  const Network other = network_of("weights: {rename: {features.0: f}}\n" + model);
  EXPECT_NO_THROW((void)read(other, tensors, {{"features.0", "c"}})) << "the config's word counts";
}

TEST_F(WeightsFile, NamesEveryTensorThatDoesNotFit) {
  EXPECT_EQ(refusal({c_weight, f_weight}),
            "w.safetensors: 'c.bias' is missing; shape (2) is expected (weights.rename maps other names)");
  EXPECT_EQ(refusal({c_weight, c_bias, f_weight, {"g.weight", {3}}}),
            "w.safetensors: 'g.weight' is extra: the network has no tensor 'g.weight'");
  EXPECT_EQ(refusal({{"c.weight", {2, 2, 3, 3}}, c_bias, f_weight}),
            "w.safetensors: 'c.weight' has shape (2, 2, 3, 3); (2, 2, 1, 1) is expected");
  EXPECT_EQ(refusal({c_weight, c_bias, f_weight, {"f.bias", {2}}}),
            "w.safetensors: 'f.bias' is extra: the network has no tensor 'f.bias'");
  const std::string doubled = refusal({c_weight, c_bias, f_weight, {"x.weight", {2, 2, 1, 1}}}, {{"x", "c"}});
  EXPECT_EQ(doubled, "w.safetensors: 'c.weight' and 'x.weight' both stand for 'c.weight'");
  const std::string all = refusal({{"c.weight", {1}}, {"q", {1}}});
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 3) << all;
}

TEST_F(WeightsFile, LayersBehindUntilMayBeInTheFile) {
  const TempFolder folder;
  const Network cut = read_network(folder.write("m.yaml", model), std::nullopt, "c");
  EXPECT_NO_THROW((void)read(cut, {c_weight, c_bias, f_weight}));
  EXPECT_THROW((void)read(cut, {c_weight, c_bias, f_weight, {"g.weight", {1}}}), FormatError);
}

TEST_F(WeightsFile, FilesThatAreNoneAreNamed) {
  const TempFolder folder;
  EXPECT_NE(message_of<FormatError>(folder.path(), [&] { (void)open_weights(folder.path() / "none"); })
                .find("none"),
            std::string::npos);
  const auto text = folder.write("w.safetensors", "no weights");
  EXPECT_NE(message_of<FormatError>(folder.path(), [&] { (void)open_weights(text); }).find("w.safetensors"),
            std::string::npos);
}

}  // namespace
}  // namespace halotile
