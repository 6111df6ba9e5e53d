// What `compare` compares: measured points read from results of `run`, from stores, and from folders of them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sweeping/compare.hpp"

namespace halotile {

/// True when the file begins as stores do.
[[nodiscard]] bool is_store(const std::filesystem::path& file);

struct MeasuredSide {
  std::vector<MeasuredPoint> points;
  std::vector<std::string> builds;  ///< "commit 8212594 on AMD EPYC", each once
  bool single_run = false;          ///< results of `run` with one setting, and nothing else
};

/// The points of a result of `run` (NAME.run.json), of a store, or of a folder of such files. A point that
/// occurs in several files has a round for each, in the order of the files' names. Throws ConfigError or
/// FormatError for what is neither, StoreError for a store that cannot be read.
[[nodiscard]] MeasuredSide read_side(const std::filesystem::path& path);

/// The points that a build of `commit` left in the store, or in the stores of the folder, `store`: a commit's
/// first digits (at least four), with -dirty behind them for a tree with local changes, or a name that git
/// knows in the current folder. Throws ConfigError when there are none.
[[nodiscard]] MeasuredSide read_commit(const std::filesystem::path& store, const std::string& commit);

}  // namespace halotile
