// What the tests of weight files share: golden values, and damage.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_file.hpp"
#include "patching/error.hpp"
#include "support.hpp"

namespace halotile::test {

inline std::filesystem::path golden(const std::string& name) {
  return source_path("tests/golden/weights/" + name);
}

/// `size` bytes of `value`, least significant first.
inline std::string little_endian(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i, value >>= 8) bytes += static_cast<char>(value & 0xff);
  return bytes;
}

/// The i-th element of every golden array: the script that made them uses the same formula. Exact in float16
/// and bfloat16.
inline float golden_value(std::int64_t i) { return static_cast<float>(i * 37 % 101 - 50) / 8.0F; }

inline std::vector<float> golden_values(std::int64_t count) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(golden_value(i));
  return values;
}

/// Opens the file and reads every array. The message of the FormatError that ended it, or "" when nothing
/// did.
template <typename Open>
std::string complaint(const Open& open, const std::filesystem::path& path) {
  try {
    const auto file = open(path);
    for (const std::string& name : file->names()) {
      const std::string& type = file->type(name);
      if (type != "I64" && type != "BOOL" && type != "<U2") (void)file->read(name);
    }
  } catch (const FormatError& e) {
    const std::string message = e.what();
    EXPECT_TRUE(message.starts_with(path.string())) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), path.string().size() + 600) << message;
    return message;
  }
  return "";
}

/// Cuts the file short everywhere it can be cut (or at 400 places) and flips random bytes: each time the file
/// is read or refused with a FormatError, nothing else. Returns how many of the damaged files were refused.
template <typename Open>
int damage(const Open& open, const std::string& whole, int flips) {
  const TemporaryFolder scratch;
  constexpr std::uint32_t kSeed = 20120930;
  std::mt19937 random(kSeed);
  int refused = 0;
  const std::size_t step = whole.size() / 400 + 1;
  for (std::size_t size = 0; size < whole.size(); size += step) {
    const std::string message = complaint(open, scratch.write("cut", whole.substr(0, size)));
    EXPECT_NE(message, "") << "cut at byte " << size;
    if (!message.empty()) ++refused;
  }
  for (int i = 0; i < flips; ++i) {
    std::string bytes = whole;
    const int count = 1 + static_cast<int>(random() % 3);
    for (int k = 0; k < count; ++k) {
      // Half of the damage where the structure is: at the beginning and the end.
      const std::size_t reach = random() % 2 == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 256);
      const std::size_t at = random() % reach;
      bytes[random() % 2 == 0 ? at : bytes.size() - 1 - at] = static_cast<char>(random());
    }
    if (!complaint(open, scratch.write("flipped", bytes)).empty()) ++refused;
  }
  return refused;
}

}  // namespace halotile::test
