#include "formats/home_path.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {

bool begins_at_home(const std::filesystem::path& path) { return path.native().starts_with('~'); }

std::filesystem::path expand_home(const std::filesystem::path& path) {
  if (!begins_at_home(path)) return path;
  const std::string_view rest = std::string_view(path.native()).substr(1);
  if (!rest.empty() && !rest.starts_with('/')) {
    const std::string_view user = rest.substr(0, rest.find('/'));
    throw ConfigError(
        fmt::format("'{}': ~{} would be another user's home folder; write the whole path, or ./ before a "
                    "name that begins "
                    "with ~",
                    shown_path(path), printable(user)));
  }
  const char* const home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') {
    throw ConfigError(
        fmt::format("'{}': the environment's HOME names no folder; write the whole path", shown_path(path)));
  }
  return home + std::string(rest);
}

}  // namespace halotile
