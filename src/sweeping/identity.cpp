#include "sweeping/identity.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "formats/image_list.hpp"
#include "formats/mapped_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/hash.hpp"

namespace halotile {
namespace {

bool is_or_is_in(const std::string& key, const std::string& other) {
  return key == other || key.starts_with(other + ".");
}

std::string hash_of(const nlohmann::json& json) {
  return hash_text(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

// Where results go, how long measuring takes, and what is told of them.
constexpr std::array left_out{
    "output",        "measure.warmup", "measure.min_runs", "measure.max_seconds", "measure.tightness",
    "measure.trace", "input.labels",   "input.on_error",   "input.decoders"};

}  // namespace

bool decides_result(const std::string& key) {
  return !is_or_is_in(key, "sweep") && std::none_of(left_out.begin(), left_out.end(), [&](const char* other) {
    return is_or_is_in(key, other);
  });
}

std::string Identities::contents(const std::filesystem::path& path) {
  const auto [entry, is_new] = known_.try_emplace(path);
  if (!is_new) return entry->second;
  Hash hash;
  try {
    hash.add(MappedFile(path).bytes());
  } catch (const Error&) {
    hash = {};
  }
  entry->second = hash.digits();
  return entry->second;
}

Identities::Identity Identities::of(const Experiment& experiment) {
  nlohmann::json config = to_json(experiment);
  for (std::string key : left_out) {
    std::replace(key.begin(), key.end(), '.', '/');
    const nlohmann::json::json_pointer place("/" + key);
    config[place.parent_pointer()].erase(place.back());
  }
  config["model"] = contents(experiment.model);
  if (!experiment.weights.file.empty()) config["weights"]["file"] = contents(experiment.weights.file);
  nlohmann::json& input = config["input"];
  if (const auto* const npy = std::get_if<NpyInput>(&experiment.input.source))
    input["file"] = contents(npy->file);
  if (const auto* const images = std::get_if<ImageInput>(&experiment.input.source)) {
    input["images"] = nlohmann::json::array();
    try {
      for (const std::filesystem::path& path : list_images(images->paths))
        input["images"].push_back(contents(path));
    } catch (const Error&) {
      input["images"].push_back("none");
    }
  }
  return {hash_of(config), hash_of({input, config["preprocess"]})};
}

}  // namespace halotile
