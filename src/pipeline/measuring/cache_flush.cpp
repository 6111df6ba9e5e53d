#include "pipeline/measuring/cache_flush.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

namespace halotile {
namespace {

constexpr std::size_t cache_unknown = std::size_t{32} << 20;
constexpr std::size_t beyond_device_cache = std::size_t{256} << 20;  // an H200's L2 has 50 MiB

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void write_all(std::vector<unsigned char>& memory, unsigned char value) {
  // Through volatile: nobody reads what is written.
  volatile unsigned char* const bytes = memory.data();
  constexpr std::size_t line = 64;
  for (std::size_t i = 0; i < memory.size(); i += line) bytes[i] = value;
}

void flush_core(int core, std::vector<unsigned char>& memory) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  write_all(memory, static_cast<unsigned char>(core + 1));
}

}  // namespace

std::size_t last_level_cache() {
  std::size_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/size", index));
    std::size_t size = 0;
    char unit = 0;
    if (file >> size >> unit) largest = std::max(largest, size << (unit == 'M' ? 20 : 10));
  }
  return largest > 0 ? largest : cache_unknown;
}

std::function<void()> cache_flusher(Device& device) {
  if (!device.host_memory()) {
    const auto buffer = std::make_shared<Buffer>(device.allocate(beyond_device_cache));
    return [&device, buffer] { device.poison(*buffer, 0); };
  }
  const auto memory = std::make_shared<std::vector<unsigned char>>(2 * last_level_cache());
  return [memory, cores = usable_cores()] {
    // One core after the other: each writes all of it, so that its own levels are full of it too.
    for (const int core : cores) std::thread(flush_core, core, std::ref(*memory)).join();
  };
}

}  // namespace halotile
