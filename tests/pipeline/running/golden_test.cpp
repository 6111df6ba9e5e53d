// Networks over the whole window space against PyTorch's float64 outputs, layer by layer (tests/golden, made
// by tests/golden/make_golden.py), whole and patched, with every CPU engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/tensor_file.hpp"
#include "pipeline/experiment/session.hpp"

namespace halotile {
namespace {

const std::filesystem::path folder = std::filesystem::path(HALOTILE_SOURCE_DIR) / "tests" / "golden";

std::vector<std::string> case_names() {
  std::ifstream file(folder / "manifest.json");
  std::vector<std::string> names;
  const nlohmann::json manifest = nlohmann::json::parse(file);
  for (const auto& entry : manifest.at("cases")) names.push_back(entry.at("name"));
  return names;
}

nlohmann::json case_of(const std::string& name) {
  std::ifstream file(folder / "manifest.json");
  const nlohmann::json manifest = nlohmann::json::parse(file);
  for (const auto& entry : manifest.at("cases")) {
    if (entry.at("name") == name) return entry;
  }
  return {};
}

class Golden : public testing::TestWithParam<std::string> {
 protected:
  void expect_like_pytorch(EngineKind engine, PatchSpec patch, StagesConfig::Kind stages) {
    const nlohmann::json entry = case_of(GetParam());
    Experiment experiment;
    experiment.model = folder / std::string(entry.at("model"));
    experiment.weights.file = folder / std::string(entry.at("weights"));
    experiment.input.source = NpyInput{folder / std::string(entry.at("input"))};
    experiment.engine = engine;
    experiment.patch = patch;
    experiment.stages.kind = stages;
    experiment.streams = 2;
    experiment.threads = 1;
    const Session session(experiment);
    const Network& network = session.network();
    const auto outputs = open_weights(folder / std::string(entry.at("outputs")));
    std::set<std::size_t> keep;
    for (const std::string& layer : outputs->names()) keep.insert(network.index_of(layer));
    const auto executor = session.make_executor(session.batch(), keep);
    session.input().fill({0, session.batch()}, executor->input());
    executor->run();
    for (const std::string& layer : outputs->names()) {
      const std::size_t index = network.index_of(layer);
      expect_close(executor->output(index), outputs->read(layer), network.out(index).memory, layer);
    }
  }

 private:
  // Within 1e-5 of the map's largest magnitude.
  static void expect_close(const ConstMapView& got, const std::vector<float>& nchw, const MapShape& memory,
                           const std::string& layer) {
    float largest = 0;
    for (const float value : nchw) largest = std::max(largest, std::abs(value));
    ASSERT_EQ(nchw.size(), static_cast<std::size_t>(got.images * memory.elements())) << layer;
    const std::int64_t area = memory.extent.area();
    const auto* const values = static_cast<const float*>(got.data);
    for (std::size_t i = 0; i < nchw.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i);
      const std::int64_t image = at / memory.elements();
      const std::int64_t channel = at % memory.elements() / area;
      const std::int64_t position = at % area;
      const float value = values[image * memory.elements() + position * memory.channels + channel];
      ASSERT_NEAR(value, nchw[i], 1e-5F * largest)
          << layer << ": image " << image << ", channel " << channel << ", position " << position;
    }
  }
};

TEST_P(Golden, ReferenceWhole) {
  expect_like_pytorch(EngineKind::reference, {}, StagesConfig::Kind::per_conv);
}

TEST_P(Golden, ReferenceFusedTiles) {
  expect_like_pytorch(EngineKind::reference, {PatchSpec::Kind::grid, {3, 2}}, StagesConfig::Kind::fused);
}

TEST_P(Golden, OneDnnWhole) { expect_like_pytorch(EngineKind::onednn, {}, StagesConfig::Kind::per_conv); }

TEST_P(Golden, OneDnnTiles) {
  expect_like_pytorch(EngineKind::onednn, {PatchSpec::Kind::size, {7, 5}}, StagesConfig::Kind::per_conv);
}

INSTANTIATE_TEST_SUITE_P(PyTorch, Golden, testing::ValuesIn(case_names()),
                         [](const auto& c) { return c.param; });

}  // namespace
}  // namespace halotile
