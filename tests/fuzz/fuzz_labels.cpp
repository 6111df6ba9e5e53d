// Any bytes as class names and as labels of images: lists, or an Error that says something.
#include "memory_file.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/labels.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halotile;
  static fuzz::MemoryFile file;
  const std::filesystem::path path = file.fill(data, size);
  const std::vector<std::string> names{"0", "1", "tench", "tench", "great white shark"};
  try {
    const Labels labels(path, names, 5);
    if (const auto label = labels.of("a.png"); label && (*label < 0 || *label >= 5)) std::abort();
  } catch (const Error& e) {
    fuzz::check_message(e);
  }
  try {
    if (read_class_names(path, 2).size() != 2) std::abort();
  } catch (const Error& e) {
    fuzz::check_message(e);
  }
  return 0;
}
