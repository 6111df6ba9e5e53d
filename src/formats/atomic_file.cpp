#include "formats/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

std::string_view remedy(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "free some space or choose another folder";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a folder this user may write to";
    case ENOENT:
    case ENOTDIR:
      return "create the folder first";
    case ENAMETOOLONG:
      return "choose a shorter name";
    default:
      return "check the disk or choose another folder";
  }
}

/// Where the bytes shall end up once links are followed. Refuses what a rename must not replace.
std::filesystem::path resolve(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path target = path;
  if (std::filesystem::is_symlink(path, error)) {
    target = std::filesystem::weakly_canonical(path, error);
    if (error) {
      throw FormatError(
          fmt::format("{} cannot be written: it is a link that leads nowhere ({}); remove the link",
                      shown_path(path), error.message()));
    }
  }
  if (!target.has_filename()) {
    throw FormatError(
        fmt::format("'{}' cannot be written: it names no file; add a file name", shown_path(path)));
  }
  const std::filesystem::file_status status = std::filesystem::status(target, error);
  if (std::filesystem::is_directory(status)) {
    throw FormatError(fmt::format("{} cannot be written: it is a folder; add a file name", shown_path(path)));
  }
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw FormatError(fmt::format(
        "{} cannot be written: it is a device or pipe, not a file; choose another name", shown_path(path)));
  }
  return target;
}

// Names of temporary files where a signal handler can read them: it may neither lock nor allocate. Files
// beyond the places, or with longer names, stay behind when a process ends at once.
struct ListedFile {
  enum State : int { free, changing, there };
  std::atomic<int> state{free};
  std::array<char, 4096> name{};
};
std::array<ListedFile, 32> listed_files;

std::size_t list_temporary(const std::string& name) {
  if (name.size() >= listed_files[0].name.size()) return listed_files.size();
  for (std::size_t i = 0; i < listed_files.size(); ++i) {
    int expected = ListedFile::free;
    if (!listed_files[i].state.compare_exchange_strong(expected, ListedFile::changing)) continue;
    std::copy_n(name.c_str(), name.size() + 1, listed_files[i].name.data());
    listed_files[i].state = ListedFile::there;
    return i;
  }
  return listed_files.size();
}

/// A rename is lasting only once its folder is on the disk. Some file systems refuse; the file is whole
/// regardless.
void sync_folder(const std::filesystem::path& file) {
  const std::filesystem::path parent = file.parent_path();
  const int folder = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);
  ::close(folder);
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : target_(resolve(path)) {
  static std::atomic<std::uint64_t> counter{0};
  // A killed process with our process number may have left its file: take the next free number.
  do {
    temporary_ = target_;
    temporary_.replace_filename(
        fmt::format(".{}.{}.{}.part", target_.filename().string(), ::getpid(), counter.fetch_add(1)));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && (errno == EINTR || errno == EEXIST));
  if (descriptor_ < 0) fail(errno);
  listed_ = list_temporary(std::filesystem::absolute(temporary_).string());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  forget_temporary();
}

void AtomicFile::forget_temporary() {
  temporary_.clear();
  if (listed_ < listed_files.size()) listed_files[listed_].state = ListedFile::free;
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t part = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
    const ssize_t written = ::write(descriptor_, bytes.data(), part);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::rewrite(std::int64_t offset, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::pwrite(descriptor_, text.data(), text.size(), offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(errno);
    }
    text.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
}

void AtomicFile::finish() {
  if (descriptor_ < 0) return;
  // EINVAL: a file system without fsync has nothing to force.
  while (::fsync(descriptor_) != 0 && errno != EINVAL) {
    if (errno != EINTR) fail(errno);
  }
  // close() reports what network file systems found out late; the descriptor is gone in any case.
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0 && errno != EINTR) fail(errno);
}

void AtomicFile::commit() {
  finish();
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
  forget_temporary();
  sync_folder(target_);
}

void AtomicFile::fail(int error) const {
  throw FormatError(fmt::format("{} cannot be written: {}; {}", shown_path(target_),
                                std::generic_category().message(error), remedy(error)));
}

void remove_temporary_files() noexcept {
  for (const ListedFile& file : listed_files) {
    if (file.state == ListedFile::there) ::unlink(file.name.data());
  }
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace halotile
