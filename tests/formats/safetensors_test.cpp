#include "formats/safetensors.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "formats/float_types.hpp"
#include "support.hpp"
#include "weight_files.hpp"

namespace halotile::test {
namespace {

std::string with_header(const std::string& header, const std::string& data) {
  return little_endian(header.size(), 8) + header + data;
}

using Shape = std::vector<std::int64_t>;
using Names = std::vector<std::string>;

TEST(Safetensors, ReadsWhatThePythonPackageWrites) {
  const auto file = open_safetensors(golden("types.safetensors"));
  EXPECT_EQ(file->names(), (Names{"bf16", "bool", "empty", "f16", "f32.weight", "f64", "i64", "scalar"}));
  EXPECT_EQ(file->shape("f32.weight"), (Shape{2, 3, 5, 7}));
  EXPECT_EQ(file->type("f32.weight"), "F32");
  EXPECT_EQ(file->read("f32.weight"), golden_values(2 * 3 * 5 * 7));
  EXPECT_EQ(file->shape("f16"), (Shape{101}));
  EXPECT_EQ(file->read("f16"), golden_values(101));
  EXPECT_EQ(file->read("bf16"), golden_values(101));
  EXPECT_EQ(file->read("f64"), golden_values(9));
  EXPECT_EQ(file->shape("scalar"), Shape{});
  EXPECT_EQ(file->read("scalar"), golden_values(1));
  EXPECT_EQ(file->shape("empty"), (Shape{0, 4}));
  EXPECT_EQ(file->read("empty"), std::vector<float>{});
  EXPECT_EQ(file->metadata().at("made_by"), "make_golden.py");
  EXPECT_TRUE(file->contains("f16"));
  EXPECT_FALSE(file->contains("f17"));
}

TEST(Safetensors, RefusesToReadOtherTypesAndOtherNames) {
  const auto file = open_safetensors(golden("types.safetensors"));
  EXPECT_EQ(file->type("i64"), "I64");
  const auto message = [&file](const char* name) { return format_error_of([&] { (void)file->read(name); }); };
  expect_message(message("i64"), {"tensor 'i64' is of type I64, where F32, F16, BF16 and F64 can be read"});
  expect_message(message("nowhere"), {"has no tensor 'nowhere' among its 8"});
  EXPECT_THROW((void)file->shape("nowhere"), FormatError);
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const TemporaryFolder scratch;
  const auto open = [&](const std::string& header, const std::string& data) {
    return open_safetensors(scratch.write("allowed.safetensors", with_header(header, data)));
  };
  EXPECT_TRUE(open("{}", "")->names().empty());
  EXPECT_TRUE(open("{}   ", "")->names().empty());  // padded with spaces
  EXPECT_EQ(open(R"({"__metadata__":{"a":"b","c":""}})", "")->metadata().size(), 2U);
  // Keys in any order, escapes in names, tensors in another order than their bytes, an empty one between.
  const auto file = open(R"({"\u0062/\"":{"shape":[1],"data_offsets":[4,8],"dtype":"F32"},)"
                         R"("hole":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},)"
                         R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
                         little_endian(0x3f800000, 4) + little_endian(0xc0000000, 4));
  EXPECT_EQ(file->names(), (Names{"a", "b/\"", "hole"}));
  EXPECT_EQ(file->read("a"), (std::vector<float>{1.0F}));
  EXPECT_EQ(file->read("b/\""), (std::vector<float>{-2.0F}));
  EXPECT_EQ(file->read("hole"), (std::vector<float>{}));
}

struct MalformedFile {
  const char* name;
  std::string bytes;
  const char* message;
};

std::ostream& operator<<(std::ostream& out, const MalformedFile& m) { return out << m.name; }

MalformedFile with_tensor(const char* name, const std::string& fields, std::size_t data_bytes,
                          const char* message) {
  return {name, with_header("{\"w\":{" + fields + "}}", std::string(data_bytes, '\0')), message};
}

std::vector<MalformedFile> malformed_files() {
  const std::string eight(8, '\0');
  const std::string tensor = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  std::vector<MalformedFile> cases{
      {"empty_file", "",
       "is not a safetensors file: it has 0 bytes, where the header's length alone takes 8"},
      {"seven_bytes", "1234567", "it has 7 bytes"},
      {"header_over_the_limit", little_endian(100'000'001, 8) + "{}",
       "announces a header of 100000001 bytes, more than the limit of 100000000"},
      {"header_longest_number", std::string(8, '\xff') + "{}", "a header of 18446744073709551615 bytes"},
      {"header_longer_than_the_file", little_endian(50, 8) + "{}", "a header of 50 bytes and has 2 behind"},
      {"no_header", little_endian(0, 8), "its header is empty, where '{' is needed"},
      {"space_before_the_brace", with_header(" {}", ""), "its header begins with ' ', where '{' is needed"},
      {"header_of_another_kind", with_header("[]", ""), "its header begins with '['"},
      {"unclosed", with_header("{", ""), "a header that is not valid JSON at byte 9"},
      {"something_behind", with_header("{}x", ""), "not valid JSON at byte 10"},
      {"zero_behind", with_header(std::string("{}\0}", 4), ""), "not valid JSON at byte 10"},
      {"not_utf8", with_header("{\"\xff\":1}", ""), "not valid JSON at byte"},
      {"a_comma_too_many", with_header("{\"w\":" + tensor + ",}", eight), "not valid JSON at byte"},
      {"doubled_name", with_header("{\"w\":" + tensor + ",\"w\":" + tensor + "}", eight),
       "names 'w' twice in its header"},
      {"doubled_by_escape", with_header("{\"w\":" + tensor + ",\"\\u0077\":" + tensor + "}", eight),
       "names 'w' twice"},
      {"doubled_metadata", with_header(R"({"__metadata__":{},"__metadata__":{}})", ""),
       "names '__metadata__' twice"},
      {"doubled_metadata_key", with_header(R"({"__metadata__":{"a":"1","a":"1"}})", ""),
       "names 'a' twice in its __metadata__"},
      {"metadata_number", with_header(R"({"__metadata__":{"a":1}})", ""),
       "has the number 1 for 'a' in its __metadata__, where a string is needed"},
      {"metadata_mapping", with_header(R"({"__metadata__":{"a":{}}})", ""), "has a mapping for 'a'"},
      {"metadata_null", with_header(R"({"__metadata__":null})", ""),
       "has null for '__metadata__' in its header, where a mapping is needed"},
      {"tensor_number", with_header(R"({"w":7})", ""), "has the number 7 for 'w' in its header"},
      {"tensor_list", with_header(R"({"w":[]})", ""), "has a list for 'w'"},
      {"name_with_line_break", with_header(R"({"a\nb":true})", ""), "has true for 'a\\x0ab' in its header"},
      {"bytes_of_no_tensor", with_header("{\"w\":" + tensor + "}", eight + "more"),
       "has bytes that belong to no tensor: its tensors take 8 bytes behind the header, the file has 12"},
      {"cut_short", with_header("{\"w\":" + tensor + "}", "1234567"),
       "is cut short: its tensors take 8 bytes behind the header, the file has 7"},
      {"overlap",
       with_header("{\"a\":" + tensor + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                   eight + eight),
       "tensor 'b' begins at byte 4 of the data, where 8 is needed: the tensors overlap"},
      {"same_place", with_header("{\"a\":" + tensor + ",\"b\":" + tensor + "}", eight),
       "the tensors overlap"},
      {"hole",
       with_header("{\"a\":" + tensor + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})",
                   std::string(20, '\0')),
       "tensor 'b' begins at byte 12 of the data, where 8 is needed: the tensors leave a hole"},
      {"hole_at_the_front",
       with_header(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", std::string(12, '\0')),
       "begins at byte 4 of the data, where 0 is needed"},
  };
  cases.push_back(
      with_tensor("no_dtype", R"("shape":[2],"data_offsets":[0,8])", 8, "tensor 'w' lacks the key dtype"));
  cases.push_back(
      with_tensor("no_shape", R"("dtype":"F32","data_offsets":[0,8])", 8, "tensor 'w' lacks the key shape"));
  cases.push_back(
      with_tensor("no_offsets", R"("dtype":"F32","shape":[2])", 8, "tensor 'w' lacks the key data_offsets"));
  cases.push_back(
      with_tensor("unknown_key", R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"scale":1)", 8,
                  "tensor 'w' has the key 'scale', where dtype, shape and data_offsets are known"));
  cases.push_back(with_tensor("doubled_key",
                              R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])", 8,
                              "tensor 'w' has the key 'dtype' twice"));
  cases.push_back(with_tensor("doubled_shape", R"("dtype":"F32","shape":[],"shape":[2],"data_offsets":[0,8])",
                              8, "has the key 'shape' twice"));
  cases.push_back(with_tensor("unknown_dtype", R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", 8,
                              "tensor 'w' has the unknown dtype 'F33'; known are BOOL, F4"));
  cases.push_back(with_tensor("dtype_number", R"("dtype":32,"shape":[2],"data_offsets":[0,8])", 8,
                              "has the number 32 for dtype, where a string is needed"));
  cases.push_back(with_tensor("dtype_list", R"("dtype":["F32"],"shape":[2],"data_offsets":[0,8])", 8,
                              "has a list for dtype, where a string is needed"));
  cases.push_back(with_tensor("shape_number", R"("dtype":"F32","shape":2,"data_offsets":[0,8])", 8,
                              "has the number 2 for shape, where a list of whole numbers is needed"));
  cases.push_back(with_tensor("shape_negative", R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", 8,
                              "has the negative number -2 in its shape"));
  cases.push_back(with_tensor("shape_minus_zero", R"("dtype":"F32","shape":[2,-0],"data_offsets":[0,0])", 0,
                              "has the negative number"));
  cases.push_back(with_tensor("shape_fraction", R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", 8,
                              "has the number '2.0' in its shape"));
  cases.push_back(with_tensor("shape_nested", R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])", 8,
                              "has a list in its shape"));
  cases.push_back(with_tensor("shape_mapping", R"("dtype":"F32","shape":[{}],"data_offsets":[0,8])", 8,
                              "has a mapping in its shape"));
  cases.push_back(with_tensor("shape_string", R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])", 8,
                              "has a string in its shape"));
  cases.push_back(with_tensor("shape_null", R"("dtype":"F32","shape":null,"data_offsets":[0,8])", 8,
                              "has null for shape"));
  cases.push_back(with_tensor("shape_beyond_63_bits",
                              R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])", 8,
                              "has the number 9223372036854775808, which is too large, in its shape"));
  cases.push_back(with_tensor("shape_beyond_64_bits",
                              R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8])", 8,
                              "has the number '18446744073709551616' in its shape"));
  cases.push_back(with_tensor("shape_product_overflows",
                              R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])", 8,
                              "has the shape (4294967296, 4294967296) of F32, whose size leaves 64 bits"));
  // 2^62 elements of 4 bytes: 2^64 bytes, which wraps to 0.
  cases.push_back(with_tensor("shape_bytes_overflow",
                              R"("dtype":"F32","shape":[2147483648,2147483648],"data_offsets":[0,0])", 0,
                              "whose size leaves 64 bits"));
  std::string ones = "1";
  for (int i = 0; i < 64; ++i) ones += ",1";
  cases.push_back(with_tensor("shape_of_65",
                              R"("dtype":"F32","shape":[)" + ones + R"(],"data_offsets":[0,4])", 4,
                              "has more than 64 dimensions"));
  cases.push_back(with_tensor("one_offset", R"("dtype":"F32","shape":[2],"data_offsets":[8])", 8,
                              "has 1 data_offsets, where [begin, end] is needed"));
  cases.push_back(with_tensor("three_offsets", R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", 8,
                              "has more than two data_offsets"));
  cases.push_back(with_tensor("offsets_swapped", R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", 8,
                              "has data_offsets [8, 0], whose end is before their begin"));
  cases.push_back(with_tensor("size_not_of_the_shape", R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", 8,
                              "has 8 bytes (data_offsets [0, 8]), where its shape (3) of F32 needs 12"));
  cases.push_back(with_tensor("size_not_of_the_type", R"("dtype":"F16","shape":[2],"data_offsets":[0,8])", 8,
                              "where its shape (2) of F16 needs 4"));
  cases.push_back(with_tensor("half_a_byte", R"("dtype":"F4","shape":[3],"data_offsets":[0,2])", 2,
                              "has the shape (3) of F4, 12 bits, which do not fill whole bytes"));
  cases.push_back(with_tensor("double_too_large", R"("dtype":"F64","shape":[1],"data_offsets":[0,8])", 0,
                              "has an element (number 0) too large for float32"));
  cases.back().bytes += little_endian(0x7fe0000000000000, 8);
  cases.push_back(
      {"deeply_nested", with_header("{\"w\":" + std::string(100'000, '['), ""), "has a list for 'w'"});
  cases.push_back(
      {"long_name", with_header("{\"" + std::string(5000, 'n') + "\":1}", ""), "has the number 1 for 'nnnn"});
  return cases;
}

class MalformedSafetensors : public testing::TestWithParam<MalformedFile> {};

TEST_P(MalformedSafetensors, IsRefusedWithAReason) {
  const TemporaryFolder scratch;
  const auto path = scratch.write("malformed.safetensors", GetParam().bytes);
  expect_message(complaint(open_safetensors, path), {GetParam().message});
}

INSTANTIATE_TEST_SUITE_P(Cases, MalformedSafetensors, testing::ValuesIn(malformed_files()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(Safetensors, KnowsASubByteTypesSize) {
  const TemporaryFolder scratch;
  const auto file = open_safetensors(scratch.write(
      "f4.safetensors", with_header(R"({"w":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})", "ab")));
  EXPECT_EQ(file->type("w"), "F4");
  EXPECT_THROW((void)file->read("w"), FormatError);
}

TEST(Safetensors, NoticesThatTheFileWasCutAfterOpening) {
  const TemporaryFolder scratch;
  const auto path = scratch.write("cut.safetensors", read_text(golden("types.safetensors")));
  const auto file = open_safetensors(path);
  std::filesystem::resize_file(path, 100);
  EXPECT_THROW((void)file->read("f16"), FormatError);
}

TEST(Safetensors, SurvivesDamage) {
  const std::string whole = read_text(golden("types.safetensors"));
  EXPECT_GT(damage(open_safetensors, whole, 3000), 1000);
}

TEST(OpenWeights, ChoosesByContent) {
  const TemporaryFolder scratch;
  const auto names = [&scratch](const std::string& from, const std::string& as) {
    return open_weights(scratch.write(as, read_text(golden(from))))->names().size();
  };
  EXPECT_EQ(names("types.safetensors", "a.npz"), 8U);
  EXPECT_EQ(names("deflated.npz", "a.safetensors"), names("stored.npz", "b") + 1);
}

TEST(OpenWeights, SaysWhatTheFileIsInstead) {
  const TemporaryFolder scratch;
  const auto said = [&scratch](std::string_view bytes) {
    return complaint(open_weights, scratch.write("weights", bytes));
  };
  expect_message(said(""), {"is empty"});
  expect_message(said("\x93NUMPY\x01"), {"is a .npy file, one array without a name"});
  expect_message(said("version https://git-lfs.github.com/spec/v1\n"), {"is a Git LFS pointer"});
  expect_message(said("\x80\x02}q"), {"is a Python pickle"});
  expect_message(said("nonsense and more of it"), {"is neither a safetensors nor a .npz file"});
  expect_message(complaint(open_weights, "/nowhere/at all"), {"does not exist"});
}

TEST(FloatTypes, EveryHalfIsExact) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 0x1f);
    const int fraction = static_cast<int>(bits & 0x3ff);
    EXPECT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    if (exponent == 31) {
      EXPECT_TRUE(fraction == 0 ? std::isinf(value) : std::isnan(value)) << bits;
    } else {
      const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                            : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
      EXPECT_EQ(std::abs(value), magnitude) << bits;
    }
  }
}

TEST(FloatTypes, TooLargeMeansRoundsToInfinity) {
  const double largest = std::numeric_limits<float>::max();
  EXPECT_FALSE(too_large_for_float(largest));
  EXPECT_FALSE(too_large_for_float(std::nextafter(0x1.ffffffp127, 0.0)));
  EXPECT_TRUE(too_large_for_float(0x1.ffffffp127));
  EXPECT_TRUE(too_large_for_float(-0x1p128));
  EXPECT_FALSE(too_large_for_float(std::numeric_limits<double>::infinity()));
  EXPECT_FALSE(too_large_for_float(std::numeric_limits<double>::quiet_NaN()));
}

}  // namespace
}  // namespace halotile::test
