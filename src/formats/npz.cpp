#include "formats/npz.hpp"

#include <fmt/format.h>
#include <zip.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/input_file.hpp"
#include "formats/npy.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::uint64_t kMaxDeflateRatio = 1032;  // 258 bytes from two bits

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view trouble) {
  throw FormatError(fmt::format("{} {}", shown_path(path), trouble));
}

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view member, std::string_view trouble) {
  throw FormatError(fmt::format("{}: member {} {}", shown_path(path), shown_name(member), trouble));
}

/// What errors call a member when its .npy reader speaks of it.
std::string member_name(const std::filesystem::path& path, std::string_view member) {
  return fmt::format("{}: member {}", shown_path(path), shown_name(member));
}

struct CloseArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }  // never writes
};
using Archive = std::unique_ptr<zip_t, CloseArchive>;

Archive open_archive(const std::filesystem::path& path) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code));
  if (archive == nullptr) {
    if (code == ZIP_ER_EXISTS) fail(path, "has two members of one name; save it again with numpy.savez");
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail(path, fmt::format("is not a whole ZIP archive: {}; save it again with numpy.savez", reason));
  }
  return archive;
}

/// One member being unpacked, from its start.
class MemberReader {
 public:
  MemberReader(const std::filesystem::path& path, zip_t* archive, std::size_t index, std::string member)
      : path_(&path), member_(std::move(member)), file_(zip_fopen_index(archive, index, 0)) {
    if (file_ == nullptr) fail_with(zip_get_error(archive));
  }

  void read(std::span<std::byte> out) {
    while (!out.empty()) {
      const zip_int64_t got = zip_fread(file_.get(), out.data(), out.size());
      if (got < 0) fail_with(zip_file_get_error(file_.get()));
      if (got == 0) fail(*path_, member_, "ends before the size that the archive names; is it damaged?");
      out = out.subspan(static_cast<std::size_t>(got));
    }
  }

  /// Reads the end, where the checksum is compared.
  void finish() {
    std::byte beyond{};
    const zip_int64_t got = zip_fread(file_.get(), &beyond, 1);
    if (got < 0) fail_with(zip_file_get_error(file_.get()));
    if (got > 0) fail(*path_, member_, "goes on after the size that the archive names; is it damaged?");
  }

 private:
  struct CloseFile {
    void operator()(zip_file_t* file) const { zip_fclose(file); }
  };

  [[noreturn]] void fail_with(zip_error_t* error) const {
    fail(*path_, member_, fmt::format("cannot be unpacked: {}; is it damaged?", zip_error_strerror(error)));
  }

  const std::filesystem::path* path_;
  std::string member_;
  std::unique_ptr<zip_file_t, CloseFile> file_;
};

/// What the archive's directory says of a member.
struct Member {
  std::string name;
  std::int64_t size = 0;
};

/// The directory's entry, its sizes held against the bytes of the archive that no earlier member has claimed.
Member examine(const std::filesystem::path& path, zip_t* archive, std::size_t index,
               std::uint64_t& unclaimed) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if (zip_stat_index(archive, index, 0, &stat) != 0 || (stat.valid & kNeeded) != kNeeded)
    fail(path, fmt::format("does not say what its member {} is; is it damaged?", index + 1));
  const std::string_view name = stat.name;
  if (stat.encryption_method != ZIP_EM_NONE)
    fail(path, name, "is encrypted; save the arrays without a password");
  if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
    fail(
        path, name,
        fmt::format("is compressed by ZIP method {}, where 0 (stored) and 8 (deflated) can be read; save the "
                    "arrays with numpy.savez or numpy.savez_compressed",
                    stat.comp_method));
  }
  if (stat.comp_size > unclaimed) {
    fail(path, name,
         fmt::format("claims {} bytes of the archive, where {} are left; is it damaged?", stat.comp_size,
                     unclaimed));
  }
  unclaimed -= stat.comp_size;
  if (stat.comp_method == ZIP_CM_STORE ? stat.size != stat.comp_size
                                       : stat.size > stat.comp_size * kMaxDeflateRatio) {
    fail(path, name,
         fmt::format("claims to hold {} bytes in {}, which its {} form cannot; is it damaged?", stat.size,
                     stat.comp_size, stat.comp_method == ZIP_CM_STORE ? "stored" : "deflated"));
  }
  return {std::string(name), static_cast<std::int64_t>(stat.size)};
}

class NpzFile final : public TensorFile {
 public:
  using TensorFile::Entries;
  using TensorFile::Entry;

  /// `sizes` are the members' unpacked bytes; the entries' index counts members.
  NpzFile(const std::filesystem::path& path, Entries tensors, Archive archive,
          std::vector<std::int64_t> sizes)
      : TensorFile(path, std::move(tensors), {}), archive_(std::move(archive)), sizes_(std::move(sizes)) {}

 private:
  [[nodiscard]] std::vector<float> read_elements(const std::string& name, const Entry& entry) const override {
    MemberReader reader(path(), archive_.get(), entry.index, name);
    const NpyStream stream{sizes_[entry.index], [&reader](std::span<std::byte> out) { reader.read(out); }};
    NpyArray array = read_npy(stream, member_name(path(), name));
    reader.finish();
    if (array.shape != entry.info.shape)
      fail(path(), name, "has changed since the file was opened; is another program writing it?");
    return std::move(array.data);
  }

  Archive archive_;
  std::vector<std::int64_t> sizes_;
};

}  // namespace

std::unique_ptr<TensorFile> open_npz(const std::filesystem::path& path) {
  // Says what is wrong with the path, if anything is; and no member can have more bytes than the file.
  auto unclaimed = static_cast<std::uint64_t>(InputFile(path).size());
  Archive archive = open_archive(path);
  const auto members = static_cast<std::size_t>(zip_get_num_entries(archive.get(), 0));
  NpzFile::Entries tensors;
  std::vector<std::int64_t> sizes;
  for (std::size_t index = 0; index < members; ++index) {
    const Member member = examine(path, archive.get(), index, unclaimed);
    constexpr std::string_view kSuffix = ".npy";
    if (member.name.ends_with("/data.pkl")) {
      fail(path, "is a PyTorch checkpoint; save its state_dict with safetensors.torch.save_file");
    }
    if (!member.name.ends_with(kSuffix))
      fail(path, member.name, "is not a .npy file; save the arrays with numpy.savez");
    const std::string name = member.name.substr(0, member.name.size() - kSuffix.size());

    MemberReader reader(path, archive.get(), index, name);
    const NpyStream stream{member.size, [&reader](std::span<std::byte> out) { reader.read(out); }};
    NpyHeader header = read_npy_header(stream, member_name(path, name));
    const TensorInfo info{std::move(header.type), std::move(header.shape)};
    if (!tensors.try_emplace(name, NpzFile::Entry{info, index}).second)
      fail(path, name, "stands in the archive twice; save it again with numpy.savez");
    sizes.push_back(member.size);
  }
  return std::make_unique<NpzFile>(path, std::move(tensors), std::move(archive), std::move(sizes));
}

}  // namespace halotile
