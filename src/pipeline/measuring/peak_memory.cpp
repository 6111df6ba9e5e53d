#include "pipeline/measuring/peak_memory.hpp"

#include <malloc.h>

#include <fstream>
#include <string>

namespace halotile {

std::size_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

void reset_peak_memory() {
  malloc_trim(0);
  constexpr const char* reset_high_water_mark = "5";  // see proc(5)
  std::ofstream("/proc/self/clear_refs") << reset_high_water_mark;
}

}  // namespace halotile
