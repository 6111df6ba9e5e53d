// Any bytes as an experiment config: an experiment, or a ConfigError. What stands behind a zero byte is the
// overrides of the command line, separated by zero bytes.
#include <vector>

#include "memory_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  static fuzz::MemoryFile file;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::string_view text = all.substr(0, all.find('\0'));
  std::vector<std::string> overrides;
  for (std::size_t at = text.size(); at < all.size();) {
    const std::size_t end = std::min(all.find('\0', at + 1), all.size());
    overrides.emplace_back(all.substr(at + 1, end - at - 1));
    at = end;
  }
  try {
    (void)read_experiment(file.fill(data, text.size()), overrides);
  } catch (const ConfigError& e) {
    if (std::string_view(e.what()).empty()) std::abort();
  }
  return 0;
}
