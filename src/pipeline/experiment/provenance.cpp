#include "pipeline/experiment/provenance.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>

#include <ctime>
#include <fstream>

#include "kernels/engines/registry/cuda_engines.hpp"

namespace halotile {

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

namespace {

// The GPUs that can be used, or null.
nlohmann::json gpus_json() {
  nlohmann::json json;
  for (const GpuInfo& gpu : usable_gpus()) {
    json.push_back({{"device", gpu.device},
                    {"name", gpu.name},
                    {"capability", gpu.capability},
                    {"multiprocessors", gpu.multiprocessors},
                    {"memory_bytes", gpu.memory},
                    {"free_memory_bytes", gpu.free_memory},
                    {"driver_cuda", gpu.driver},
                    {"runtime_cuda", gpu.runtime}});
  }
  return json;
}

}  // namespace

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
          {"cuda", gpus_json()},
          {"cuda_obstacle", gpu_obstacle(0)}};
}

nlohmann::json lasting_machine_json() {
  nlohmann::json json = machine_json();
  for (nlohmann::json& gpu : json["cuda"]) gpu.erase("free_memory_bytes");
  return json;
}

nlohmann::json provenance_json(const Session& session) {
  nlohmann::json json = machine_json();
  json["time"] = utc_now();
  json["config"] = to_json(session.experiment());
  if (session.from_values()) {
    for (const char* const file : {"model", "weights"}) json["config"].erase(file);
  }
  json["threads_per_stream"] = session.threads();
  json["weights_hash"] = fmt::format("{:016x}", session.weights().hash());
  return json;
}

}  // namespace halotile
