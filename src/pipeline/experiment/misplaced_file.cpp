#include "pipeline/experiment/misplaced_file.hpp"

#include <fmt/format.h>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/yaml_reader.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;

// A path as YAML, in quotes where it needs them.
std::string in_yaml(const fs::path& path) {
  YAML::Emitter out;
  out << path.string();
  return out.c_str();
}

const char* const input_line = "input: {random: 1}  # or {images: [photos], batch: 32}";

void refuse_onnx(const fs::path& file) {
  std::error_code ignored;
  if (file.extension() != ".onnx" || !fs::is_regular_file(file, ignored)) return;
  throw ConfigError(fmt::format(
      "{}: is an ONNX network; an experiment is needed, which names it. Give a file with these lines, "
      "written to the current folder:\nmodel: {}\n{}",
      shown_path(file), in_yaml(file), input_line));
}

bool is_model(const YAML::Node& root) {
  const YAML::Node layers = root["layers"];
  return layers && layers.IsSequence() && !root["model"];
}

}  // namespace

YAML::Node load_config(const fs::path& file) {
  refuse_onnx(file);
  const YAML::Node root = load_yaml(file);
  if (is_model(root)) {
    throw ConfigError(
        fmt::format("{}: is a model file; an experiment is needed, which names it. Give a file with these "
                    "lines, written to the "
                    "current folder:\nmodel: {}\n{}",
                    shown_path(file), in_yaml(file), input_line));
  }
  return root;
}

}  // namespace halotile
