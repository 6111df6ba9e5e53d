#include "formats/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

[[noreturn]] void fail_to_open(const std::filesystem::path& path, int error) {
  const std::string name = shown_path(path);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      throw FormatError(fmt::format("{} does not exist; check the path", name));
    case EACCES:
    case EPERM:
      throw FormatError(fmt::format("{} may not be read by this user; change its permissions", name));
    default:
      throw FormatError(fmt::format("{} cannot be opened: {}", name, std::generic_category().message(error)));
  }
}

}  // namespace

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  // Not blocking: opening a pipe without a writer would wait for ever, before its kind is known.
  do {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) fail_to_open(path_, errno);

  struct stat status {};
  std::string_view trouble;
  if (::fstat(descriptor_, &status) != 0) {
    trouble = "cannot be examined; check the disk";
  } else if (S_ISDIR(status.st_mode)) {
    trouble = "is a folder, where a file is needed; name a file in it";
  } else if (!S_ISREG(status.st_mode)) {
    trouble = "is a device or pipe, where a file is needed; save its contents to a file first";
  }
  if (!trouble.empty()) {
    ::close(descriptor_);
    throw FormatError(fmt::format("{} {}", shown_path(path_), trouble));
  }
  size_ = status.st_size;
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(std::int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const std::size_t part = std::min<std::size_t>(out.size(), std::size_t{1} << 30);
    const ssize_t got = ::pread(descriptor_, out.data(), part, offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw FormatError(fmt::format("{} cannot be read at byte {}: {}; check the disk", shown_path(path_),
                                    offset, std::generic_category().message(errno)));
    }
    if (got == 0) {
      throw FormatError(
          fmt::format("{} ends at byte {}, {} bytes too early; is another program still writing it?",
                      shown_path(path_), offset, out.size()));
    }
    out = out.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

std::vector<std::byte> read_all(const InputFile& file) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
  file.read(0, bytes);
  return bytes;
}

}  // namespace halotile
