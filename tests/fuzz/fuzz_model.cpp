// Any bytes as a model file: a network whose geometry hangs together, or a ConfigError.
#include "memory_file.hpp"
#include "patching/error.hpp"
#include "pipeline/network/network.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  static fuzz::MemoryFile file;
  try {
    const Network network = read_network(file.fill(data, size), {}, "");
    for (std::size_t i = 1; i < network.layers.size(); ++i) {
      if (network.layers[i].in != network.layers[i - 1].out) std::abort();
      if (network.index_of(network.layers[i].name) != i) std::abort();
    }
    if (network.geometry().size() != network.spatial_layers()) std::abort();
  } catch (const ConfigError& e) {
    if (std::string_view(e.what()).empty()) std::abort();
  }
  return 0;
}
