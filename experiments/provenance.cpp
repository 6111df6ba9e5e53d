#include "provenance.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>

#include <ctime>
#include <fstream>

namespace halotile {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

nlohmann::json machine_json() {
  utsname system{};
  uname(&system);
  return {{"version", build_info.version},
          {"git_commit", build_info.git_commit},
          {"git_dirty", build_info.git_dirty},
          {"compiler", build_info.compiler},
          {"build_type", build_info.build_type},
          {"flags", build_info.flags},
          {"cpu", cpu_name()},
          {"cores", available_cores()},
          {"cpu_bf16", cpu_has_bf16()},
          {"system", fmt::format("{} {}", system.sysname, system.release)},
          {"onednn", onednn_version()},
          {"cuda", nullptr}};
}

nlohmann::json provenance_json(const Session& session) {
  nlohmann::json json = machine_json();
  json["time"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  json["config"] = to_json(session.experiment());
  json["threads_per_stream"] = session.threads();
  json["weights_hash"] = fmt::format("{:016x}", session.weights().hash());
  return json;
}

}  // namespace halotile
