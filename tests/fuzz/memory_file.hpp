// What the fuzz targets share: a file that exists in memory only, and what an error message must be.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>

namespace halotile::fuzz {

/// One file that readers can open by its path, filled anew for each input.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  const std::filesystem::path& fill(const std::uint8_t* data, std::size_t size) {
    if (::ftruncate(descriptor_, 0) != 0) std::abort();
    if (::pwrite(descriptor_, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
    return path_;
  }

 private:
  int descriptor_;
  std::filesystem::path path_;
};

/// Messages of file readers are one line of bearable length, whatever the file holds.
inline void check_message(const std::exception& error) {
  const std::string_view message = error.what();
  if (message.empty() || message.size() > 2000 || message.find('\n') != std::string_view::npos) std::abort();
}

}  // namespace halotile::fuzz
