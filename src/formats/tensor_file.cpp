#include "formats/tensor_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/input_file.hpp"
#include "formats/npz.hpp"
#include "formats/printable.hpp"
#include "formats/safetensors.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using namespace std::string_view_literals;

/// What people pass by mistake, by its first bytes.
struct OtherKind {
  std::string_view magic;
  std::string_view hint;
};
constexpr std::array kOtherFiles{
    OtherKind{"\x93NUMPY"sv, "is a .npy file, one array without a name; save all arrays with numpy.savez"},
    OtherKind{"version https://git-lfs"sv, "is a Git LFS pointer, not the file itself; run git lfs pull"},
    OtherKind{"\x89HDF"sv, "is an HDF5 file; save the weights as safetensors or with numpy.savez"},
    OtherKind{"\x80\x02"sv, "is a Python pickle; save the weights with safetensors.torch.save_file"},
    OtherKind{"\x80\x04"sv, "is a Python pickle; save the weights as safetensors or with numpy.savez"},
    OtherKind{"\x08"sv,
              "looks like an ONNX model; name it as the experiment's model, and its weights come with it"},
    OtherKind{"\x1f\x8b"sv, "is compressed with gzip; unpack it first"},
};

}  // namespace

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

const TensorFile::Entry& TensorFile::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw FormatError(fmt::format("{} has no tensor {} among its {}", shown_path(path_), shown_name(name),
                                  tensors_.size()));
  }
  return found->second;
}

std::vector<float> TensorFile::read(std::string_view name) const {
  return read_elements(std::string(name), find(name));
}

std::unique_ptr<TensorFile> open_weights(const std::filesystem::path& path) {
  std::array<char, 24> start{};
  std::string_view known;
  {
    const InputFile file(path);
    known = {start.data(), static_cast<std::size_t>(std::min<std::int64_t>(file.size(), start.size()))};
    file.read(0, std::as_writable_bytes(std::span(start).first(known.size())));
  }
  if (known.empty()) throw FormatError(fmt::format("{} is empty; save the weights again", shown_path(path)));
  if (known.starts_with("PK\x03\x04"sv) || known.starts_with("PK\x05\x06"sv)) return open_npz(path);
  if (known.size() > 8 && known[8] == '{') return open_safetensors(path);
  for (const OtherKind& kind : kOtherFiles) {
    if (known.starts_with(kind.magic)) throw FormatError(fmt::format("{} {}", shown_path(path), kind.hint));
  }
  throw FormatError(
      fmt::format("{} is neither a safetensors nor a .npz file (its first bytes fit neither); is it damaged, "
                  "or of another kind?",
                  shown_path(path)));
}

}  // namespace halotile
