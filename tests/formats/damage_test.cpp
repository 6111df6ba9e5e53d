// Damaged files: whatever the bytes, readers give an image or array, or one FormatError; never anything else.
// The sanitizer builds watch the memory meanwhile.
#include <gtest/gtest.h>

#include <random>

#include "formats/image.hpp"
#include "formats/npy.hpp"
#include "support.hpp"

namespace halotile::test {
namespace {

constexpr const char* kFiles[] = {
    "jpeg_420.jpg",
    "jpeg_progressive.jpg",
    "jpeg_restarts.jpg",
    "jpeg_grey.jpg",
    "jpeg_cmyk_adobe.jpg",
    "jpeg_ycck.jpg",
    "jpeg_orientation6.jpg",
    "png_rgb8.png",
    "png_rgb16.png",
    "png_palette4.png",
    "png_palette2_interlaced.png",
    "png_grey1_interlaced.png",
    "png_grey_alpha8.png",
    "png_orientation6.png",
    "png_palette_transparency.png",
    "png_rgba16_interlaced.png",
};

/// True when the bytes are read as an image; false for a FormatError. Anything else fails the test.
bool survives(const std::string& bytes, const std::string& what, Image* result = nullptr) {
  try {
    Image image = decode_image(to_bytes(bytes), "damaged");
    EXPECT_EQ(image.rgb.size(), static_cast<std::size_t>(image.height * image.width * 3)) << what;
    if (result != nullptr) *result = std::move(image);
    return true;
  } catch (const FormatError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << what << ": " << error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
  return false;
}

TEST(Damage, TruncatedImagesAreRefusedOrWhole) {
  for (const char* name : kFiles) {
    const std::string bytes = read_text(source_path(std::string("tests/formats/golden/") + name));
    const Image whole = decode_image(to_bytes(bytes), name);
    int accepted = 0;
    for (std::size_t count = 0; count < bytes.size(); ++count) {
      Image image;
      const std::string what = std::string(name) + " cut to " + std::to_string(count);
      if (!survives(bytes.substr(0, count), what, &image)) continue;
      ++accepted;
      EXPECT_EQ(image.rgb, whole.rgb) << what;
    }
    EXPECT_LE(accepted, 4) << name;  // only the end marker may be missed
  }
}

TEST(Damage, TruncatedPhotographsAreRefused) {
  const std::string bytes = read_text(source_path("data/samples/hubble_deep_field.jpg"));
  std::mt19937 generator(8);
  for (int i = 0; i < 12; ++i) {
    const std::size_t count = generator() % (bytes.size() - 2);
    EXPECT_FALSE(survives(bytes.substr(0, count), "cut to " + std::to_string(count)));
  }
}

std::string with_flips(std::string bytes, std::mt19937& generator) {
  const std::size_t flips = 1 + generator() % 4;
  for (std::size_t i = 0; i < flips; ++i) {
    char& byte = bytes[generator() % bytes.size()];
    byte = static_cast<char>(generator() % 3 == 0 ? generator() & 0xff : byte ^ (1 << generator() % 8));
  }
  return bytes;
}

TEST(Damage, FlippedBytesInImagesDoNotCrash) {
  for (const char* name : kFiles) {
    const std::string bytes = read_text(source_path(std::string("tests/formats/golden/") + name));
    std::mt19937 generator(9);
    for (int i = 0; i < 1500; ++i) {
      survives(with_flips(bytes, generator), std::string(name) + ", seed 9, variant " + std::to_string(i));
    }
  }
}

/// Makes the check sums of all PNG chunks right again, so that damage gets past them.
std::string with_right_checksums(std::string png) {
  constexpr std::size_t kSignature = 8;
  constexpr std::size_t kAround = 12;  // length, name and check sum of a chunk
  for (std::size_t at = kSignature; at + kAround <= png.size();) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length * 256 + static_cast<unsigned char>(png[at + i]);
    if (length > png.size() - at - kAround) break;
    const std::string crc = checksum(to_bytes(png.substr(at + 4, length + 4)));
    for (std::size_t i = 0; i < 4; ++i) {
      png[at + 8 + length + i] = static_cast<char>(std::stoi(crc.substr(2 * i, 2), nullptr, 16));
    }
    at += length + kAround;
  }
  return png;
}

TEST(Damage, FlippedBytesInPngChunksDoNotCrash) {
  for (const char* name : kFiles) {
    const std::string bytes = read_text(source_path(std::string("tests/formats/golden/") + name));
    if (!bytes.starts_with("\x89PNG")) continue;
    ASSERT_EQ(with_right_checksums(bytes), bytes) << name;
    std::mt19937 generator(11);
    for (int i = 0; i < 1500; ++i) {
      survives(with_right_checksums(with_flips(bytes, generator)),
               std::string(name) + ", seed 11, variant " + std::to_string(i));
    }
  }
}

TEST(Damage, FlippedBytesInArraysDoNotCrash) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "array.npy";
  write_npy(path, NpyArray{{2, 3, 4}, std::vector<float>(24, 1.5f)});
  const std::string bytes = read_text(path);
  std::mt19937 generator(10);
  for (int i = 0; i < 3000; ++i) {
    // Mostly in the header, where the words are.
    std::string damaged = with_flips(bytes.substr(0, 80), generator) + bytes.substr(80);
    if (generator() % 4 == 0) damaged.resize(generator() % damaged.size());
    folder.write("array.npy", damaged);
    try {
      const NpyArray array = read_npy(path);
      std::int64_t count = 1;
      for (const std::int64_t size : array.shape) count *= size;
      EXPECT_EQ(count, static_cast<std::int64_t>(array.data.size())) << "seed 10, variant " << i;
    } catch (const FormatError&) {
    } catch (const std::exception& error) {
      ADD_FAILURE() << "seed 10, variant " << i << ": " << error.what();
    }
  }
}

}  // namespace
}  // namespace halotile::test
