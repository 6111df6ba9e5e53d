// What made a result: build, machine, libraries.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "pipeline/experiment/session.hpp"

namespace halotile {

struct BuildInfo {
  const char* version;
  const char* git_commit;
  bool git_dirty;
  const char* compiler;
  const char* build_type;
  const char* flags;
};

/// Written by the build.
extern const BuildInfo build_info;

/// Now, in UTC: 2026-11-22T10:11:12Z.
[[nodiscard]] std::string utc_now();

/// The processor's name as the system gives it.
[[nodiscard]] std::string cpu_name();

/// Build and machine.
[[nodiscard]] nlohmann::json machine_json();

/// The same without what changes from minute to minute: what tells two builds or machines apart.
[[nodiscard]] nlohmann::json lasting_machine_json();

/// Build and machine with the session's resolved config, threads and weights' hash. Of a session from values
/// the config names no model, weights and input.
[[nodiscard]] nlohmann::json provenance_json(const Session& session);

}  // namespace halotile
