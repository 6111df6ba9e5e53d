// A whole file as memory: pages come from the disk (or the page cache) when they are touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace halotile {

/// A regular file mapped for reading. Threads may share one object.
class MappedFile {
 public:
  /// Throws FormatError when `path` is missing, not readable, a folder or a device, or cannot be mapped.
  explicit MappedFile(std::filesystem::path path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// All bytes, as many as the file had when it was opened.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  /// Touching pages that the file has lost since it was opened ends the program (SIGBUS). Call this before
  /// reading: it throws FormatError when the file is no longer as long as it was.
  void check_size() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::span<const std::byte> bytes_;
};

}  // namespace halotile
