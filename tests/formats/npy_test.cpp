#include "formats/npy.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "patching/error.hpp"
#include "support.hpp"

namespace halotile::test {
namespace {

using namespace std::string_literals;

/// A .npy file as NumPy lays it out; version 1, 2 or 3.
std::string npy_file(const std::string& header, const std::string& data, int version = 1) {
  const std::string padded = header + std::string(117 - header.size() % 64, ' ') + "\n";
  std::string file = "\x93NUMPY"s + static_cast<char>(version) + '\0';
  for (int byte = 0; byte < (version == 1 ? 2 : 4); ++byte) {
    file += static_cast<char>((padded.size() >> (8 * byte)) & 0xff);
  }
  return file + padded + data;
}

std::string header_of(const std::string& descr, const std::string& shape, bool fortran_order = false) {
  return fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", descr,
                     fortran_order ? "True" : "False", shape);
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

NpyArray read_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  return read_npy(folder.write("array.npy", bytes));
}

std::string error_for(const std::string& bytes) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.write("array.npy", bytes);
  const std::string message = format_error_of([&] { (void)read_npy(path); });
  expect_message(message, {path.string()});
  return message;
}

TEST(Npy, ReadsEveryVersion) {
  const std::vector<float> values{1.5f, -2.0f, 3.25f, 0.0f, -0.0f, 1e-40f};
  for (const int version : {1, 2, 3}) {
    const NpyArray array = read_bytes(npy_file(header_of("<f4", "(2, 3)"), bytes_of(values), version));
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(bytes_of(array.data), bytes_of(values)) << version;
  }
}

TEST(Npy, ConvertsEveryType) {
  const auto read_as = [](const std::string& descr, const std::string& data) {
    return read_bytes(npy_file(header_of(descr, "(4,)"), data)).data;
  };
  EXPECT_EQ(read_as("|u1", bytes_of<std::uint8_t>({0, 1, 128, 255})),
            (std::vector{0.0f, 1.0f, 128.0f, 255.0f}));
  EXPECT_EQ(read_as("<i4", bytes_of<std::int32_t>({0, -1, 16777217, 16777219})),
            (std::vector{0.0f, -1.0f, 16777216.0f, 16777220.0f}));
  EXPECT_EQ(read_as("<i8", bytes_of<std::int64_t>({0, -1, std::int64_t{1} << 62, 7})),
            (std::vector{0.0f, -1.0f, 0x1p62f, 7.0f}));
  EXPECT_EQ(read_as("<f8", bytes_of<double>({0.1, -1e-60, 0x1.fffffefp127, -HUGE_VAL})),
            (std::vector{0.1f, -0.0f, std::numeric_limits<float>::max(), -HUGE_VALF}));
  EXPECT_EQ(read_as("<f2", bytes_of<std::uint16_t>({0x3c00, 0xc500, 0x0001, 0xfc00})),
            (std::vector{1.0f, -5.0f, 0x1p-24f, -HUGE_VALF}));
}

// The spellings are those that numpy.dtype() of NumPy 2.4 takes, each with what its .str says.
TEST(Npy, ReadsEverySpellingOfAType) {
  const struct {
    std::vector<std::string> spellings;
    std::string bytes;  // of 1 and 3 (of a boolean: true and true), little-endian
    bool boolean = false;
  } cases[] = {
      {{"b1", "|b1", "<b1", "=b1", "?", "|?", "bool", "bool_"}, "\1\3"s, true},
      {{"i1", "|i1", "<i1", "=i1", "b", "<b", "int8", "byte"}, "\1\3"s},
      {{"u1", "|u1", "<u1", "=u1", "B", "|B", "uint8", "ubyte"}, "\1\3"s},
      {{"i2", "<i2", "=i2", "|i2", "h", "<h", "int16", "short", "i02"}, "\1\0\3\0"s},
      {{"u2", "<u2", "=u2", "|u2", "H", "=H", "uint16", "ushort"}, "\1\0\3\0"s},
      {{"i4", "<i4", "=i4", "|i4", "i", "<i", "int32", "intc"}, "\1\0\0\0\3\0\0\0"s},
      {{"u4", "<u4", "=u4", "|u4", "I", "uint32", "uintc"}, "\1\0\0\0\3\0\0\0"s},
      {{"i8", "<i8", "=i8", "l", "<l", "q", "p", "n", "int64", "int", "int_", "long", "longlong", "intp"},
       bytes_of<std::int64_t>({1, 3})},
      {{"u8", "<u8", "=u8", "L", "Q", "P", "N", "uint64", "uint", "ulong", "ulonglong", "uintp"},
       bytes_of<std::int64_t>({1, 3})},
      {{"f2", "<f2", "=f2", "|f2", "e", "<e", "float16", "half"}, bytes_of<std::uint16_t>({0x3c00, 0x4200})},
      {{"f4", "<f4", "=f4", "|f4", "f", "|f", "float32", "single"}, bytes_of<float>({1, 3})},
      {{"f8", "<f8", "=f8", "|f8", "d", "<d", "float64", "double", "float"}, bytes_of<double>({1, 3})},
  };
  for (const auto& c : cases) {
    const std::vector<float> values{1.0F, c.boolean ? 1.0F : 3.0F};
    for (const std::string& spelling : c.spellings) {
      EXPECT_EQ(read_bytes(npy_file(header_of(spelling, "(2,)"), c.bytes)).data, values) << spelling;
      if (spelling.size() > 2 && spelling.find_first_of("<>=|") != 0) continue;  // words take no byte order
      const std::string letters = spelling.substr(spelling.find_first_not_of("<>=|"));
      std::string swapped = c.bytes;
      std::reverse(swapped.begin(), swapped.begin() + static_cast<std::ptrdiff_t>(swapped.size() / 2));
      std::reverse(swapped.begin() + static_cast<std::ptrdiff_t>(swapped.size() / 2), swapped.end());
      EXPECT_EQ(read_bytes(npy_file(header_of(">" + letters, "(2,)"), swapped)).data, values) << spelling;
    }
  }
  for (const char* const other :
       {"",  "f1", "f3", "f16", "g",   "c8",  "b2",   "i3",  "u16", "<float32", "S4",      "U1",
        "O", "V4", "m8", "M8",  "@f4", "!f4", "<<f4", " f4", "f4 ", "float128", "Float32", "2f4"}) {
    expect_message(error_for(npy_file(header_of(other, "(1,)"), "01234567")), {"holds elements of type"});
  }
}

TEST(Npy, ConvertsWideIntegersByValue) {
  const auto read_as = [](const std::string& descr, const std::string& data) {
    return read_bytes(npy_file(header_of(descr, "(3,)"), data)).data;
  };
  EXPECT_EQ(read_as("<u8", bytes_of<std::uint64_t>({0, UINT64_MAX, std::uint64_t{1} << 63})),
            (std::vector{0.0F, 0x1p64F, 0x1p63F}));
  EXPECT_EQ(read_as("<i8", bytes_of<std::int64_t>({INT64_MIN, -1, 16777217})),
            (std::vector{-0x1p63F, -1.0F, 16777216.0F}));
  EXPECT_EQ(read_as("<u4", bytes_of<std::uint32_t>({0, UINT32_MAX, 7})), (std::vector{0.0F, 0x1p32F, 7.0F}));
  EXPECT_EQ(read_as("|i1", "\x80\xff\x7f"s), (std::vector{-128.0F, -1.0F, 127.0F}));
  EXPECT_EQ(read_as(">i2", "\x80\x00\xff\xfe\x00\x02"s), (std::vector{-32768.0F, -2.0F, 2.0F}));
  EXPECT_EQ(read_as("|b1", "\0\1\xff"s), (std::vector{0.0F, 1.0F, 1.0F}));
  expect_message(error_for(npy_file(header_of(">f8", "(1,)"), "\x7f\xef\xff\xff\xff\xff\xff\xff"s)),
                 {"too large for float32"});
}

TEST(Npy, ConvertsEveryHalf) {
  // Against the definition: sign, 5 bits of exponent (bias 15), 10 of fraction.
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const NpyArray array = read_bytes(npy_file(header_of("<f2", "(65536,)"), bytes_of(halves)));
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10) & 31;
    const double fraction = static_cast<double>(i & 1023) / 1024;
    double expected = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    if (exponent == 31) expected = fraction == 0 ? HUGE_VAL : std::nan("");
    if (i >= 32768) expected = -expected;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(array.data[i])) << i;
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(array.data[i]),
                std::bit_cast<std::uint32_t>(static_cast<float>(expected)))
          << i;
    }
  }
}

TEST(Npy, ReadsFortranOrder) {
  // Element (i, j, k) of shape (2, 3, 4) holds 100 i + 10 j + k; the first index runs fastest.
  std::vector<float> fortran;
  std::vector<float> c;
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 2; ++i) fortran.push_back(static_cast<float>(100 * i + 10 * j + k));
    }
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 4; ++k) c.push_back(static_cast<float>(100 * i + 10 * j + k));
    }
  }
  EXPECT_EQ(read_bytes(npy_file(header_of("<f4", "(2, 3, 4)", true), bytes_of(fortran))).data, c);
  EXPECT_EQ(read_bytes(npy_file(header_of("<f4", "(24,)", true), bytes_of(fortran))).data, fortran);
}

TEST(Npy, ReadsScalarsAndEmptyArrays) {
  EXPECT_EQ(read_bytes(npy_file(header_of("<f4", "()"), bytes_of<float>({7}))).data, std::vector{7.0f});
  for (const bool fortran_order : {false, true}) {
    const NpyArray empty = read_bytes(
        npy_file(header_of("<f4", "(4611686018427387904, 0, 4611686018427387904)", fortran_order), ""));
    EXPECT_EQ(empty.shape.size(), 3u);
    EXPECT_TRUE(empty.data.empty());
  }
}

TEST(Npy, RoundTrips) {
  const TemporaryFolder folder;
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{},
                                                 {1},
                                                 {0},
                                                 {5},
                                                 {2, 3},
                                                 {3, 0, 2},
                                                 {1, 2, 3, 4, 5},
                                                 std::vector<std::int64_t>(30, 1)}) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    NpyArray array{shape, {}};
    for (std::int64_t i = 0; i < count; ++i) array.data.push_back(static_cast<float>(i) * 0.37f - 1.0f);
    const std::filesystem::path path = folder.path() / "array.npy";
    write_npy(path, array);
    const NpyArray back = read_npy(path);
    EXPECT_EQ(back.shape, array.shape);
    EXPECT_EQ(bytes_of(back.data), bytes_of(array.data));
    const std::string file = read_text(path);
    EXPECT_EQ((file.size() - array.data.size() * 4) % 64, 0u);
  }
  EXPECT_EQ(read_text(folder.path() / "array.npy").substr(0, 10), "\x93NUMPY\1\0\xb6\0"s);
}

TEST(Npy, WritesWhatNumPyWrites) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "array.npy";
  write_npy(path, NpyArray{{3}, {1, 2, 3}});
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
  EXPECT_EQ(read_text(path), "\x93NUMPY\1\0\x76\0"s + header + std::string(117 - header.size(), ' ') + "\n" +
                                 bytes_of<float>({1, 2, 3}));
}

TEST(Npy, RefusesToWriteNonsense) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "array.npy";
  EXPECT_THROW(write_npy(path, NpyArray{{2, 2}, {1, 2, 3}}), ShapeError);
  EXPECT_THROW(write_npy(path, NpyArray{{std::int64_t{1} << 32, std::int64_t{1} << 32}, {}}), ShapeError);
  EXPECT_FALSE(std::filesystem::exists(path));
  expect_message(format_error_of([&] {
                   write_npy(folder.path() / "none" / "x.npy", NpyArray{{1}, {1}});
                 }),
                 {"create the folder first"});
}

TEST(Npy, RefusesMalformedHeaders) {
  const std::string good = header_of("<f4", "(1,)");
  ASSERT_NO_THROW((void)read_bytes(npy_file(good, "0123")));
  for (const std::string& header : {
           ""s,
           "{}"s,
           "[1]"s,
           "{'descr': '<f4', 'fortran_order': False, }"s,
           "{'descr': '<f4', 'shape': (1,), }"s,
           "{'fortran_order': False, 'shape': (1,), }"s,
           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"s,
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'extra': 1}"s,
           "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }"s,
           "{'descr': '<f4, 'fortran_order': False, 'shape': (1,), }"s,
           "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"s,
           header_of("<f4", "(1)"),
           header_of("<f4", "1"),
           header_of("<f4", "(-1,)"),
           header_of("<f4", "(1.0,)"),
           header_of("<f4", "(1, 1"),
           header_of("<f4", "(1 1)"),
           header_of("<f4", "(,)"),
           header_of("<f4", "(9223372036854775808,)"),
           header_of("<f4", "(99999999999999999999999999999999,)"),
           header_of("<f4", "(" + std::string(400, '1') + ",)"),
           header_of("<f4",
                     [] {
                       std::string many = "(";
                       for (int i = 0; i < 65; ++i) many += "1, ";
                       return many + ")";
                     }()),
           good + "x",
           good + good,
           good.substr(0, good.size() - 1),
       }) {
    EXPECT_NE(error_for(npy_file(header, "0123")).find("has a malformed .npy header"), std::string::npos)
        << header;
  }
}

TEST(Npy, ReadsHeadersOfPython2) {
  const std::string header = "{u'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L), }";
  EXPECT_EQ(read_bytes(npy_file(header, "01234567")).shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(read_bytes(npy_file(header_of("<f4", "(1L,)"), "0123", 2)).shape, std::vector<std::int64_t>{1});
  expect_message(error_for(npy_file(header_of("<f4", "(1L,)"), "0123", 3)), {"has a malformed .npy header"});
  expect_message(error_for(npy_file(header_of("<f4", "(1LL,)"), "0123")), {"has a malformed .npy header"});
}

TEST(Npy, RefusesSizesThatDoNotFitTheFile) {
  for (const char* shape :
       {"(2,)", "(1000000000000,)", "(4294967296, 4294967296)", "(9223372036854775807, 9223372036854775807)",
        "(3, 6148914691236517206)", "(4611686018427387904,)", "(2305843009213693952, 8)"}) {
    expect_message(error_for(npy_file(header_of("<f4", shape), "0123")),
                   {"is a truncated .npy file", "4 bytes"});
    expect_message(error_for(npy_file(header_of("|u1", shape), "0")), {"is a truncated .npy file"});
  }
  expect_message(error_for(npy_file(header_of("<f4", "(1,)"), "01234")),
                 {"has 1 bytes after its .npy array"});
  expect_message(error_for(npy_file(header_of("<f4", "(0, 9223372036854775807)"), "0123")),
                 {"has 4 bytes after"});
}

TEST(Npy, SaysWhatIsWrong) {
  expect_message(error_for(""), {"is empty"});
  expect_message(error_for("hello, this is text"), {"is not a .npy file"});
  expect_message(error_for("\x93NUM"), {"is not a .npy file"});
  expect_message(error_for("\x93NUMPY\1"), {"ends in its header"});
  expect_message(error_for("\x93NUMPY\1\0\xff\xff{'de"s), {"ends in its header"});
  expect_message(error_for("\x93NUMPY\2\0\xff\xff\xff\xff{'descr"s), {"header of 4294967295 bytes"});
  expect_message(error_for("\x93NUMPY\4\0\x10\0{'descr': '<f4'"s), {"version 4.0"});
  expect_message(error_for(npy_file(header_of("<f16", "(1,)"), std::string(16, '0'))),
                 {"'<f16'", "astype('float32')"});
  expect_message(error_for(npy_file(header_of("<c8", "(1,)"), "01234567")), {"'<c8'"});
  expect_message(error_for(npy_file(header_of("|O", "(1,)"), "01234567")), {"'|O'"});
  expect_message(error_for(npy_file(header_of("<f8", "(3,)"), bytes_of<double>({1, 1e300, 2}))),
                 {"(number 1 in the file) too large for float32"});
}

TEST(NpyWriter, GrowsAndCountsAtTheEnd) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "array.npy";
  NpyWriter writer(path, std::vector<std::int64_t>{2, 3});
  std::vector<float> all;
  for (int part = 0; part < 5; ++part) {
    std::vector<float> values(static_cast<std::size_t>(6 * part));
    for (float& v : values) v = static_cast<float>(all.size()), all.push_back(v);
    writer.append(values);
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  EXPECT_EQ(writer.commit(), path.string());
  const NpyArray read = read_npy(path);
  EXPECT_EQ(read.shape, (std::vector<std::int64_t>{10, 2, 3}));
  EXPECT_EQ(read.data, all);
}

TEST(NpyWriter, EmptyAndAbandonedFiles) {
  const TemporaryFolder folder;
  EXPECT_FALSE(NpyWriter(folder.path() / "empty.npy", std::vector<std::int64_t>{7}).commit().empty());
  EXPECT_EQ(read_npy(folder.path() / "empty.npy").shape, (std::vector<std::int64_t>{0, 7}));
  {
    NpyWriter writer(folder.path() / "abandoned.npy", std::vector<std::int64_t>{2});
    writer.append(std::vector<float>{1, 2});
    EXPECT_THROW(writer.append(std::vector<float>{1, 2, 3}), ShapeError);
  }
  const auto entries = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << "nothing half-written stays";
}

}  // namespace
}  // namespace halotile::test
