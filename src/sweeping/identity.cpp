#include "sweeping/identity.hpp"

#include <nlohmann/json.hpp>

#include "formats/image_list.hpp"
#include "formats/mapped_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"
#include "pipeline/experiment/hash.hpp"

namespace halotile {
namespace {

std::string hash_of(const nlohmann::json& json) {
  return hash_text(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

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
  nlohmann::json config = config::deciding_json(experiment);
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
