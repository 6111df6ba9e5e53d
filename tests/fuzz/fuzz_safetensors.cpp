// Any bytes as a safetensors file: opened, every tensor read, or a FormatError.
#include "formats/safetensors.hpp"
#include "memory_file.hpp"
#include "patching/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  static fuzz::MemoryFile file;
  try {
    const auto tensors = open_safetensors(file.fill(data, size));
    for (const std::string& name : tensors->names()) {
      try {
        std::int64_t elements = 1;
        for (const std::int64_t n : tensors->shape(name)) elements *= n;
        if (static_cast<std::int64_t>(tensors->read(name).size()) != elements) std::abort();
      } catch (const FormatError& e) {
        fuzz::check_message(e);
      }
    }
  } catch (const FormatError& e) {
    fuzz::check_message(e);
  }
  return 0;
}
