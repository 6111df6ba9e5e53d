// Any bytes as a .npy file: read, or a FormatError.
#include "formats/npy.hpp"

#include <algorithm>

#include "memory_file.hpp"
#include "patching/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  static fuzz::MemoryFile file;
  try {
    const NpyArray array = read_npy(file.fill(data, size));
    // A size of 0 makes the array empty, whatever the others would multiply to.
    std::int64_t elements = std::ranges::count(array.shape, 0) > 0 ? 0 : 1;
    for (const std::int64_t n : array.shape) elements = elements == 0 ? 0 : elements * n;
    if (static_cast<std::int64_t>(array.data.size()) != elements) std::abort();
  } catch (const FormatError& e) {
    fuzz::check_message(e);
  }
  return 0;
}
