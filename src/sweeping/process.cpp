#include "sweeping/process.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace halotile {
namespace {

// 0 when there is no such process.
std::int64_t start_of(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  // The program's name, in parentheses, may hold anything: fields are counted from the last parenthesis.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  constexpr int behind_name = 20;  // field 22, starttime; see proc(5)
  for (int i = 0; i < behind_name; ++i) fields >> field;
  if (line.compare(name_end, 4, ") Z ") == 0) return 0;  // dead, its parent has not looked yet
  return std::strtoll(field.c_str(), nullptr, 10);
}

std::string place() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::error_code none;
  return fmt::format("{} {}", boot, std::filesystem::read_symlink("/proc/self/ns/pid", none).string());
}

}  // namespace

ProcessName this_process() { return {place(), ::getpid(), start_of(::getpid())}; }

bool alive(const ProcessName& process) {
  return process.place == place() && process.start != 0 && start_of(process.pid) == process.start;
}

}  // namespace halotile
