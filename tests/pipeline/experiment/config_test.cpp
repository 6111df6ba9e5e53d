// Experiment configs: defaults, overrides, and one clear line with its place for everything that is wrong.
#include "pipeline/experiment/config.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "patching/error.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using support::message_of;
using support::TempFolder;
using Words = std::vector<std::string>;

const std::string smallest = "model: m.yaml\ninput: {random: 1}\n";

Experiment read(const std::string& yaml, const Words& overrides = {}) {
  const TempFolder folder;
  return read_experiment(folder.write("e.yaml", yaml), overrides);
}

std::string refusal(const std::string& yaml, const Words& overrides = {}) {
  const TempFolder folder;
  const fs::path file = folder.write("e.yaml", yaml);
  return message_of<ConfigError>(folder.path(), [&] { (void)read_experiment(file, overrides); });
}

TEST(Config, DefaultsAreTheDocumentedOnes) {
  const TempFolder folder;
  const Experiment e = read_experiment(folder.write("little.yaml", smallest), {});
  EXPECT_EQ(e.name, "little");
  EXPECT_EQ(e.model, folder.path() / "m.yaml");
  EXPECT_EQ(e.until, "");
  EXPECT_EQ(e.weights.seed, 7U);
  EXPECT_EQ(std::get<RandomInput>(e.input.source).seed, 1U);
  EXPECT_EQ(e.input.batch, 0);
  EXPECT_FALSE(e.input.extent);
  EXPECT_EQ(e.input.labels, "");
  EXPECT_EQ(e.input.on_error, OnError::stop);
  EXPECT_EQ(e.input.decoders, 0);
  EXPECT_EQ(e.crops.kind, CropsConfig::Kind::center);
  EXPECT_EQ(e.preprocess.resize_order, ResizeOrder::pillow13);
  EXPECT_EQ(to_json(e).at("preprocess").at("resize_order"), "pillow13");
  EXPECT_EQ(e.dropout.samples, 0);
  EXPECT_EQ(e.dropout.seed, 1U);
  EXPECT_EQ(e.device, DeviceChoice{});
  EXPECT_EQ(e.engine, std::nullopt);
  EXPECT_EQ(e.precision, Precision::fp32);
  EXPECT_EQ(e.patch, PatchSpec{});
  EXPECT_EQ(e.stages.kind, StagesConfig::Kind::per_conv);
  EXPECT_EQ(e.storage, Storage::view);
  EXPECT_EQ(e.streams, 1);
  EXPECT_EQ(e.threads, 0);
  EXPECT_EQ(e.sub_batch, 0);
  EXPECT_EQ(e.dispatch, Dispatch::streams);
  EXPECT_EQ(e.direct_stage, DirectStage::automatic);
  EXPECT_EQ(e.memory, MemoryMode::arena);
  EXPECT_FALSE(e.input.pixels);
  EXPECT_FALSE(e.resident_input);
  EXPECT_EQ(e.output.directory, "results");
  EXPECT_TRUE(e.output.save.empty());
  EXPECT_EQ(e.measure.warmup, 2);
  EXPECT_EQ(e.measure.min_runs, 10);
  EXPECT_EQ(e.measure.max_seconds, 15);
  EXPECT_EQ(e.measure.tightness, 0.02);
  EXPECT_FALSE(e.measure.cold);
}

TEST(Config, ReadsEveryKey) {
  const Experiment e = read(R"(
model: /abs/m.yaml
until: pool5
weights: {random: 99}
input: {random: 3, batch: 32, height: 4096, width: 2048}
preprocess: {resize: 256, crop: [227, 224], interpolation: bicubic, resize_order: pillow12,
             mean: [0.1, 0.2, 0.3], std: [1, 2, 3]}
device: cpu
engine: reference
precision: bf16
patch: {size: [64, 32], stages: [[conv1, pool1], [conv2]], storage: packed}
streams: 4
threads: 2
sub_batch: 8
dispatch: graph
memory: pool
direct: {stage: filter}
output: {directory: out, save: {logits: logits.npy, conv1: c.npy}}
measure: {warmup: 0, min_runs: 3, max_seconds: 0.5, tightness: 0.1, cache: cold, trace: t.json, input: device,
          output: device}
)");
  EXPECT_EQ(e.dispatch, Dispatch::graph);
  EXPECT_EQ(e.memory, MemoryMode::pool);
  EXPECT_EQ(e.direct_stage, DirectStage::filter);
  EXPECT_TRUE(e.resident_input);
  EXPECT_TRUE(e.resident_output);
  EXPECT_EQ(e.model, "/abs/m.yaml");
  EXPECT_EQ(e.until, "pool5");
  EXPECT_EQ(e.weights.seed, 99U);
  EXPECT_EQ(std::get<RandomInput>(e.input.source).seed, 3U);
  EXPECT_EQ(e.input.batch, 32);
  EXPECT_EQ(e.input.extent, (Extent2{4096, 2048}));
  EXPECT_EQ(e.preprocess.resize, 256);
  EXPECT_EQ(e.preprocess.crop, (Extent2{227, 224}));
  EXPECT_EQ(e.preprocess.interpolation, Interpolation::bicubic);
  EXPECT_EQ(e.preprocess.resize_order, ResizeOrder::pillow12);
  EXPECT_EQ(e.preprocess.mean, (std::array<float, 3>{0.1F, 0.2F, 0.3F}));
  EXPECT_EQ(e.preprocess.stddev, (std::array<float, 3>{1, 2, 3}));
  EXPECT_EQ(e.device, (DeviceChoice{DeviceKind::cpu, {}}));
  EXPECT_EQ(e.engine, EngineKind::reference);
  EXPECT_EQ(e.precision, Precision::bf16);
  EXPECT_EQ(e.patch, (PatchSpec{PatchSpec::Kind::size, {64, 32}}));
  EXPECT_EQ(e.stages.kind, StagesConfig::Kind::groups);
  EXPECT_EQ(e.stages.groups, (std::vector<Words>{{"conv1", "pool1"}, {"conv2"}}));
  EXPECT_EQ(e.storage, Storage::packed);
  EXPECT_EQ(e.streams, 4);
  EXPECT_EQ(e.threads, 2);
  EXPECT_EQ(e.sub_batch, 8);
  EXPECT_EQ(e.output.directory, "out");
  EXPECT_EQ(e.output.save.at("conv1"), "c.npy");
  EXPECT_EQ(e.measure.max_seconds, 0.5);
  EXPECT_EQ(e.measure.tightness, 0.1);
  EXPECT_TRUE(e.measure.cold);
  EXPECT_EQ(e.trace, "t.json");
}

/// HOME as it is told, until the object's end.
class Home {
 public:
  explicit Home(const char* folder) {
    if (const char* const now = std::getenv("HOME")) before_ = now;
    set(folder);
  }
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;
  ~Home() { set(before_ ? before_->c_str() : nullptr); }

 private:
  static void set(const char* folder) {
    folder == nullptr ? ::unsetenv("HOME") : ::setenv("HOME", folder, 1);
  }
  std::optional<std::string> before_;
};

TEST(Config, ATildeIsTheHomeFolder) {
  const Home home("/home/me");
  const std::string yaml = R"(
model: ~/m.yaml
input: {images: [~/photos, a~b.png, "~", ./~c.png], labels: ~/l.csv}
weights: {file: ~/w.safetensors}
output: {directory: ~/results}
)";
  const TempFolder folder;
  const Experiment e = read_experiment(folder.write("e.yaml", yaml), {});
  EXPECT_EQ(e.model, "/home/me/m.yaml");
  EXPECT_EQ(e.input.labels, "/home/me/l.csv");
  EXPECT_EQ(e.weights.file, "/home/me/w.safetensors");
  EXPECT_EQ(e.output.directory, "/home/me/results");
  EXPECT_EQ(std::get<ImageInput>(e.input.source).paths,
            (std::vector<fs::path>{"/home/me/photos", folder.path() / "a~b.png", "/home/me",
                                   folder.path() / "./~c.png"}));
  const Experiment words = read(smallest, {"model=~/o.yaml", "input.file=~/x.npy", "output.directory=~/y"});
  EXPECT_EQ(words.model, "/home/me/o.yaml");
  EXPECT_EQ(std::get<NpyInput>(words.input.source).file, "/home/me/x.npy");
  EXPECT_EQ(words.output.directory, "/home/me/y");
  const Experiment alone = read(smallest, {"input.images=~", "output.directory=~"});
  EXPECT_EQ(alone.output.directory, "/home/me");
  EXPECT_EQ(std::get<ImageInput>(alone.input.source).paths, std::vector<fs::path>{"/home/me"});
  EXPECT_EQ(std::get<ImageInput>(read(smallest, {"input.images=[~/a, ~/b]"}).input.source).paths,
            (std::vector<fs::path>{"/home/me/a", "/home/me/b"}));
  EXPECT_EQ(std::get<ImageInput>(read(smallest, {"input={images: ~/a}"}).input.source).paths,
            std::vector<fs::path>{"/home/me/a"});
  const Experiment swept = read(smallest + "sweep: {weights.file: [~/1.npz, ~/2.npz]}\n");
  EXPECT_EQ(swept.axes.at(0).steps.at(1).at(0).text, "~/2.npz");
  EXPECT_EQ(read(smallest, words_at(swept.axes.at(0), 1)).weights.file, "/home/me/2.npz");
}

TEST(Config, ATildeThatIsNoHomeFolderIsRefused) {
  EXPECT_EQ(
      refusal("model: ~you/m.yaml\ninput: {random: 1}\n"),
      "e.yaml:1:8: model: '~you/m.yaml': ~you would be another user's home folder; write the whole path, "
      "or ./ before a name that begins with ~");
  EXPECT_NE(refusal(smallest, {"output.directory=~you"}).find("command line 'output.directory=~you'"),
            std::string::npos);
  const Home none(nullptr);
  EXPECT_NE(refusal(smallest, {"weights.file=~/w.npz"}).find("HOME names no folder"), std::string::npos);
}

TEST(Config, ErrorsHoldNoControlCharacters) {
  EXPECT_EQ(
      refusal(smallest + "\"a\\e[31m\\n\": 1\n").find("e.yaml:3:1: a\\x1b[31m\\x0a: is not a known key"), 0U);
  EXPECT_NE(refusal(smallest, {"streams=\x1b[2J"}).find("command line 'streams=\\x1b[2J'"),
            std::string::npos);
}

TEST(Config, PathsAreRelativeToTheFile) {
  const TempFolder folder;
  const Experiment e =
      read_experiment(folder.write("sub/e.yaml", "model: ../m.yaml\ninput: {images: [a.png, /b, ../c]}"), {});
  EXPECT_EQ(e.model, folder.path() / "sub/../m.yaml");
  const auto& paths = std::get<ImageInput>(e.input.source).paths;
  EXPECT_EQ(paths, (std::vector<fs::path>{folder.path() / "sub/a.png", "/b", folder.path() / "sub/../c"}));
  const Experiment one = read_experiment(folder.write("e.yaml", "model: m\ninput: {images: photos}"), {});
  EXPECT_EQ(std::get<ImageInput>(one.input.source).paths, std::vector<fs::path>{folder.path() / "photos"});
  const Experiment npy = read_experiment(folder.write("e.yaml", "model: m\ninput: {file: x.npy}"), {});
  EXPECT_EQ(std::get<NpyInput>(npy.input.source).file, folder.path() / "x.npy");
}

TEST(Config, ReadsTheKeysOfPhotographs) {
  const TempFolder folder;
  const fs::path file = folder.write(
      "e.yaml", "model: m\ninput: {images: photos, labels: l.csv, on_error: skip, decoders: 3, batch: 4}");
  const Experiment e = read_experiment(file, {});
  EXPECT_EQ(e.input.labels, folder.path() / "l.csv");
  EXPECT_EQ(e.input.on_error, OnError::skip);
  EXPECT_EQ(e.input.decoders, 3);
  EXPECT_EQ(to_json(e)["input"]["on_error"], "skip");
  EXPECT_EQ(to_json(e)["input"]["decoders"], 3);
  EXPECT_EQ(to_json(e)["input"]["labels"], (folder.path() / "l.csv").string());
  const Words none{"input.labels="};
  EXPECT_EQ(read_experiment(file, none).input.labels, "");
  const Words random{"input.random=3"};
  EXPECT_EQ(read_experiment(file, random).input.labels, "") << "labels belong to the photographs";
  const Words other{"input.labels=x.csv"};
  EXPECT_EQ(read_experiment(file, other).input.labels, fs::absolute("x.csv"));
}

TEST(Config, ReadsCropsAndDropout) {
  const Experiment ten = read(smallest + "preprocess: {crops: ten}\ndropout: {samples: 20, seed: 5}");
  EXPECT_EQ(ten.crops.kind, CropsConfig::Kind::ten);
  EXPECT_EQ(ten.dropout.samples, 20);
  EXPECT_EQ(ten.dropout.seed, 5U);
  EXPECT_EQ(to_json(ten)["preprocess"]["crops"], "ten");
  EXPECT_EQ(to_json(ten)["dropout"], (nlohmann::json{{"samples", 20}, {"seed", 5}}));
  const Experiment random = read(smallest + "preprocess: {crops: ten}", {"preprocess.augment={seed: 9}"});
  EXPECT_EQ(random.crops.kind, CropsConfig::Kind::random);
  EXPECT_EQ(random.crops.seed, 9U);
  EXPECT_EQ(to_json(random)["preprocess"]["augment"]["seed"], 9);
  EXPECT_EQ(to_json(read(smallest))["preprocess"]["crops"], "center");
}

TEST(Config, PatchForms) {
  const auto patch = [](const std::string& text) { return read(smallest + "patch: " + text).patch; };
  EXPECT_EQ(patch("whole"), PatchSpec{});
  EXPECT_EQ(patch("{size: whole}"), PatchSpec{});
  EXPECT_EQ(patch("{size: 3}"), (PatchSpec{PatchSpec::Kind::size, {3, 3}}));
  EXPECT_EQ(patch("{grid: [2, 5]}"), (PatchSpec{PatchSpec::Kind::grid, {2, 5}}));
  EXPECT_EQ(patch("{stages: fused}"), PatchSpec{});
  EXPECT_EQ(read(smallest + "patch: {stages: fused}").stages.kind, StagesConfig::Kind::fused);
  EXPECT_EQ(read(smallest + "threads: auto\nsub_batch: all").threads, 0);
}

TEST(Config, SubBatchesOfSeveralSizes) {
  const Experiment one = read(smallest + "sub_batch: 8");
  EXPECT_EQ(one.sub_batch, 8);
  EXPECT_TRUE(one.first_sub_batches.empty());
  EXPECT_EQ(to_json(one)["sub_batch"], 8);
  const Experiment several = read(smallest + "sub_batch: [4, 16, 32]");
  EXPECT_EQ(several.first_sub_batches, (std::vector<std::int64_t>{4, 16}));
  EXPECT_EQ(several.sub_batch, 32);
  EXPECT_EQ(to_json(several)["sub_batch"], (nlohmann::json{4, 16, 32}));
}

TEST(Override, ReplacesAndAddsKeys) {
  const std::string yaml = smallest + "patch: {size: 64, storage: packed}\n";
  EXPECT_EQ(read(yaml, {"patch.size=32"}).patch, (PatchSpec{PatchSpec::Kind::size, {32, 32}}));
  EXPECT_EQ(read(yaml, {"patch.size=[3, 4]"}).patch.value, (Extent2{3, 4}));
  EXPECT_EQ(read(yaml, {"patch.size=32"}).storage, Storage::packed);
  EXPECT_EQ(read(yaml, {"patch=whole"}).patch, PatchSpec{});
  EXPECT_EQ(read(yaml, {"streams=8", "streams=3"}).streams, 3);
  EXPECT_EQ(read(yaml, {"measure.min_runs=3"}).measure.min_runs, 3);
  EXPECT_EQ(read(yaml, {"output.save.conv1=x.npy"}).output.save.at("conv1"), "x.npy");
  EXPECT_EQ(read(yaml, {"patch=whole", "patch.grid=2"}).patch.kind, PatchSpec::Kind::grid);
  EXPECT_EQ(read(yaml, {"patch="}).patch, PatchSpec{}) << "nothing stands for the default";
}

TEST(Override, OfOneExclusiveKeyDropsTheOthers) {
  EXPECT_EQ(read(smallest + "patch: {size: 64}", {"patch.grid=[2, 3]"}).patch,
            (PatchSpec{PatchSpec::Kind::grid, {2, 3}}));
  EXPECT_EQ(read(smallest + "patch: {grid: 2}", {"patch.size=5"}).patch,
            (PatchSpec{PatchSpec::Kind::size, {5, 5}}));
  const Experiment e = read("model: m\ninput: {images: [x], batch: 4}", {"input.random=9"});
  EXPECT_EQ(std::get<RandomInput>(e.input.source).seed, 9U);
  EXPECT_EQ(e.input.batch, 4);
  EXPECT_TRUE(std::holds_alternative<NpyInput>(read(smallest, {"input.file=x.npy"}).input.source));
  const std::string random = smallest + "weights: {random: 3}";
  EXPECT_EQ(read(random, {"weights.file=w.npz"}).weights.file, fs::current_path() / "w.npz");
  EXPECT_EQ(read(smallest + "weights: {file: w.npz}", {"weights.random=4"}).weights.file, "");
}

TEST(Override, PathsAreRelativeToTheCurrentFolder) {
  const Experiment e = read(smallest, {"model=other.yaml", "input.images=[a, /b]"});
  EXPECT_EQ(e.model, fs::current_path() / "other.yaml");
  EXPECT_EQ(std::get<ImageInput>(e.input.source).paths,
            (std::vector<fs::path>{fs::current_path() / "a", "/b"}));
  EXPECT_EQ(std::get<NpyInput>(read(smallest, {"input.file=x.npy"}).input.source).file,
            fs::current_path() / "x.npy");
}

struct Refused {
  std::string name;
  std::string yaml;
  std::string message;  // whole, or where it begins when it ends in "..."
  Words overrides = {};
};

std::ostream& operator<<(std::ostream& out, const Refused& c) { return out << c.name; }

class RefusedConfig : public testing::TestWithParam<Refused> {};

TEST_P(RefusedConfig, IsOneLineWithPlaceAndRemedy) {
  const Refused& c = GetParam();
  std::string message = refusal(c.yaml, c.overrides);
  std::string expected = c.message;
  if (expected.ends_with("...")) {
    expected.resize(expected.size() - 3);
    message.resize(std::min(message.size(), expected.size()));
  }
  EXPECT_EQ(message, expected);
}

const std::string whole_seed = "a whole number from 0 to 9223372036854775807 is needed";

INSTANTIATE_TEST_SUITE_P(
    Config, RefusedConfig,
    testing::Values(
        Refused{"misspelt_key", smallest + "steams: 4",
                "e.yaml:3:1: steams: is not a known key; did you mean 'streams'?"},
        Refused{"misspelt_nested_key", smallest + "patch: {sise: 4}",
                "e.yaml:3:9: patch.sise: is not a known key; did you mean 'size'?"},
        Refused{"misspelt_measure_key", smallest + "measure:\n  warm_up: 4",
                "e.yaml:4:3: measure.warm_up: is not a known key; did you mean 'warmup'?"},
        Refused{
            "misspelt_input_key", "model: m\ninput: {rnadom: 1}",
            "e.yaml:2:8: input: needs exactly one of random: SEED, images: [folder, photo.jpg], file: x.npy\n"
            "e.yaml:2:9: input.rnadom: is not a known key; did you mean 'random'?"},
        Refused{"key_without_its_section", smallest + "size: 4\nseed: 1",
                "e.yaml:3:1: size: is not a known key; did you mean 'patch.size'?\n"
                "e.yaml:4:1: seed: is not a known key; did you mean 'preprocess.augment.seed' or "
                "'dropout.seed'?"},
        Refused{"key_in_another_section", smallest + "measure: {batch: 4}",
                "e.yaml:3:11: measure.batch: is not a known key; did you mean 'input.batch'?"},
        Refused{"wrong_type", smallest + "streams: two",
                "e.yaml:3:10: streams: is 'two'; a whole number from 1 to 256 is needed"},
        Refused{"wrong_type_list", smallest + "streams: [2]",
                "e.yaml:3:10: streams: is a list of 1; a whole number from 1 to 256 is needed"},
        Refused{"wrong_type_section", smallest + "measure: fast",
                "e.yaml:3:10: measure: is 'fast'; a mapping (key: value) is needed"},
        Refused{"duplicate_key", smallest + "streams: 1\nstreams: 2",
                "e.yaml:4:1: streams: stands twice; keep one of the two"},
        Refused{"duplicate_nested_key", smallest + "patch: {size: 1, size: 2}",
                "e.yaml:3:18: patch.size: stands twice; keep one of the two"},
        Refused{"duplicate_key_hidden_by_an_override",
                smallest + "streams: 1\nstreams: 2",
                "e.yaml:4:1: streams: stands twice; keep one of the two",
                {"streams=3"}},
        Refused{"duplicate_nested_key_hidden_by_an_override",
                smallest + "patch: {size: 1, size: 2}",
                "e.yaml:3:18: patch.size: stands twice; keep one of the two",
                {"patch.size=3"}},
        Refused{"patch_0", smallest + "patch: {size: 0}",
                "e.yaml:3:15: patch.size: is '0'; a whole number from 1 to 2147483647 is needed"},
        Refused{"patch_width_0", smallest + "patch: {size: [4, 0]}",
                "e.yaml:3:19: patch.size[1]: is '0'; a whole number from 1 to 2147483647 is needed"},
        Refused{"grid_0", smallest + "patch: {grid: 0}",
                "e.yaml:3:15: patch.grid: is '0'; a whole number from 1 to 262144 is needed"},
        Refused{"size_and_grid", smallest + "patch: {size: 1, grid: 1}",
                "e.yaml:3:8: patch: has both size and grid; keep one of the two"},
        Refused{"patch_is_a_number", smallest + "patch: 32",
                "e.yaml:3:8: patch: is '32'; a mapping (key: value) is needed"},
        Refused{"stages_word", smallest + "patch: {stages: per-conv}",
                "e.yaml:3:17: patch.stages: is 'per-conv'; one of per_conv, fused is needed; did you mean "
                "'per_conv'?"},
        Refused{"stages_not_of_lists", smallest + "patch: {stages: [conv1]}",
                "e.yaml:3:18: patch.stages[0]: is 'conv1'; a list is needed"},
        Refused{
            "storage", smallest + "patch: {storage: packd}",
            "e.yaml:3:18: patch.storage: is 'packd'; one of view, packed is needed; did you mean 'packed'?"},
        Refused{"streams_0", smallest + "streams: 0",
                "e.yaml:3:10: streams: is '0'; a whole number from 1 to 256 is needed"},
        Refused{"negative_sub_batch", smallest + "sub_batch: -1",
                "e.yaml:3:12: sub_batch: is '-1'; a whole number from 1 to 1048576 is needed"},
        Refused{"no_sub_batches", smallest + "sub_batch: []",
                "e.yaml:3:12: sub_batch: is empty; sizes in order are needed, the last one for all that is "
                "left: [8, 16, 32]"},
        Refused{"sub_batch_of_none", smallest + "sub_batch: [4, 0]",
                "e.yaml:3:16: sub_batch[1]: is '0'; a whole number from 1 to 1048576 is needed"},
        Refused{"threads_word", smallest + "threads: many",
                "e.yaml:3:10: threads: is 'many'; a whole number from 1 to 1024 is needed"},
        Refused{"no_model", "input: {random: 1}",
                "e.yaml:1:1: lacks the key 'model', for example `model: models/alexnet.yaml`"},
        Refused{"no_input", "model: m",
                "e.yaml:1:1: lacks the key 'input', for example `input: {images: [photos], batch: 32}`"},
        Refused{"empty_model_name", "model: ''\ninput: {random: 1}",
                "e.yaml:1:8: model: is ''; a word is needed"},
        Refused{
            "two_inputs", "model: m\ninput: {random: 1, file: x.npy}",
            "e.yaml:2:8: input: needs exactly one of random: SEED, images: [folder, photo.jpg], file: x.npy"},
        Refused{"two_weights", smallest + "weights: {random: 1, file: w.npz}",
                "e.yaml:3:10: weights: has both random and file; keep one of the two"},
        Refused{"misspelt_weights_key", smallest + "weights: {randm: 1}",
                "e.yaml:3:11: weights.randm: is not a known key; did you mean 'random'?"},
        Refused{"rename_is_a_list", smallest + "weights: {rename: [a, b]}",
                "e.yaml:3:19: weights.rename: is a list of 2; a mapping (key: value) is needed"},
        Refused{"negative_seed", "model: m\ninput: {random: -1}",
                "e.yaml:2:17: input.random: is '-1'; " + whole_seed},
        Refused{"height_without_width", "model: m\ninput: {random: 1, height: 4}",
                "e.yaml:2:8: input: has one of height and width; give both or neither"},
        Refused{"batch_0", "model: m\ninput: {random: 1, batch: 0}",
                "e.yaml:2:27: input.batch: is '0'; a whole number from 1 to 1048576 is needed"},
        Refused{"labels_of_random_images", "model: m\ninput: {random: 1, labels: l.csv}",
                "e.yaml:2:28: input.labels: belongs to photographs; give input.images, or leave labels out"},
        Refused{"on_error", "model: m\ninput: {images: p, on_error: ignore}",
                "e.yaml:2:30: input.on_error: is 'ignore'; one of stop, skip is needed"},
        Refused{"decoders_0", "model: m\ninput: {images: p, decoders: 0}",
                "e.yaml:2:30: input.decoders: is '0'; a whole number from 1 to 256 is needed"},
        Refused{
            "crops_word", smallest + "preprocess: {crops: tenn}",
            "e.yaml:3:21: preprocess.crops: is 'tenn'; one of center, ten is needed; did you mean 'ten'?"},
        Refused{"crops_and_augment", smallest + "preprocess: {crops: ten, augment: {seed: 1}}",
                "e.yaml:3:13: preprocess: has both crops and augment; keep one of the two"},
        Refused{"augment_without_seed", smallest + "preprocess: {augment: {sed: 1}}",
                "e.yaml:3:23: preprocess.augment: lacks the key 'seed', for example `seed: 1`\n"
                "e.yaml:3:24: preprocess.augment.sed: is not a known key; did you mean 'seed'?"},
        Refused{"dropout_0", smallest + "dropout: {samples: 0}",
                "e.yaml:3:20: dropout.samples: is '0'; a whole number from 1 to 1048576 is needed"},
        Refused{"mean_of_two", smallest + "preprocess: {mean: [1, 2]}",
                "e.yaml:3:20: preprocess.mean: is a list of 2; three numbers are needed: red, green, blue"},
        Refused{"std_0", smallest + "preprocess: {std: [1, 0, 1]}",
                "e.yaml:3:23: preprocess.std[1]: is '0'; a number from 1e-06 to 1000000 is needed"},
        Refused{"interpolation", smallest + "preprocess: {interpolation: bicubc}",
                "e.yaml:3:29: preprocess.interpolation: is 'bicubc'; one of bilinear, bicubic is needed; did "
                "you mean "
                "'bicubic'?"},
        Refused{"device", smallest + "device: gpu",
                "e.yaml:3:9: device: is 'gpu'; one of auto, cpu, cuda, cuda:1 is needed"},
        Refused{"device_number", smallest + "device: 'cuda:x'",
                "e.yaml:3:9: device: is 'cuda:x'; one of auto, cpu, cuda, cuda:1 is needed"},
        Refused{"memory", smallest + "memory: heap",
                "e.yaml:3:9: memory: is 'heap'; one of arena, pool is needed"},
        Refused{"direct_stage", smallest + "direct: {stage: inputs}",
                "e.yaml:3:17: direct.stage: is 'inputs'; one of auto, input, filter is needed; did you mean "
                "'input'?"},
        Refused{
            "pixels_of_random", "model: m.yaml\ninput: {random: 1, upload: uint8}",
            "e.yaml:2:28: input.upload: is 'uint8', but only photographs (input.images) have 8-bit pixels; "
            "leave it out"},
        Refused{"resident", smallest + "measure: {input: gpu}",
                "e.yaml:3:18: measure.input: is 'gpu'; one of host, device is needed"},
        Refused{"engine", smallest + "engine: oneDNN", "e.yaml:3:9: engine: is 'oneDNN'; one of auto..."},
        Refused{"precision", smallest + "precision: fp8", "e.yaml:3:12: precision: is 'fp8'; one of fp32..."},
        Refused{"save_with_folder", smallest + "output: {save: {conv1: sub/x.npy}}",
                "e.yaml:3:24: output.save.conv1: is 'sub/x.npy'; a file name ending in .npy is needed, "
                "without folders"},
        Refused{"save_not_npy", smallest + "output: {save: {conv1: x.txt}}",
                "e.yaml:3:24: output.save.conv1: is 'x.txt'; a file name ending in .npy is needed, without "
                "folders"},
        Refused{"save_one_file_for_two_layers", smallest + "output: {save: {conv1: x.npy, conv2: x.npy}}",
                "e.yaml:3:38: output.save.conv2: is 'x.npy', which another layer is saved to; file names "
                "must differ"},
        Refused{"save_twice", smallest + "output: {save: {conv1: x.npy, conv1: y.npy}}",
                "e.yaml:3:31: output.save.conv1: stands twice; keep one of the two"},
        Refused{"save_is_a_list", smallest + "output: {save: [conv1]}",
                "e.yaml:3:16: output.save: is a list of 1; a mapping (key: value) is needed"},
        Refused{"max_seconds", smallest + "measure: {max_seconds: -1}",
                "e.yaml:3:24: measure.max_seconds: is '-1'; a number from 0 to 1000000 is needed"},
        Refused{"tightness", smallest + "measure: {tightness: 0}",
                "e.yaml:3:22: measure.tightness: is '0'; a number from 0.0001 to 1 is needed"},
        Refused{"cache", smallest + "measure: {cache: warm}",
                "e.yaml:3:18: measure.cache: is 'warm'; one of hot, cold is needed"},
        Refused{"trace_elsewhere", smallest + "measure: {trace: a/t.json}",
                "e.yaml:3:18: measure.trace: is 'a/t.json'; a file name ending in .json is needed, without "
                "folders"},
        Refused{"trace_not_json", smallest + "measure: {trace: t.txt}",
                "e.yaml:3:18: measure.trace: is 't.txt'; a file name ending in .json is needed, without "
                "folders"},
        Refused{"empty_file", "", "e.yaml: is empty; a mapping (key: value lines) is needed"},
        Refused{"not_yaml", "model: [", "e.yaml:1:..."},
        Refused{"several_at_once", "modle: m\nstreams: x\ninput: {random: 1, bath: 3}\npatch: {size: 0}",
                "e.yaml:1:1: lacks the key 'model', for example `model: models/alexnet.yaml`\n"
                "e.yaml:3:20: input.bath: is not a known key; did you mean 'batch'?\n"
                "e.yaml:4:15: patch.size: is '0'; a whole number from 1 to 2147483647 is needed\n"
                "e.yaml:2:10: streams: is 'x'; a whole number from 1 to 256 is needed\n"
                "e.yaml:1:1: modle: is not a known key; did you mean 'model'?"}),
    [](const testing::TestParamInfo<Refused>& c) { return c.param.name; });

INSTANTIATE_TEST_SUITE_P(
    CommandLine, RefusedConfig,
    testing::Values(
        Refused{"no_equals",
                smallest,
                "command line 'streams': is no override; write key=value, for example patch.size=32",
                {"streams"}},
        Refused{"no_key",
                smallest,
                "command line '=3': is no override; write key=value, for example patch.size=32",
                {"=3"}},
        Refused{"empty_part",
                smallest,
                "command line 'patch..size=3': 'patch..size' is no key",
                {"patch..size=3"}},
        Refused{"dot_at_the_end", smallest, "command line 'patch.=3': 'patch.' is no key", {"patch.=3"}},
        Refused{"dot_at_the_start", smallest, "command line '.size=3': '.size' is no key", {".size=3"}},
        Refused{"not_yaml",
                smallest,
                "command line 'patch.size=[3': the value is not valid YAML: ...",
                {"patch.size=[3"}},
        Refused{"misspelt",
                smallest,
                "command line 'patch.sise=3': patch.sise: is not a known key; did you mean 'size'?",
                {"patch.sise=3"}},
        Refused{"misspelt_section",
                smallest,
                "command line 'pach.size=3': pach: is not a known key; did you mean 'patch'?",
                {"pach.size=3"}},
        Refused{"wrong_type",
                smallest + "streams: 2",
                "command line 'streams=two': streams: is 'two'; a whole number from 1 to 256 is needed",
                {"streams=two"}},
        Refused{
            "patch_0",
            smallest + "patch: {size: 3}",
            "command line 'patch.size=0': patch.size: is '0'; a whole number from 1 to 2147483647 is needed",
            {"patch.size=0"}},
        Refused{"inside_a_list",
                smallest,
                "command line 'patch.size=[3, 0]': patch.size[1]: is '0'; a whole number from 1 to "
                "2147483647 is needed",
                {"patch.size=[3, 0]"}},
        Refused{"the_last_word_counts",
                smallest,
                "command line 'streams=-2': streams: is '-2'; a whole number from 1 to 256 is needed",
                {"streams=-1", "streams=-2"}},
        Refused{"inside_a_mapping",
                smallest,
                "command line 'measure={min_runs: 0}': measure.min_runs: is '0'; a whole number from 1 to "
                "1000000 is needed",
                {"measure={min_runs: 0}"}},
        Refused{"size_and_grid",
                smallest,
                "command line 'patch={size: 1, grid: 2}': patch: has both size and grid; keep "
                "one of the two",
                {"patch={size: 1, grid: 2}"}},
        Refused{"no_model", smallest, "command line 'model=': model: ...", {"model="}},
        Refused{"empty_model",
                smallest,
                "command line 'model=\"\"': model: is ''; a word is needed",
                {"model=\"\""}},
        Refused{"empty_image",
                "model: m\ninput: {images: p}",
                "command line 'input.images=['']': input.images[0]: is ''; a word is needed",
                {"input.images=['']"}},
        Refused{"empty_weights_of_a_sweep", smallest + "sweep: {weights.file: ['']}",
                "e.yaml: sweep: 'weights.file=\"\"': weights.file: is ''; a word is needed"},
        Refused{"list_that_holds_itself",
                smallest,
                "command line 'sweep={streams: &a [*a]}': the value is nested deeper than 64 levels, ...",
                {"sweep={streams: &a [*a]}"}},
        Refused{"second_document",
                smallest,
                "command line 'streams=1\\x0a---\\x0a2': the value is a second document (behind ---); keep "
                "one of "
                "the two",
                {"streams=1\n---\n2"}},
        Refused{"mapping_for_a_path", smallest, "command line 'model={a: b}': model: ...", {"model={a: b}"}},
        Refused{"mapping_for_images",
                smallest,
                "command line 'input.images={a: b}': input.images: ...",
                {"input.images={a: b}"}},
        Refused{"word_and_file",
                smallest + "patch: {storage: x}",
                "command line 'streams=0': streams: is '0'; a whole number from 1 to 256 is needed",
                {"streams=0", "patch="}}),
    [](const testing::TestParamInfo<Refused>& c) { return c.param.name; });

TEST(Config, OneFileGivesManyExperiments) {
  const TempFolder folder;
  ConfigFile file(folder.write("e.yaml", smallest + "patch: {size: 64, storage: packed}\nstreams: 3\n"));
  const nlohmann::json plain = to_json(file.experiment({}));
  for (const Words& words : {Words{"patch.grid=[2, 3]", "streams=2"}, Words{"patch=whole"},
                             Words{"measure.warmup=0", "input.file=x"},
                             Words{"output.save.conv1=x.npy", "patch.size=2", "patch.grid=2"}}) {
    EXPECT_NE(to_json(file.point(words)), plain);
    EXPECT_EQ(to_json(file.point({})), plain) << "nothing stays of overrides";
  }
  const auto message = [&](const Words& words) {
    return message_of<ConfigError>(folder.path(), [&] { (void)file.point(words); });
  };
  EXPECT_FALSE(message({"patch.grid=2", "patch.size=0"}).empty());
  EXPECT_FALSE(message({"patch.grid=2", "a..b=0"}).empty());
  EXPECT_EQ(to_json(file.point({})), plain);
}

TEST(Config, LongAxesAreReadOnce) {
  EXPECT_EQ(read(smallest + "sweep: {weights.random: 'range(0, 10000)'}").axes.at(0).steps.size(), 10000U)
      << "takes long if every step reads them again";
}

TEST(Config, MissingFileIsNamed) {
  const TempFolder folder;
  EXPECT_EQ(
      message_of<ConfigError>(folder.path(), [&] { (void)read_experiment(folder.path() / "no.yaml", {}); }),
      "no.yaml: cannot be opened; check the path");
}

TEST(Config, JsonCarriesEveryDefault) {
  const nlohmann::json json = to_json(read(smallest + "patch: {size: [3, 4]}"));
  EXPECT_EQ(json["patch"]["size"], (nlohmann::json{3, 4}));
  EXPECT_EQ(json["patch"]["stages"], "per_conv");
  EXPECT_EQ(json["measure"]["min_runs"], 10);
  EXPECT_EQ(json["measure"]["tightness"], 0.02);
  EXPECT_EQ(json["measure"]["cache"], "hot");
  EXPECT_EQ(json["measure"]["trace"], "");
  EXPECT_EQ(json["input"]["random"], 1);
  EXPECT_EQ(json["weights"]["random"], 7);
  EXPECT_EQ(json["streams"], 1);
}

}  // namespace
}  // namespace halotile
