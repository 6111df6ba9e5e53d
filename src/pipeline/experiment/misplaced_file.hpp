// What is given where an experiment belongs: a network, mostly, which an experiment only names.
#pragma once

#include <yaml-cpp/yaml.h>

#include <filesystem>

namespace halotile {

/// Parses a config. Throws ConfigError as load_yaml() does, and for a model file or an ONNX network, with the
/// experiment to write, as text to paste.
[[nodiscard]] YAML::Node load_config(const std::filesystem::path& file);

}  // namespace halotile
