// Regular files for reading, whole or in parts, with one clear error for everything that can go wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace halotile {

/// A regular file open for reading. Reads name their own position, so threads may share one object.
class InputFile {
 public:
  /// Throws FormatError when `path` is missing, not readable, a folder or a device.
  explicit InputFile(std::filesystem::path path);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Bytes, as they were when the file was opened.
  [[nodiscard]] std::int64_t size() const { return size_; }
  /// Fills `out` from byte `offset` on. Throws FormatError when the file ends before, or the disk fails.
  void read(std::int64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

/// All bytes of the file. Throws FormatError as InputFile does.
[[nodiscard]] std::vector<std::byte> read_all(const InputFile& file);

}  // namespace halotile
