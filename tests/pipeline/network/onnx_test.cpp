// ONNX files against what ONNX Runtime made of them (tests/golden/onnx, tests/golden/onnx_graphs), by the
// reference and oneDNN engines, whole and in patches; what must be refused, with the reason; damaged files.
#include "pipeline/network/onnx/onnx_reader.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "formats/input_file.hpp"
#include "formats/npy.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/session.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using support::message_of;
using support::TempFolder;

const fs::path golden = fs::path(HALOTILE_SOURCE_DIR) / "tests" / "golden";

struct Case {
  fs::path file;        // without its ending
  std::string refused;  // pattern of the reason; empty: has outputs
};

// What the importer in Python refused and this reader takes (those with outputs are in onnx_graphs).
const std::map<std::string, std::string> other_reasons{
    {"refused_residual", "node 'node_y1' \\(Add\\) joins 'y0' and 'x'"},
    {"refused_other_layer", ""},
    {"refused_counted_unequal", ""},
    {"refused_max_unequal", ""},
    {"refused_relu6", "clips to \\[0, 6\\]"},
    {"refused_mean_channels", "only height and width can be"},
    {"refused_spatial_0_map",
     "follows node 'node_y0' \\(Mul\\), which scales or shifts places of a map differently"},
    {"refused_free_size", "give the size of the images"},
    {"refused_reshape_map", "only \\(batch, features\\) can be"}};

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const char* const folder : {"onnx", "onnx_graphs"}) {
    std::ifstream file(golden / folder / "manifest.json");
    const nlohmann::json manifest = nlohmann::json::parse(file);
    for (const auto& [name, entry] : manifest.at("cases").items())
      names.push_back(std::string(folder) + "/" + name);
  }
  return names;
}

Case case_of(const std::string& path) {
  const fs::path file = golden / path;
  const std::string name = file.filename().string();
  std::ifstream text(file.parent_path() / "manifest.json");
  const nlohmann::json entry = nlohmann::json::parse(text).at("cases").at(name);
  const auto other = other_reasons.find(name);
  const std::string refused = other != other_reasons.end() ? other->second : entry.value("refused", "");
  return {file, refused};
}

fs::path with_ending(fs::path file, const std::string& ending) { return file += ending; }

ModelFile read(const fs::path& file) { return read_onnx(file, std::nullopt); }

// Element i of PyTorch's order (N, C, H, W) of maps that lie in memory as NHWC.
float element(const ConstMapView& maps, const MapShape& memory, std::int64_t i) {
  const std::int64_t area = memory.extent.area();
  const std::int64_t image = i / memory.elements();
  const std::int64_t channel = i % memory.elements() / area;
  const std::int64_t at = image * memory.elements() + i % area * memory.channels + channel;
  return static_cast<const float*>(maps.data)[at];
}

class OnnxGolden : public testing::TestWithParam<std::string> {
 protected:
  void expect_like_runtime(EngineKind engine, const PatchSpec& patch) {
    const fs::path file = case_of(GetParam()).file;
    NpyArray x = read_npy(with_ending(file, ".x.npy"));
    const NpyArray y = read_npy(with_ending(file, ".y.npy"));
    std::optional<Extent2> extent;
    if (x.shape.size() == 4) extent = Extent2{x.shape[2], x.shape[3]};
    ModelFile model = read_onnx(with_ending(file, ".onnx"), extent);
    const MapShape input = model.network.input();
    x.shape = {x.shape[0], input.channels, input.extent.height, input.extent.width};
    Experiment experiment;
    experiment.engine = engine;
    experiment.patch = patch;
    experiment.threads = 1;
    experiment.input.batch = x.shape[0];
    const Weights weights = Weights::from_file(model.network, *model.weights, {});
    const Session session(experiment, model.network, weights, array_input(std::move(x), input));
    const Network& network = session.network();
    const std::size_t node = network.outputs.front() - 1;
    const auto executor = session.make_executor(session.batch(), {node});
    session.input().fill({0, session.batch()}, executor->input());
    executor->run();
    compare(executor->output(node), network.out(node).memory, y.data);
  }

 private:
  // Within 1e-5 of the largest magnitude.
  static void compare(const ConstMapView& got, const MapShape& memory, const std::vector<float>& wanted) {
    ASSERT_EQ(got.images * memory.elements(), static_cast<std::int64_t>(wanted.size()));
    float largest = 0;
    for (const float value : wanted) largest = std::max(largest, std::isnan(value) ? 0.0F : std::abs(value));
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const float value = element(got, memory, static_cast<std::int64_t>(i));
      ASSERT_EQ(std::isnan(value), std::isnan(wanted[i])) << "element " << i;
      if (std::isnan(value)) continue;
      ASSERT_NEAR(value, wanted[i], 1e-5F * largest) << "element " << i;
    }
  }
};

TEST_P(OnnxGolden, EqualsOnnxRuntimeOrIsRefusedWithTheReason) {
  const Case known = case_of(GetParam());
  const fs::path file = with_ending(known.file, ".onnx");
  if (!known.refused.empty()) {
    const std::string message = message_of<ConfigError>(file.parent_path(), [&] { (void)read(file); });
    EXPECT_TRUE(std::regex_search(message, std::regex(known.refused))) << message << "\n" << known.refused;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_TRUE(message.starts_with(file.filename().string())) << message;
    return;
  }
  if (!fs::exists(with_ending(known.file, ".x.npy"))) {
    EXPECT_NO_THROW((void)read(file));
    return;
  }
  expect_like_runtime(EngineKind::reference, {});
  expect_like_runtime(EngineKind::onednn, {});
  expect_like_runtime(EngineKind::reference, {PatchSpec::Kind::size, {3, 3}});
}

std::string test_name(const testing::TestParamInfo<std::string>& tested) {
  std::string name = tested.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Files, OnnxGolden, testing::ValuesIn(case_names()), test_name);

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A damaged file is read or refused with one line: nothing else is thrown.
void expect_survived(const TempFolder& folder, const std::string& bytes) {
  const fs::path file = folder.write("damaged.onnx", bytes);
  try {
    (void)read(file);
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("damaged.onnx"), std::string::npos) << e.what();
  }
}

TEST(OnnxDamaged, FilesCutShortAreRefused) {
  const TempFolder folder;
  for (const char* const name : {"head", "taken_branch", "lrn5__legacy20"}) {
    const std::string whole = bytes_of(golden / "onnx" / (std::string(name) + ".onnx"));
    for (std::size_t size = 0; size < whole.size(); size += 1 + whole.size() / 40)
      expect_survived(folder, whole.substr(0, size));
  }
}

TEST(OnnxDamaged, ChangedBytesAreReadOrRefused) {
  const TempFolder folder;
  support::Draw draw(7);
  for (const std::string& name : case_names()) {
    std::string bytes = bytes_of(with_ending(golden / name, ".onnx"));
    for (int i = 0; i < 20; ++i) {
      std::string changed = bytes;
      for (std::int64_t changes = draw.integer(1, 3); changes > 0; --changes)
        changed[static_cast<std::size_t>(draw.integer(0, static_cast<std::int64_t>(changed.size()) - 1))] =
            static_cast<char>(draw.integer(0, 255));
      SCOPED_TRACE(name);
      expect_survived(folder, changed);
    }
  }
}

TEST(OnnxFile, WhatIsNoneIsNamed) {
  const TempFolder folder;
  const auto refusal = [&](const fs::path& file) {
    return message_of<FormatError>(folder.path(), [&] { (void)read(file); });
  };
  EXPECT_EQ(refusal(folder.write("a.onnx", "this is not ONNX")),
            "a.onnx is no ONNX file, or is damaged or cut short");
  EXPECT_EQ(refusal(folder.write("b.onnx", "")), "b.onnx holds no nodes; it is no ONNX network");
  EXPECT_NE(refusal(folder.path() / "none.onnx").find("none.onnx"), std::string::npos);
}

TEST(OnnxFile, ExternalDataMustBeThere) {
  const TempFolder folder;
  const fs::path from = golden / "onnx_graphs" / "external_data.onnx";
  const fs::path copy = folder.write("net.onnx", bytes_of(from));
  const auto refusal = [&] { return message_of<ConfigError>(folder.path(), [&] { (void)read(copy); }); };
  const std::string missing = refusal();
  EXPECT_NE(missing.find("the weights 'c0' cannot be read"), std::string::npos) << missing;
  EXPECT_NE(missing.find("external_data.bin"), std::string::npos) << missing;
  const std::string data = bytes_of(golden / "onnx_graphs" / "external_data.bin");
  folder.write("external_data.bin", data.substr(0, data.size() - 1));
  EXPECT_NE(refusal().find("cut short"), std::string::npos) << refusal();
  folder.write("external_data.bin", data);
  EXPECT_EQ(refusal(), "");
}

TEST(OnnxFile, AnExperimentNeedsNoOtherWeights) {
  Experiment experiment;
  experiment.model = golden / "onnx" / "head.onnx";
  experiment.input.source = NpyInput{golden / "onnx" / "head.x.npy"};
  experiment.engine = EngineKind::reference;
  const Session session(experiment);
  EXPECT_FALSE(session.random_weights());
  EXPECT_EQ(session.network().name, "head");
}

TEST(OnnxFile, UntilLeavesWeightsUnused) {
  const ModelFile model = read_model(golden / "onnx" / "head.onnx", std::nullopt, "node_y0");
  EXPECT_EQ(model.network.nodes.size(), 1U);
  EXPECT_NO_THROW((void)Weights::from_file(model.network, *model.weights, {}));
}

TEST(OnnxFile, LayersAreCalledAsTheNodes) {
  const ModelFile model = read(golden / "onnx" / "pad_conv.onnx");
  ASSERT_EQ(model.network.nodes.size(), 1U);
  EXPECT_EQ(model.network.nodes[0].name, "node_y1");
  EXPECT_TRUE(model.weights->contains("node_y1.weight"));
  const ModelFile nameless = read(golden / "onnx" / "taken_branch.onnx");
  EXPECT_EQ(nameless.network.nodes[1].name, "flatten1");
}

}  // namespace
}  // namespace halotile
