#include "pipeline/experiment/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "patching/error.hpp"
#include "pipeline/network/yaml_reader.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const Words memory_modes{"arena", "pool"};  // in the order of MemoryMode

class ExperimentReader {
 public:
  ExperimentReader(const fs::path& file, const YAML::Node& root, Diagnostics diagnostics, bool with_axes)
      : folder_(file.parent_path()), diagnostics_(std::move(diagnostics)), with_axes_(with_axes) {
    experiment_.name = file.stem().string();
    YamlMap map(diagnostics_, root, "");
    read(map);
    map.finish();
    diagnostics_.throw_if_any();
  }

  [[nodiscard]] Experiment take() { return std::move(experiment_); }

 private:
  void read(YamlMap& map) {
    if (const auto model = map.require("model", "model: models/alexnet.yaml"))
      experiment_.model = path(*model);
    if (const auto until = map.find("until")) experiment_.until = until->text().value_or("");
    if (const auto weights = map.find("weights")) read_weights(*weights);
    if (const auto input = map.require("input", "input: {images: [photos], batch: 32}")) read_input(*input);
    if (const auto preprocess = map.find("preprocess")) read_preprocess(*preprocess);
    if (const auto dropout = map.find("dropout")) read_dropout(*dropout);
    experiment_.device = read_device(map);
    static const Words engines{"auto", "onednn", "reference", "direct", "tensor_core", "cudnn"};
    experiment_.engine = map.choice("engine", "auto", engines);
    if (const auto direct = map.find("direct")) {
      YamlMap d(diagnostics_, direct->node(), "direct");
      static const Words staged{"auto", "input", "filter"};
      experiment_.direct_stage = d.choice("stage", "auto", staged);
      d.finish();
    }
    static const Words precisions{"fp32", "tf32", "bf16", "fp16"};
    experiment_.precision = map.choice("precision", "fp32", precisions);
    if (const auto patch = map.find("patch")) read_patch(*patch);
    experiment_.streams = static_cast<int>(map.integer("streams", 1, 1, 256));
    experiment_.threads = static_cast<int>(read_or_word(map, "threads", "auto", 1024));
    read_sub_batch(map);
    static const Words dispatches{"streams", "graph", "batched"};
    experiment_.dispatch = map.choice("dispatch", "streams", dispatches);
    const std::string memory = map.choice("memory", "arena", memory_modes);
    experiment_.memory = static_cast<MemoryMode>(std::find(memory_modes.begin(), memory_modes.end(), memory) -
                                                 memory_modes.begin());
    if (const auto output = map.find("output")) read_output(*output);
    const auto sweep = map.find("sweep");
    if (sweep && with_axes_) experiment_.axes = read_axes(*sweep, folder_);
    if (const auto measure = map.find("measure")) {
      YamlMap m(diagnostics_, measure->node(), "measure");
      MeasureSettings& s = experiment_.measure;
      s.warmup = static_cast<int>(m.integer("warmup", s.warmup, 0, 1'000'000));
      s.min_runs = static_cast<int>(m.integer("min_runs", s.min_runs, 1, 1'000'000));
      s.max_seconds = m.number("max_seconds", s.max_seconds, 0, 1e6);
      s.tightness = m.number("tightness", s.tightness, 1e-4, 1);
      static const Words caches{"hot", "cold"};
      s.cold = m.choice("cache", "hot", caches) == "cold";
      static const Words places{"host", "device"};
      experiment_.resident_input = m.choice("input", "host", places) == "device";
      experiment_.resident_output = m.choice("output", "host", places) == "device";
      read_trace(m);
      m.finish();
    }
  }

  void read_trace(YamlMap& map) {
    const auto value = map.find("trace");
    if (!value) return;
    experiment_.trace = value->text().value_or("");
    const fs::path name = experiment_.trace;
    if (name.has_parent_path() || name.extension() != ".json") {
      value->error(
          fmt::format("is '{}'; a file name ending in .json is needed, without folders", experiment_.trace));
    }
    if (name == experiment_.name + ".run.json") {
      value->error(fmt::format("is '{}', where the result goes; choose another name", experiment_.trace));
    }
  }

  // A whole number of at least 1, or a word that stands for 0.
  std::int64_t read_or_word(YamlMap& map, const std::string& key, const char* word, std::int64_t high) {
    const auto value = map.find(key);
    if (!value || value->is_word(word)) return 0;
    return value->integer(1, high).value_or(0);
  }

  void read_sub_batch(YamlMap& map) {
    constexpr std::int64_t most = 1 << 20;
    const auto value = map.find("sub_batch");
    if (!value || !value->is_list()) {
      experiment_.sub_batch = read_or_word(map, "sub_batch", "all", most);
      return;
    }
    for (const YamlValue& size : value->list())
      experiment_.first_sub_batches.push_back(size.integer(1, most).value_or(1));
    if (experiment_.first_sub_batches.empty()) {
      value->error("is empty; sizes in order are needed, the last one for all that is left: [8, 16, 32]");
      return;
    }
    experiment_.sub_batch = experiment_.first_sub_batches.back();
    experiment_.first_sub_batches.pop_back();
  }

  [[nodiscard]] fs::path path(const YamlValue& value) const {
    const fs::path given = value.text().value_or("");
    return given.is_absolute() ? given : folder_ / given;
  }

  std::string read_device(YamlMap& map) {
    const auto value = map.find("device");
    if (!value) return "auto";
    const std::string word = value->text().value_or("auto");
    const bool numbered = word.starts_with("cuda:") && word.size() > 5 && word.size() < 8 &&
                          word.find_first_not_of("0123456789", 5) == std::string::npos;
    if (word != "auto" && word != "cpu" && word != "cuda" && !numbered) {
      value->error(fmt::format("is '{}'; one of auto, cpu, cuda, cuda:1 is needed", word));
    }
    return word;
  }

  void read_weights(const YamlValue& value) {
    YamlMap map(diagnostics_, value.node(), value.path());
    WeightsConfig& weights = experiment_.weights;
    const auto random = map.find("random");
    const auto file = map.find("file");
    if (random && file) map.error("has both random and file; keep one of the two");
    if (random) weights.seed = static_cast<std::uint64_t>(random->integer(0, INT64_MAX).value_or(7));
    if (file) weights.file = path(*file);
    weights.rename = map.words("rename");
    map.finish();
  }

  void read_input(const YamlValue& value) {
    YamlMap map(diagnostics_, value.node(), value.path());
    InputConfig& input = experiment_.input;
    const auto random = map.find("random");
    const auto images = map.find("images");
    const auto file = map.find("file");
    if (int{random.has_value()} + int{images.has_value()} + int{file.has_value()} != 1) {
      map.error("needs exactly one of random: SEED, images: [folder, photo.jpg], file: x.npy");
    }
    if (random)
      input.source = RandomInput{static_cast<std::uint64_t>(random->integer(0, INT64_MAX).value_or(1))};
    if (images) {
      ImageInput paths;
      if (images->is_list()) {
        for (const YamlValue& entry : images->list()) paths.paths.push_back(path(entry));
      } else {
        paths.paths.push_back(path(*images));
      }
      input.source = paths;
    }
    if (file) input.source = NpyInput{path(*file)};
    if (const auto labels = map.find("labels")) {
      input.labels = path(*labels);
      if (!images) labels->error("belongs to photographs; give input.images, or leave labels out");
    }
    input.batch = map.integer("batch", 0, 1, 1 << 20);
    static const Words reactions{"stop", "skip"};
    input.on_error = map.choice("on_error", "stop", reactions) == "skip" ? OnError::skip : OnError::stop;
    input.decoders = static_cast<int>(read_or_word(map, "decoders", "auto", 256));
    const auto height = map.find("height");
    const auto width = map.find("width");
    if (height.has_value() != width.has_value())
      map.error("has one of height and width; give both or neither");
    if (height && width) {
      input.extent =
          Extent2{height->integer(1, largest_size).value_or(1), width->integer(1, largest_size).value_or(1)};
    }
    if (const auto upload = map.find("upload")) {
      static const Words types{"fp32", "uint8"};
      input.pixels = upload->choice(types) == "uint8";
      if (input.pixels && !images)
        upload->error("is 'uint8', but only photographs (input.images) have 8-bit pixels; leave it out");
    }
    map.finish();
  }

  void read_preprocess(const YamlValue& value) {
    YamlMap map(diagnostics_, value.node(), value.path());
    Preprocess& p = experiment_.preprocess;
    p.resize = map.integer("resize", 0, 1, 1 << 20);
    p.crop = map.extent("crop", {0, 0}, 1, 1 << 20);
    static const Words filters{"bilinear", "bicubic"};
    p.interpolation = map.choice("interpolation", "bilinear", filters) == "bilinear" ? Interpolation::bilinear
                                                                                     : Interpolation::bicubic;
    read_channels(map, "mean", p.mean, -1e6);
    read_channels(map, "std", p.stddev, 1e-6);
    read_crops(map);
    map.finish();
  }

  void read_crops(YamlMap& map) {
    CropsConfig& crops = experiment_.crops;
    static const Words words{"center", "ten"};
    const auto kind = map.find("crops");
    if (kind && kind->choice(words) == "ten") crops.kind = CropsConfig::Kind::ten;
    const auto augment = map.find("augment");
    if (!augment) return;
    if (kind) map.error("has both crops and augment; keep one of the two");
    crops.kind = CropsConfig::Kind::random;
    YamlMap random(diagnostics_, augment->node(), augment->path());
    if (const auto seed = random.require("seed", "seed: 1"))
      crops.seed = static_cast<std::uint64_t>(seed->integer(0, INT64_MAX).value_or(0));
    random.finish();
  }

  void read_dropout(const YamlValue& value) {
    YamlMap map(diagnostics_, value.node(), value.path());
    DropoutConfig& dropout = experiment_.dropout;
    if (const auto samples = map.require("samples", "samples: 20"))
      dropout.samples = static_cast<int>(samples->integer(1, 1 << 20).value_or(1));
    dropout.seed = static_cast<std::uint64_t>(map.integer("seed", 1, 0, INT64_MAX));
    map.finish();
  }

  static void read_channels(YamlMap& map, const std::string& key, std::array<float, 3>& channels,
                            double low) {
    const auto value = map.find(key);
    if (!value) return;
    const auto parts = value->list();
    if (value->is_list() && parts.size() != channels.size()) {
      value->error(fmt::format("is {}; three numbers are needed: red, green, blue", value->shown()));
      return;
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      channels[i] = static_cast<float>(parts[i].number(low, 1e6).value_or(1));
    }
  }

  void read_patch(const YamlValue& value) {
    if (value.is_word("whole")) return;
    YamlMap map(diagnostics_, value.node(), value.path());
    const auto size = map.find("size");
    const auto grid = map.find("grid");
    if (size && grid) map.error("has both size and grid; keep one of the two");
    if (size && !size->is_word("whole")) {
      experiment_.patch = {PatchSpec::Kind::size, size->extent(1, largest_size).value_or(Extent2{1, 1})};
    } else if (grid) {
      experiment_.patch = {PatchSpec::Kind::grid, grid->extent(1, 1 << 18).value_or(Extent2{1, 1})};
    }
    if (const auto stages = map.find("stages")) read_stages(*stages);
    static const Words storages{"view", "packed"};
    experiment_.storage = map.choice("storage", "view", storages) == "view" ? Storage::view : Storage::packed;
    map.finish();
  }

  void read_stages(const YamlValue& value) {
    StagesConfig& stages = experiment_.stages;
    if (!value.is_list()) {
      static const Words words{"per_conv", "fused"};
      stages.kind = value.choice(words) == "fused" ? StagesConfig::Kind::fused : StagesConfig::Kind::per_conv;
      return;
    }
    stages.kind = StagesConfig::Kind::groups;
    for (const YamlValue& group : value.list()) {
      Words names;
      for (const YamlValue& layer : group.list()) names.push_back(layer.text().value_or(""));
      stages.groups.push_back(std::move(names));
    }
  }

  void read_output(const YamlValue& value) {
    YamlMap map(diagnostics_, value.node(), value.path());
    if (const auto directory = map.find("directory"))
      experiment_.output.directory = directory->text().value_or("");
    if (const auto save = map.find("save")) {
      YamlMap names(diagnostics_, save->node(), save->path());
      for (const auto& entry : save->node()) {
        if (!entry.first.IsScalar()) continue;
        const auto file = names.find(entry.first.Scalar());
        if (!file) continue;
        const std::string name = file->text().value_or("x.npy");
        if (fs::path(name).has_parent_path() || fs::path(name).extension() != ".npy") {
          file->error(fmt::format("is '{}'; a file name ending in .npy is needed, without folders", name));
        }
        for (const auto& [layer, other] : experiment_.output.save) {
          if (other == name)
            file->error(
                fmt::format("is '{}', which another layer is saved to; file names must differ", name));
        }
        experiment_.output.save[entry.first.Scalar()] = name;
      }
    }
    map.finish();
  }

  fs::path folder_;
  Diagnostics diagnostics_;
  bool with_axes_;
  Experiment experiment_;
};

nlohmann::json extent_json(Extent2 e) { return {e.height, e.width}; }

nlohmann::json weights_json(const WeightsConfig& weights) {
  if (weights.file.empty()) return {{"random", weights.seed}};
  return {{"file", weights.file.string()}, {"rename", weights.rename}};
}

nlohmann::json input_json(const InputConfig& input) {
  nlohmann::json json{{"batch", input.batch},
                      {"upload", input.pixels ? "uint8" : "fp32"},
                      {"on_error", input.on_error == OnError::skip ? "skip" : "stop"},
                      {"decoders", input.decoders}};
  if (!input.labels.empty()) json["labels"] = input.labels.string();
  if (const auto* random = std::get_if<RandomInput>(&input.source)) json["random"] = random->seed;
  if (const auto* npy = std::get_if<NpyInput>(&input.source)) json["file"] = npy->file.string();
  if (const auto* images = std::get_if<ImageInput>(&input.source)) {
    for (const fs::path& p : images->paths) json["images"].push_back(p.string());
  }
  if (input.extent) {
    json["height"] = input.extent->height;
    json["width"] = input.extent->width;
  }
  return json;
}

}  // namespace

Experiment ConfigFile::values_of(const fs::path& file, const YAML::Node& root, Diagnostics diagnostics,
                                 bool with_axes) {
  return ExperimentReader(file, root, std::move(diagnostics), with_axes).take();
}

nlohmann::json to_json(const Experiment& e) {
  nlohmann::json sub_batch = e.sub_batch;
  if (!e.first_sub_batches.empty()) {
    sub_batch = e.first_sub_batches;
    sub_batch.push_back(e.sub_batch);
  }
  nlohmann::json preprocess{
      {"resize", e.preprocess.resize},
      {"crop", extent_json(e.preprocess.crop)},
      {"interpolation", e.preprocess.interpolation == Interpolation::bilinear ? "bilinear" : "bicubic"},
      {"mean", e.preprocess.mean},
      {"std", e.preprocess.stddev}};
  if (e.crops.kind == CropsConfig::Kind::random) {
    preprocess["augment"] = {{"seed", e.crops.seed}};
  } else {
    preprocess["crops"] = e.crops.kind == CropsConfig::Kind::ten ? "ten" : "center";
  }
  nlohmann::json patch{{"storage", e.storage == Storage::view ? "view" : "packed"}};
  if (e.patch.kind == PatchSpec::Kind::whole) patch["size"] = "whole";
  if (e.patch.kind == PatchSpec::Kind::size) patch["size"] = extent_json(e.patch.value);
  if (e.patch.kind == PatchSpec::Kind::grid) patch["grid"] = extent_json(e.patch.value);
  switch (e.stages.kind) {
    case StagesConfig::Kind::per_conv:
      patch["stages"] = "per_conv";
      break;
    case StagesConfig::Kind::fused:
      patch["stages"] = "fused";
      break;
    case StagesConfig::Kind::groups:
      patch["stages"] = e.stages.groups;
      break;
  }
  return {{"model", e.model.string()},
          {"until", e.until},
          {"weights", weights_json(e.weights)},
          {"input", input_json(e.input)},
          {"preprocess", preprocess},
          {"dropout", {{"samples", e.dropout.samples}, {"seed", e.dropout.seed}}},
          {"device", e.device},
          {"engine", e.engine},
          {"direct", {{"stage", e.direct_stage}}},
          {"precision", e.precision},
          {"patch", patch},
          {"streams", e.streams},
          {"threads", e.threads},
          {"sub_batch", sub_batch},
          {"dispatch", e.dispatch},
          {"memory", memory_modes[static_cast<std::size_t>(e.memory)]},
          {"output", {{"directory", e.output.directory.string()}, {"save", e.output.save}}},
          {"measure",
           {{"warmup", e.measure.warmup},
            {"min_runs", e.measure.min_runs},
            {"max_seconds", e.measure.max_seconds},
            {"tightness", e.measure.tightness},
            {"cache", e.measure.cold ? "cold" : "hot"},
            {"input", e.resident_input ? "device" : "host"},
            {"output", e.resident_output ? "device" : "host"},
            {"trace", e.trace}}}};
}

}  // namespace halotile
