// Experiment configs: what to run, on what, and how. docs/config.md describes every key; the defaults are
// here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/preprocess.hpp"
#include "kernels/engines/kinds.hpp"
#include "patching/plan.hpp"
#include "pipeline/experiment/axes.hpp"
#include "pipeline/measuring/measuring.hpp"
#include "pipeline/running/executor.hpp"

namespace halotile {

struct WeightsConfig {
  std::uint64_t seed = 7;                     ///< of random weights, when there is no file
  std::filesystem::path file;                 ///< safetensors or .npz; empty: random
  std::map<std::string, std::string> rename;  ///< names of layers in the file -> names in the model
};

struct ImageInput {
  std::vector<std::filesystem::path> paths;  ///< files and folders
};
struct RandomInput {
  std::uint64_t seed = 1;
};
struct NpyInput {
  std::filesystem::path file;  ///< (N, C, H, W)
};
/// Whatever a Session was given; no key of a config names it.
struct GivenInput {};

/// What an image that cannot be read does to a run.
enum class OnError : std::uint8_t { stop, skip };

struct InputConfig {
  std::variant<RandomInput, ImageInput, NpyInput, GivenInput> source;
  std::int64_t batch = 0;        ///< images per forward pass; 0: all, but at most 32 maps (random: 1)
  std::filesystem::path labels;  ///< CSV file with the classes of the images; empty: none
  OnError on_error = OnError::stop;
  int decoders = 0;               ///< threads that read images ahead; 0: half of the cores, at least 1
  std::optional<Extent2> extent;  ///< replaces the model's input height and width
  bool pixels = false;            ///< photographs go to the device as 8-bit pixels and are normalized there
};

/// Which crops of a resized photograph go through the network.
struct CropsConfig {
  enum class Kind : std::uint8_t { center, ten, random };
  Kind kind = Kind::center;
  std::uint64_t seed = 0;  ///< of random crops
};

/// Monte Carlo dropout.
struct DropoutConfig {
  int samples = 0;  ///< forward passes with masks; 0: dropout passes everything on
  std::uint64_t seed = 1;
};

/// How layers are grouped to stages.
struct StagesConfig {
  enum class Kind : std::uint8_t { per_conv, fused, groups };
  Kind kind = Kind::per_conv;
  std::vector<std::vector<std::string>> groups;  ///< layer names; the spatial layers in order
};

/// `device`: auto, cpu, cuda, cuda:1.
struct DeviceChoice {
  std::optional<DeviceKind> kind;  ///< none: auto
  std::optional<int> index;        ///< of the GPU; none: 0

  bool operator==(const DeviceChoice&) const = default;
};
[[nodiscard]] std::string to_string(const DeviceChoice& device);
/// What to_string() gives, and nothing for other words.
[[nodiscard]] std::optional<DeviceChoice> device_choice(std::string_view text);

struct OutputConfig {
  std::filesystem::path directory = "results";
  /// Layer name -> file name in the directory (.npy). run_experiment() looks at the layers alone.
  std::map<std::string, std::string> save;
};

struct Experiment {
  std::string name;  ///< the config file's stem
  std::filesystem::path model;
  std::string until;  ///< last layer to run; empty: all
  WeightsConfig weights;
  InputConfig input;
  Preprocess preprocess;  ///< crop {0, 0}: the network's input extent
  CropsConfig crops;
  DropoutConfig dropout;
  DeviceChoice device;
  std::optional<EngineKind> engine;  ///< none: auto
  DirectStage direct_stage = DirectStage::automatic;
  Precision precision = Precision::fp32;
  PatchSpec patch;
  StagesConfig stages;
  Storage storage = Storage::view;
  int streams = 1;
  int threads = 0;  ///< threads inside each stream; 0: cores / streams, at least 1
  std::vector<std::int64_t> first_sub_batches;  ///< sub_batch as a list: all but its last
  std::int64_t sub_batch = 0;
  Dispatch dispatch = Dispatch::streams;
  MemoryMode memory = MemoryMode::arena;
  OutputConfig output;
  MeasureSettings measure;
  std::string trace;  ///< measure.trace: file in output.directory for the trace of one more run; empty: none
  bool resident_input = false;   ///< timed runs start with the input on the device
  bool resident_output = false;  ///< and leave their outputs there
  std::vector<SweepAxis> axes;   ///< what `halotile sweep` varies
};

/// A config file, read once for all the experiments that differ from it in a few keys.
class ConfigFile {
 public:
  /// Throws ConfigError.
  explicit ConfigFile(std::filesystem::path file);

  /// As read_experiment(), without a look at what the values of a sweep mean.
  [[nodiscard]] Experiment experiment(std::span<const std::string> overrides);
  /// The same without `axes`: one point of a sweep.
  [[nodiscard]] Experiment point(std::span<const std::string> overrides);

 private:
  // A mapping as it stood before an override changed it.
  struct Change {
    YAML::Node map;
    std::vector<std::pair<YAML::Node, YAML::Node>> entries;
  };

  [[nodiscard]] Experiment read(std::span<const std::string> overrides, bool with_axes);
  [[nodiscard]] static Experiment values_of(const std::filesystem::path& file, const YAML::Node& root,
                                            Diagnostics diagnostics, bool with_axes);
  void apply(const std::string& word, Diagnostics& diagnostics);
  void put(YAML::Node map, const std::string& key, const YAML::Node& value);
  void erase(const std::string& path);
  void keep(const YAML::Node& map);
  void take_changes_back();

  std::filesystem::path file_;
  YAML::Node root_;
  std::vector<Change> changes_;
};

/// Reads a config and applies `overrides` ("patch.size=32"). Paths of inputs are taken relative to the
/// config's folder (those in overrides relative to the current one). Throws ConfigError with every problem
/// found, in the values that a sweep would take too.
[[nodiscard]] Experiment read_experiment(const std::filesystem::path& file,
                                         std::span<const std::string> overrides);

/// The experiment as JSON with every default filled in, for provenance.
[[nodiscard]] nlohmann::json to_json(const Experiment& experiment);
/// Of what to_json() gave, here or in an earlier version: keys that are not there have their defaults,
/// unknown ones no effect. Throws ConfigError for values that this version does not know.
[[nodiscard]] Experiment experiment_of(const nlohmann::json& config);

}  // namespace halotile
