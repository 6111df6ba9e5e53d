#include "support.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <sstream>

#include "formats/npy.hpp"

namespace halotile::test {

namespace fs = std::filesystem;

fs::path source_path(std::string_view relative) { return fs::path(HALOTILE_SOURCE_DIR) / relative; }

std::vector<std::vector<std::string>> golden_cases(std::string_view kind) {
  std::ifstream file(source_path("tests/formats/golden/golden.txt"));
  std::vector<std::vector<std::string>> cases;
  for (std::string line; std::getline(file, line);) {
    std::istringstream stream(line);
    const std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
    if (!words.empty() && words.front() == kind) cases.emplace_back(words.begin() + 1, words.end());
  }
  EXPECT_FALSE(cases.empty()) << "golden.txt has no line '" << kind << "'";
  return cases;
}

std::string checksum(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  return fmt::format("{:08x}", crc32_z(crc32_z(0, nullptr, 0), data, bytes.size()));
}

void expect_golden(const Image& image, const std::string& name, const std::string& crc) {
  const fs::path kept = source_path("tests/formats/golden/" + name + ".npy");
  if (fs::exists(kept)) {
    const NpyArray array = read_npy(kept);
    ASSERT_EQ(array.shape, (std::vector<std::int64_t>{image.height, image.width, 3})) << name;
    for (std::size_t i = 0; i < array.data.size(); ++i) {
      ASSERT_EQ(static_cast<float>(image.rgb[i]), array.data[i])
          << name << ": first difference in row " << i / 3 / static_cast<std::size_t>(image.width)
          << ", column " << i / 3 % static_cast<std::size_t>(image.width) << ", channel " << i % 3;
    }
  }
  EXPECT_EQ(checksum(std::as_bytes(std::span(image.rgb))), crc) << name;
}

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> counter{0};
  path_ = fs::temp_directory_path() /
          fmt::format("halotile_formats_test.{}.{}", ::getpid(), counter.fetch_add(1));
  fs::remove_all(path_);
  fs::create_directory(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path TemporaryFolder::write(std::string_view name, std::string_view bytes) const {
  const fs::path file = path_ / name;
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return file;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::byte> to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void expect_message(const std::string& message, std::initializer_list<std::string_view> fragments) {
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string_view fragment : fragments) {
    EXPECT_NE(message.find(fragment), std::string::npos) << "'" << fragment << "' is not in: " << message;
  }
}

}  // namespace halotile::test
