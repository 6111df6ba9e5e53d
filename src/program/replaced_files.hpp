// Files that a command must not write over: those it reads.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/experiment/config.hpp"

namespace halotile {

struct KeptFile {
  std::string what;  ///< "the store"
  std::filesystem::path path;
};

/// The store, and the files that SQLite keeps beside it.
[[nodiscard]] std::vector<KeptFile> files_of_store(const std::filesystem::path& store);

/// The config and what it names: model, weights, input and labels. Of a folder of photographs the one that
/// bears the name of `output`.
[[nodiscard]] std::vector<KeptFile> files_of_config(const std::filesystem::path& config,
                                                    const Experiment& experiment,
                                                    const std::filesystem::path& output);

/// Throws ConfigError when `output` is one of the files, by whatever path. `option` is what named it.
void refuse_to_replace(std::span<const KeptFile> files, std::string_view option,
                       const std::filesystem::path& output);

}  // namespace halotile
