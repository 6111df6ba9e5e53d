#include "formats/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "formats/input_file.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  const InputFile checked(path_);  // says what is wrong with the path, if anything is
  const auto size = static_cast<std::size_t>(checked.size());
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  void* address = MAP_FAILED;
  if (descriptor_ >= 0 && size > 0) address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (descriptor_ < 0 || (size > 0 && address == MAP_FAILED)) {
    const int error = errno;
    if (descriptor_ >= 0) ::close(descriptor_);
    throw FormatError(fmt::format("{} cannot be mapped into memory: {}", shown_path(path_),
                                  std::generic_category().message(error)));
  }
  if (size > 0) bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  // munmap takes a pointer to what may be written, but leaves it alone.
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  ::close(descriptor_);
}

void MappedFile::check_size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || static_cast<std::size_t>(status.st_size) < bytes_.size()) {
    throw FormatError(
        fmt::format("{} has become shorter than the {} bytes it had when it was opened; is "
                    "another program writing it?",
                    shown_path(path_), bytes_.size()));
  }
}

}  // namespace halotile
