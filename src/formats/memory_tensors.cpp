#include "formats/memory_tensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "patching/geometry.hpp"

namespace halotile {
namespace {

class MemoryTensors final : public TensorFile {
 public:
  MemoryTensors(std::map<std::string, NpyArray> arrays, const std::string& path)
      : TensorFile(path, entries_of(arrays, path), {}), arrays_(std::move(arrays)) {}

 private:
  static Entries entries_of(const std::map<std::string, NpyArray>& arrays, const std::string& path) {
    Entries entries;
    for (const auto& [name, array] : arrays) {
      std::int64_t elements = 1;
      for (const std::int64_t size : array.shape)
        elements = checked_multiply(elements, size, "the number of elements of an array");
      if (elements != static_cast<std::int64_t>(array.data.size())) {
        throw ShapeError(fmt::format("{}: {} has {} elements, its shape ({}) has {}", path, shown_name(name),
                                     array.data.size(), fmt::join(array.shape, ", "), elements));
      }
      entries[name] = {{"F32", array.shape}, 0};
    }
    return entries;
  }

  [[nodiscard]] std::vector<float> read_elements(const std::string& name, const Entry&) const override {
    return arrays_.at(name).data;
  }

  const std::map<std::string, NpyArray> arrays_;
};

}  // namespace

std::unique_ptr<TensorFile> tensors_in_memory(std::map<std::string, NpyArray> arrays,
                                              const std::string& path) {
  return std::make_unique<MemoryTensors>(std::move(arrays), path);
}

}  // namespace halotile
