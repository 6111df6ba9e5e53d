// Files that appear whole or not at all. Bytes go to a temporary name in the same folder, reach the disk, and
// only then take the final name by one rename(2). Whatever interrupts the writer - an exception, a signal, a
// power cut - a reader of the final name sees the old contents or the new, never a part. A killed process may
// leave its temporary file behind (".<name>.<process>.<number>.part"); nothing reads such files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace halotile {

/// A file being written in pieces. Nothing bears the final name before commit().
class AtomicFile {
 public:
  /// Creates the temporary file. A symbolic link is followed: the file it points to will be replaced.
  /// Throws FormatError when the folder is missing, not writable or full, or `path` is a folder or device.
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless commit() succeeded.
  ~AtomicFile();

  /// Appends. Throws FormatError when the disk is full or fails.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Replaces bytes that were written before, from byte `offset` on.
  void rewrite(std::int64_t offset, std::string_view text);
  /// Forces the bytes to the disk, still under the temporary name: the long part of commit().
  void finish();
  /// Forces the bytes to the disk and gives the file its final name, replacing what was there. Call it once.
  /// Throws FormatError; the final name is then untouched.
  void commit();

 private:
  void forget_temporary();
  [[noreturn]] void fail(int error) const;

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  std::size_t listed_ = 0;  // place among the temporary files; their number where there was none left
};

/// Removes the temporary files that there are, for a process that ends at once. Signal handlers may call it.
void remove_temporary_files() noexcept;

/// Writes the whole file at once. Throws FormatError as AtomicFile does.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace halotile
