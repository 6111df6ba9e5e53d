// Any bytes as a model file: a network whose geometry hangs together, or a ConfigError.
#include "memory_file.hpp"
#include "patching/error.hpp"
#include "pipeline/network/network.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  static fuzz::MemoryFile file;
  try {
    const Network network = read_network(file.fill(data, size), {}, "");
    for (std::size_t n = 0; n < network.nodes.size(); ++n) {
      for (const std::size_t value : network.nodes[n].inputs) {
        if (value > n) std::abort();
      }
      if (network.index_of(network.nodes[n].name) != n) std::abort();
    }
    if (network.geometry().values.size() != network.spatial_nodes() + 1) std::abort();
  } catch (const ConfigError& e) {
    if (std::string_view(e.what()).empty()) std::abort();
  }
  return 0;
}
