// Paths as people write them: "~" at the start is their home folder. Shells replace it in words of its own,
// but neither in key=~/x nor in files.
#pragma once

#include <filesystem>

namespace halotile {

/// Whether expand_home() changes or refuses the path.
[[nodiscard]] bool begins_at_home(const std::filesystem::path& path);

/// "~" and "~/..." with the folder that the environment's HOME names; other paths as they are. Throws
/// ConfigError for another user's home folder (~name/...), and where HOME is not set.
[[nodiscard]] std::filesystem::path expand_home(const std::filesystem::path& path);

}  // namespace halotile
