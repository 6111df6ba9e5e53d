#include "formats/npz.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include "support.hpp"
#include "weight_files.hpp"

namespace halotile::test {
namespace {

using Shape = std::vector<std::int64_t>;

/// A member of a ZIP archive written by hand; what is not set follows from the data.
struct Member {
  std::string name;
  std::string data;          ///< as it stands in the archive
  std::uint32_t method = 0;  ///< 0 stored, 8 deflated
  std::uint32_t size = 0;    ///< unpacked; 0: as long as the data
  std::uint32_t crc = 0;     ///< of the unpacked bytes; 0: of the data
  std::uint32_t flags = 0;
};

/// Local headers with their data, then the directory, then its end (PKWARE APPNOTE 4.3).
std::string archive_of(const std::vector<Member>& members) {
  std::string bytes;
  std::string directory;
  for (const Member& m : members) {
    const auto size = static_cast<std::uint32_t>(m.data.size());
    const auto crc = crc32(0, reinterpret_cast<const Bytef*>(m.data.data()), size);
    const std::string common = little_endian(20, 2) + little_endian(m.flags, 2) + little_endian(m.method, 2) +
                               little_endian(0, 4) + little_endian(m.crc != 0 ? m.crc : crc, 4) +
                               little_endian(size, 4) + little_endian(m.size != 0 ? m.size : size, 4) +
                               little_endian(m.name.size(), 2) + little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + common + little_endian(0, 10) +
                 little_endian(bytes.size(), 4) + m.name;
    bytes += "PK\x03\x04" + common + m.name + m.data;
  }
  return bytes + directory + "PK\x05\x06" + little_endian(0, 4) + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(directory.size(), 4) +
         little_endian(bytes.size(), 4) + little_endian(0, 2);
}

/// A .npy file of version 1.0.
std::string npy(const std::string& type, const std::string& shape, const std::string& data) {
  const std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  return "\x93NUMPY\x01" + std::string(1, '\0') + little_endian(header.size(), 2) + header + data;
}

/// The bytes as one stored block of a deflate stream (RFC 1951, 3.2.4).
std::string deflated(const std::string& data) {
  return "\x01" + little_endian(data.size(), 2) + little_endian(~data.size(), 2) + data;
}

std::uint32_t crc_of(const std::string& data) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
}

void expect_golden_arrays(const TensorFile& file) {
  EXPECT_EQ(file.shape("conv1.weight"), (Shape{4, 3, 5, 2}));
  EXPECT_EQ(file.type("conv1.weight"), "<f4");
  EXPECT_EQ(file.read("conv1.weight"), golden_values(120));
  EXPECT_EQ(file.type("conv1.bias"), "<f2");
  EXPECT_EQ(file.read("conv1.bias"), golden_values(4));
  EXPECT_EQ(file.type("fortran"), "<f8");
  EXPECT_EQ(file.shape("fortran"), (Shape{3, 4, 5}));
  EXPECT_EQ(file.read("fortran"), golden_values(60));
  EXPECT_EQ(file.shape("scalar"), Shape{});
  EXPECT_EQ(file.read("scalar"), golden_values(1));
  EXPECT_EQ(file.shape("empty"), (Shape{0, 4}));
  EXPECT_EQ(file.read("empty"), std::vector<float>{});
  EXPECT_TRUE(file.metadata().empty());
  expect_message(format_error_of([&] { (void)file.read("words"); }),
                 {"member 'words' holds elements of type '<U2'"});
  expect_message(format_error_of([&] { (void)file.read("conv2.bias"); }),
                 {"has no tensor 'conv2.bias' among"});
}

TEST(Npz, ReadsWhatNumPySaves) {
  const auto file = open_npz(golden("stored.npz"));
  EXPECT_EQ(file->names(),
            (std::vector<std::string>{"conv1.bias", "conv1.weight", "empty", "fortran", "scalar", "words"}));
  expect_golden_arrays(*file);
}

TEST(Npz, ReadsWhatNumPySavesCompressed) {
  const auto file = open_npz(golden("deflated.npz"));
  expect_golden_arrays(*file);
  EXPECT_EQ(file->read("zeros"), std::vector<float>(100'000));  // 402 times smaller in the file
  EXPECT_EQ(file->read("zeros"), std::vector<float>(100'000));  // and again
}

TEST(Npz, ReadsEverySpellingOfAType) {
  const TemporaryFolder scratch;
  const auto file = open_npz(
      scratch.write("types.npz", archive_of({{"a.npy", npy("<u1", "(2,)", "\1\xff")},
                                             {"b.npy", npy(">f4", "(1,)", std::string("\x40\x40\0\0", 4))},
                                             {"c.npy", npy("float16", "(1,)", std::string("\0\x3c", 2))},
                                             {"d.npy", npy("|b1", "(2,)", std::string("\0\1", 2))}})));
  EXPECT_EQ(file->read("a"), (std::vector<float>{1, 255}));
  EXPECT_EQ(file->read("b"), std::vector<float>{3});
  EXPECT_EQ(file->read("c"), std::vector<float>{1});
  EXPECT_EQ(file->read("d"), (std::vector<float>{0, 1}));
  EXPECT_EQ(file->type("a"), "<u1");
}

TEST(Npz, ReadsArchivesOfOtherWriters) {
  const TemporaryFolder scratch;
  const std::string one = npy("<f4", "(1,)", little_endian(0x3f800000, 4));
  const auto open = [&scratch](const std::vector<Member>& members) {
    return open_npz(scratch.write("other.npz", archive_of(members)));
  };
  EXPECT_TRUE(open({})->names().empty());
  const auto file =
      open({{"folder/a.npy", one},
            {"b.npy.npy", deflated(one), 8, static_cast<std::uint32_t>(one.size()), crc_of(one)}});
  EXPECT_EQ(file->names(), (std::vector<std::string>{"b.npy", "folder/a"}));
  EXPECT_EQ(file->read("folder/a"), std::vector<float>{1.0F});
  EXPECT_EQ(file->read("b.npy"), std::vector<float>{1.0F});
}

struct Malformed {
  const char* name;
  std::string bytes;
  const char* message;
};

std::ostream& operator<<(std::ostream& out, const Malformed& m) { return out << m.name; }

std::vector<Malformed> malformed() {
  const std::string two = npy("<f4", "(2,)", std::string(8, '\0'));
  const auto size = static_cast<std::uint32_t>(two.size());
  const std::string truth = archive_of({{"w.npy", two}});
  return {
      {"nothing", "", "is not a whole ZIP archive"},
      {"text", "PK\x03\x04 and no more", "is not a whole ZIP archive"},
      {"no_end", truth.substr(0, truth.size() - 1), "is not a whole ZIP archive"},
      {"only_the_end", truth.substr(truth.size() - 22), "is not a whole ZIP archive"},
      {"not_an_array", archive_of({{"readme.txt", "hello"}}), "member 'readme.txt' is not a .npy file"},
      {"checkpoint", archive_of({{"archive/data.pkl", "\x80\x02"}}),
       "is a PyTorch checkpoint; save its state_dict with safetensors"},
      {"a_folder", archive_of({{"folder/", ""}}), "member 'folder/' is not a .npy file"},
      {"no_npy_inside", archive_of({{"w.npy", "hello, this is long enough"}}),
       "member 'w' is not a .npy file (it does not begin with"},
      {"empty_member", archive_of({{"w.npy", ""}}), "member 'w' is empty"},
      {"short_header", archive_of({{"w.npy", two.substr(0, 30)}}), "member 'w' is a truncated .npy file"},
      {"short_data", archive_of({{"w.npy", two.substr(0, two.size() - 1)}}),
       "member 'w' is a truncated .npy file: shape (2) of type '<f4' needs more than the 7 bytes"},
      {"long_data", archive_of({{"w.npy", two + "x"}}), "member 'w' has 1 bytes after its .npy array"},
      {"huge_shape", archive_of({{"w.npy", npy("<f4", "(4611686018427387904, 4)", "")}}),
       "member 'w' is a truncated .npy file"},
      {"doubled", archive_of({{"w.npy", two}, {"w.npy", two}}), "has two members of one name"},
      {"other_method", archive_of({{"w.npy", two, 12, size, crc_of(two)}}),
       "member 'w.npy' is compressed by ZIP method 12, where 0 (stored) and 8 (deflated) can be read"},
      {"encrypted", archive_of({{"w.npy", two, 0, 0, 0, 1}}), "member 'w.npy' is encrypted"},
      {"stored_claims_more", archive_of({{"w.npy", two, 0, 1 << 30}}), "claims to hold 1073741824 bytes in"},
      {"deflated_claims_more", archive_of({{"w.npy", deflated(two), 8, 1 << 30, crc_of(two)}}),
       "claims to hold 1073741824 bytes in"},
      {"deflated_claims_what_it_could",
       archive_of({{"w.npy", deflated(npy("<f4", "(10000,)", "")), 8, 40'000 + 61, 1}}), "member 'w' "},
      {"wrong_checksum", archive_of({{"w.npy", two, 0, 0, 77}}), "member 'w' cannot be unpacked: CRC error"},
      {"not_deflate", archive_of({{"w.npy", two, 8, size, crc_of(two)}}), "member 'w' cannot be unpacked"},
      {"name_with_line_break", archive_of({{"a\nb", "x"}}), "member 'a\\x0ab' is not a .npy file"},
  };
}

class MalformedNpz : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedNpz, IsRefusedWithAReason) {
  const TemporaryFolder scratch;
  const auto path = scratch.write("malformed.npz", GetParam().bytes);
  expect_message(complaint(open_npz, path), {GetParam().message});
}

INSTANTIATE_TEST_SUITE_P(Cases, MalformedNpz, testing::ValuesIn(malformed()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(Npz, MembersMayNotShareTheirBytes) {
  // A bomb by overlap: many directory entries for one piece of the archive.
  const std::string two = npy("<f4", "(2,)", std::string(8, '\0'));
  std::vector<Member> members;
  for (int i = 0; i < 40; ++i) members.push_back({"w" + std::to_string(i) + ".npy", two});
  const std::string honest = archive_of(members);
  const TemporaryFolder scratch;
  EXPECT_EQ(open_npz(scratch.write("honest.npz", honest))->names().size(), 40U);
  const std::string first = archive_of({members.front()});
  const std::size_t entry_size = 46 + members.front().name.size();
  const std::string entry = first.substr(first.size() - 22 - entry_size, entry_size);
  std::string directory;
  for (int i = 0; i < 40; ++i) directory += entry;
  std::string bytes = first.substr(0, first.size() - 22 - entry_size);
  const std::string end = "PK\x05\x06" + little_endian(0, 4) + little_endian(40, 2) + little_endian(40, 2) +
                          little_endian(directory.size(), 4) + little_endian(bytes.size(), 4) +
                          little_endian(0, 2);
  EXPECT_NE(complaint(open_npz, scratch.write("overlap.npz", bytes + directory + end)), "");
}

TEST(Npz, SurvivesDamage) {
  EXPECT_GT(damage(open_npz, read_text(golden("stored.npz")), 1500), 800);
  EXPECT_GT(damage(open_npz, read_text(golden("deflated.npz")), 1500), 800);
}

}  // namespace
}  // namespace halotile::test
