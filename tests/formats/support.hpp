// What the tests of src/formats share: kept results, temporary folders, expected errors.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/image.hpp"
#include "patching/error.hpp"

namespace halotile::test {

/// A path inside the repository.
[[nodiscard]] std::filesystem::path source_path(std::string_view relative);

/// The words behind `kind` on each such line of tests/formats/golden/golden.txt.
[[nodiscard]] std::vector<std::vector<std::string>> golden_cases(std::string_view kind);

/// zlib's CRC-32 as eight hexadecimal digits.
[[nodiscard]] std::string checksum(std::span<const std::byte> bytes);

/// Expects the image that golden.txt knows by `crc`; a kept tests/formats/golden/<name>.npy serves to name
/// the first difference.
void expect_golden(const Image& image, const std::string& name, const std::string& crc);

/// A folder that vanishes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Writes a file with these bytes and returns its path.
  std::filesystem::path write(std::string_view name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

[[nodiscard]] std::string read_text(const std::filesystem::path& path);
[[nodiscard]] std::vector<std::byte> to_bytes(std::string_view text);

/// The message of the FormatError that `action` throws; a test failure and "" when it throws none.
template <typename Action>
[[nodiscard]] std::string format_error_of(Action&& action) {
  try {
    action();
  } catch (const FormatError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no FormatError was thrown";
  return {};
}

/// Expects every fragment in `message`, which must be one line.
void expect_message(const std::string& message, std::initializer_list<std::string_view> fragments);

}  // namespace halotile::test
