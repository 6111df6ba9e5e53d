// The table of keys: every row goes through all that follows from it.
#include "pipeline/experiment/config_keys.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "patching/error.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using config::Key;
using support::message_of;
using support::TempFolder;
using Words = std::vector<std::string>;

const std::string plainest = "model: m.yaml\ninput: {random: 1}\n";

std::vector<const Key*> values_of_table() {
  std::vector<const Key*> found;
  for (const Key& key : config::keys()) {
    if (key.get != nullptr) found.push_back(&key);
  }
  return found;
}

// Values of a type that are no defaults, in YAML.
struct Samples {
  Words operator()(const config::Section&) const { return {}; }
  Words operator()(const config::Axes&) const { return {}; }
  Words operator()(const config::WholeNumber& t) const {
    return {std::to_string(t.high), std::to_string(t.low + 1),
            t.word.empty() ? std::to_string(t.low) : t.word};
  }
  Words operator()(const config::Sizes& t) const {
    return {std::to_string(t.high), "[2, 3, " + std::to_string(t.low) + "]", t.word};
  }
  Words operator()(const config::Number&) const { return {"0.5", "1"}; }
  Words operator()(const config::Channels&) const { return {"[0.25, 1, 3]", "[0.1, 0.2, 0.3]"}; }
  Words operator()(const config::Extent& t) const {
    return {"7", "[3, 5]", t.word.empty() ? std::to_string(t.high) : t.word};
  }
  Words operator()(const config::Choice& t) const { return t.words; }
  Words operator()(const config::Groups& t) const {
    Words words = t.words;
    words.emplace_back("[[conv1, pool1], [conv2]]");
    return words;
  }
  Words operator()(const config::Text&) const { return {"pool5", "'quoted: word'"}; }
  Words operator()(const config::Device&) const { return {"auto", "cpu", "cuda", "cuda:0", "cuda:12"}; }
  Words operator()(const config::Path& t) const {
    return t.several ? Words{"/a", "[/a, /b]"} : Words{"/a/b.c"};
  }
  Words operator()(const config::Folder&) const { return {"out", "/a/out"}; }
  Words operator()(const config::FileName& t) const { return {"x" + t.ending}; }
  Words operator()(const config::Names&) const { return {"{a: b, c: d}"}; }
  Words operator()(const config::FileNames& t) const {
    return {"{conv1: a" + t.ending + ", logits: b" + t.ending + "}"};
  }
};

// What must stand beside a key.
Words beside(const Key& key) {
  if (key.name == "weights.rename") return {"weights.file=/w.npz"};
  if (key.name == "dropout.seed") return {"dropout.samples=2"};
  if (!key.needs.empty()) return {std::string(key.needs) + "=/photos"};
  if (!key.together_with.empty()) return {std::string(key.together_with) + "=9"};
  return {};
}

class ConfigKeys : public testing::Test {
 protected:
  [[nodiscard]] Experiment read(const Words& overrides) const {
    return read_experiment(folder_.write("e.yaml", plainest), overrides);
  }
  [[nodiscard]] std::string refusal(const Words& overrides) const {
    return message_of<ConfigError>(folder_.path(), [&] { (void)read(overrides); });
  }

  TempFolder folder_;
};

TEST_F(ConfigKeys, GoFromYamlThroughJsonAndBack) {
  for (const Key* key : values_of_table()) {
    Words samples = std::visit(Samples{}, key->type);
    ASSERT_FALSE(samples.empty()) << key->name;
    std::set<std::string> seen;
    for (const std::string& sample : samples) {
      Words words = beside(*key);
      words.push_back(std::string(key->name) + "=" + sample);
      SCOPED_TRACE(words.back());
      const Experiment experiment = read(words);
      const nlohmann::json json = to_json(experiment);
      const nlohmann::json value = json.value(config::place_in_json(key->name), nlohmann::json());
      EXPECT_EQ(value, key->get(experiment));
      EXPECT_FALSE(value.is_null());
      seen.insert(value.dump());
      const Experiment again = experiment_of(nlohmann::json::parse(json.dump()));
      EXPECT_EQ(to_json(again), json);
    }
    EXPECT_EQ(seen.size(), samples.size()) << key->name << ": a value is lost";
  }
}

TEST_F(ConfigKeys, HaveTheirDefaultsWhereNothingStands) {
  const nlohmann::json plain = to_json(read({}));
  for (const Key* key : values_of_table()) {
    const nlohmann::json wanted = key->name == "model" ? plain["model"] : config::default_of(*key);
    EXPECT_EQ(plain.value(config::place_in_json(key->name), nlohmann::json()), wanted) << key->name;
    if (key->required || !key->instead_of.empty()) continue;
    Words words = key->together_with.empty() ? beside(*key) : Words{};
    const nlohmann::json without = to_json(read(words));
    words.push_back(std::string(key->name) + "=");
    EXPECT_EQ(to_json(read(words)), without) << key->name;
  }
}

TEST_F(ConfigKeys, MeanInJsonFromBeforeThemWhatWasDoneThen) {
  nlohmann::json wanted = to_json(read({}));
  const Experiment e = experiment_of({{"model", wanted["model"]}});
  wanted["preprocess"]["resize_order"] = "pillow12";
  EXPECT_EQ(to_json(e), wanted);
}

TEST_F(ConfigKeys, AreToldWhenMisspelt) {
  for (const Key* key : values_of_table()) {
    const std::string name = config::last_name(key->name);
    std::string wrong(key->name);
    wrong.insert(wrong.size() - name.size(), "x");
    const std::string message = refusal({wrong + "=1"});
    EXPECT_NE(message.find(wrong + ": is not a known key; did you mean '" + name + "'?"), std::string::npos)
        << message;
  }
}

TEST_F(ConfigKeys, RefuseWhatIsNoValueOfTheirs) {
  for (const Key* key : values_of_table()) {
    Words words = beside(*key);
    words.push_back(std::string(key->name) + "={a: {b: c}}");
    const std::string message = refusal(words);
    EXPECT_NE(message.find(std::string(key->name)), std::string::npos) << key->name << ": " << message;
    EXPECT_NE(message.find("is needed"), std::string::npos) << key->name << ": " << message;
  }
}

TEST_F(ConfigKeys, ExcludeEachOtherInGroups) {
  const std::vector<std::pair<const char*, const char*>> pairs{
      {"patch.size", "patch.grid"},
      {"weights.file", "weights.random"},
      {"input.file", "input.images"},
      {"input.random", "input.file"},
      {"preprocess.crops", "preprocess.augment"},
      {"preprocess.crops", "preprocess.augment.seed"}};
  for (const auto& [one, other] : pairs) {
    EXPECT_TRUE(config::exclude_each_other(one, other)) << one;
    EXPECT_TRUE(config::exclude_each_other(other, one)) << one;
  }
  EXPECT_FALSE(config::exclude_each_other("patch.size", "patch.size"));
  EXPECT_FALSE(config::exclude_each_other("patch", "patch.size"));
  EXPECT_FALSE(config::exclude_each_other("input.random", "weights.random"));
  EXPECT_FALSE(config::exclude_each_other("preprocess.augment", "preprocess.augment.seed"));
}

TEST_F(ConfigKeys, OfOtherInputsDropWhatIsToldOfPhotographs) {
  const std::string yaml = "model: m\ninput: {images: p, labels: l.csv, decoders: 2}";
  const Words random{"input.random=1"};
  const Experiment e = read_experiment(folder_.write("e.yaml", yaml), random);
  EXPECT_EQ(e.input.labels, "");
  EXPECT_EQ(e.input.decoders, 2);
  EXPECT_EQ(
      refusal({"input.images=p", "input.upload=uint8", "input.random=1"}),
      "command line 'input.upload=uint8': input.upload: is 'uint8', but only photographs (input.images) have "
      "8-bit pixels; leave it out")
      << "whoever asks for other results is not ignored";
}

TEST_F(ConfigKeys, DecideResultsOrNot) {
  for (const char* const name : {"output", "output.save.conv1", "sweep", "sweep.streams", "measure.trace"})
    EXPECT_FALSE(config::decides_result(name)) << name;
  for (const char* const name : {"measure", "measure.cache", "patch", "input.random", "none.such"})
    EXPECT_TRUE(config::decides_result(name)) << name;
}

TEST_F(ConfigKeys, OfPatchingAreWhatAnUnpatchedRunHasNot) {
  const nlohmann::json plain = to_json(read({}));
  for (const Key* key : values_of_table()) {
    for (const std::string& sample : std::visit(Samples{}, key->type)) {
      Words words = beside(*key);
      words.push_back(std::string(key->name) + "=" + sample);
      SCOPED_TRACE(words.back());
      const Experiment patched = read(words);
      const nlohmann::json json = to_json(patched);
      const nlohmann::json whole = to_json(config::unpatched(patched));
      EXPECT_TRUE(config::is_unpatched(whole));
      EXPECT_EQ(config::is_unpatched(json), whole == json);
      EXPECT_EQ(whole == json, !key->patching || json == plain);
      EXPECT_EQ(config::without_patching(whole), config::without_patching(json));
      if (!key->patching && key->decides_result) {
        EXPECT_EQ(config::without_patching(json) == config::without_patching(plain), json == plain);
      }
    }
  }
  EXPECT_TRUE(config::is_unpatched({{"streams", 1}})) << "of an earlier version, with fewer keys";
}

TEST_F(ConfigKeys, StandInTheDocuments) {
  std::ifstream file(fs::path(HALOTILE_SOURCE_DIR) / "docs/config.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string table = config::key_table();
  EXPECT_NE(text.str().find("\n" + table + "\n"), std::string::npos)
      << "docs/config.md needs the table that `halotile info --config-keys` prints:\n"
      << table;
  EXPECT_EQ(config::key_list().size(), values_of_table().size() + 1) << "with sweep";
}

TEST_F(ConfigKeys, OfUnknownWordsInJsonAreRefused) {
  nlohmann::json json = to_json(read({}));
  json["engine"] = "abacus";
  EXPECT_THROW((void)experiment_of(json), ConfigError);
  json["engine"] = 3;
  EXPECT_THROW((void)experiment_of(json), nlohmann::json::exception);
}

TEST_F(ConfigKeys, ModelFilesAreAnsweredWithTheExperimentToWrite) {
  const fs::path model =
      folder_.write("a b.yaml", "name: x\ninput: {channels: 1, height: 2, width: 2}\nlayers: []\n");
  const std::string message = message_of<ConfigError>("/nowhere", [&] { (void)read_experiment(model, {}); });
  EXPECT_TRUE(message.starts_with(model.string() + ": is a model file; an experiment is needed")) << message;
  const fs::path pasted = folder_.write("e.yaml", message.substr(message.find('\n') + 1));
  EXPECT_EQ(read_experiment(pasted, {}).model, model);
  const fs::path onnx = folder_.write("net.onnx", "\x08\x07");
  const std::string other = message_of<ConfigError>("/nowhere", [&] { (void)read_experiment(onnx, {}); });
  EXPECT_TRUE(other.starts_with(onnx.string() + ": is an ONNX network; an experiment is needed")) << other;
  const Experiment e = read_experiment(folder_.write("e.yaml", other.substr(other.find('\n') + 1)), {});
  EXPECT_EQ(e.model, onnx);
}

}  // namespace
}  // namespace halotile
