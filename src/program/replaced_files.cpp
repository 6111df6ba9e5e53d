#include "program/replaced_files.hpp"

#include <fmt/format.h>

#include <system_error>

#include "patching/error.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;

// With links followed as far as there are files; without the current folder the path as it is.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) return path;
  fs::path canonical = fs::weakly_canonical(absolute, error);
  return error ? absolute : canonical;
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  const bool same = fs::equivalent(a, b, error);
  return error ? resolved(a) == resolved(b) : same;  // files that are not there yet have their names
}

}  // namespace

std::vector<KeptFile> files_of_store(const fs::path& store) {
  std::vector<KeptFile> files{{"the store", store}};
  for (const char* const end : {"-wal", "-shm", "-journal"}) {
    files.push_back({"a part of the store", resolved(store)});
    files.back().path += end;
  }
  return files;
}

std::vector<KeptFile> files_of_config(const fs::path& config, const Experiment& experiment,
                                      const fs::path& output) {
  std::vector<KeptFile> files{{"the config", config}, {"the model", experiment.model}};
  if (!experiment.weights.file.empty()) files.push_back({"the file of weights", experiment.weights.file});
  if (!experiment.input.labels.empty()) files.push_back({"the file of labels", experiment.input.labels});
  if (const auto* array = std::get_if<NpyInput>(&experiment.input.source))
    files.push_back({"the input", array->file});
  if (const auto* images = std::get_if<ImageInput>(&experiment.input.source)) {
    for (const fs::path& path : images->paths) {
      std::error_code error;
      const fs::path image = fs::is_directory(path, error) ? path / output.filename() : path;
      if (fs::exists(image, error)) files.push_back({"one of the images", image});
    }
  }
  return files;
}

void refuse_to_replace(std::span<const KeptFile> files, std::string_view option, const fs::path& output) {
  for (const KeptFile& file : files) {
    if (same_file(output, file.path)) {
      throw ConfigError(fmt::format("{}: {} is {}, which would be lost; choose another name", option,
                                    output.string(), file.what));
    }
  }
}

}  // namespace halotile
