// What makes two measurements the same one: the resolved config with the contents of the files it names.
#pragma once

#include <map>
#include <string>

#include "pipeline/experiment/config.hpp"

namespace halotile {

/// Reads every file once, whatever the number of points.
class Identities {
 public:
  struct Identity {
    std::string config;  ///< PointRecord::config_hash
    std::string input;
  };

  /// Files that cannot be read count as empty: the point itself will say what is wrong with them.
  [[nodiscard]] Identity of(const Experiment& experiment);

 private:
  [[nodiscard]] std::string contents(const std::filesystem::path& path);

  std::map<std::filesystem::path, std::string> known_;
};

}  // namespace halotile
