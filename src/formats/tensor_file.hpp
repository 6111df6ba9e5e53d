// Files of named arrays, as trained weights are kept: one interface, whatever the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace halotile {

/// What a file says of one array.
struct TensorInfo {
  std::string type;                 ///< as the file spells it: "F32", "<f4"
  std::vector<std::int64_t> shape;  ///< no sizes: a single number
};

/// An open file of named arrays. Opening checks the whole structure; elements are read when asked for.
/// One thread at a time.
class TensorFile {
 public:
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;
  virtual ~TensorFile() = default;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// All names, in the order of their bytes.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool contains(std::string_view name) const { return tensors_.contains(name); }
  /// Throw FormatError when the file has no such array.
  [[nodiscard]] const std::vector<std::int64_t>& shape(std::string_view name) const {
    return find(name).info.shape;
  }
  [[nodiscard]] const std::string& type(std::string_view name) const { return find(name).info.type; }
  /// The elements in C order (last index fastest), as floats. Throws FormatError when the file has no such
  /// array, its type is not one that floats can stand for, an element of a wider type is finite but too large
  /// for a float, or the file cannot be read or has changed.
  [[nodiscard]] std::vector<float> read(std::string_view name) const;
  /// What else the file says (safetensors' `__metadata__`).
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

 protected:
  /// An array and the number by which the format finds it again.
  struct Entry {
    TensorInfo info;
    std::size_t index = 0;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  TensorFile(std::filesystem::path path, Entries tensors, std::map<std::string, std::string> metadata)
      : path_(std::move(path)), tensors_(std::move(tensors)), metadata_(std::move(metadata)) {}

 private:
  [[nodiscard]] virtual std::vector<float> read_elements(const std::string& name,
                                                         const Entry& entry) const = 0;
  [[nodiscard]] const Entry& find(std::string_view name) const;

  std::filesystem::path path_;
  Entries tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Opens a safetensors or .npz file; its first bytes decide which, not its name. Throws FormatError when the
/// file cannot be read, is malformed, or of another kind.
[[nodiscard]] std::unique_ptr<TensorFile> open_weights(const std::filesystem::path& path);

}  // namespace halotile
