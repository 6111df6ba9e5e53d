#include "formats/image.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support.hpp"

namespace halotile::test {
namespace {

using namespace std::string_literals;

TEST(Image, EqualsPillowOnEveryKindOfFile) {
  for (const auto& words : golden_cases("decode")) {
    SCOPED_TRACE(words[0]);
    const Image image = read_image(source_path(words[0]));
    ASSERT_EQ(image.extent(), (Extent2{std::stoll(words[1]), std::stoll(words[2])}));
    expect_golden(image, std::filesystem::path(words[0]).stem().string(), words[3]);
  }
}

TEST(Image, GoesByContentNotByName) {
  const TemporaryFolder folder;
  const std::string png = read_text(source_path("tests/formats/golden/png_rgb8.png"));
  const Image misnamed = read_image(folder.write("misnamed.jpg", png));
  EXPECT_EQ(misnamed.rgb, read_image(source_path("tests/formats/golden/png_rgb8.png")).rgb);
}

struct ForeignCase {
  const char* name;
  std::string bytes;
  const char* message;
};

TEST(Image, SaysWhatAForeignFileIs) {
  const ForeignCase cases[] = {
      {"text.jpg", "Dear reader,\nthis is no image at all.\n", "is text, not an image"},
      {"short_text.jpg", "x", "is text, not an image"},
      {"empty.jpg", "", "is empty"},
      {"photo.webp", "RIFF\x10\0\0\0WEBPVP8 "s,
       "is a WebP image, which is not supported; convert it to JPEG or PNG"},
      {"photo.gif", "GIF89a\1\0\1\0\0\0\0"s, "is a GIF image"},
      {"photo.bmp", "BM\x46\0\0\0\0\0\0\0"s, "is a BMP image"},
      {"photo.tif", "II*\0\x08\0\0\0"s, "is a TIFF"},
      {"photo.heic", "\0\0\0\x18"s + "ftypheic\0\0\0\0"s, "is a HEIC image"},
      {"photo.avif", "\0\0\0\x18"s + "ftypavif\0\0\0\0"s, "is an AVIF image"},
      {"array.png", "\x93NUMPY\1\0"s, "is a NumPy array"},
      {"noise.png", "\1\2\3\4\5"s, "is neither JPEG nor PNG (its first bytes are 01 02 03 04 05)"},
  };
  const TemporaryFolder folder;
  for (const ForeignCase& c : cases) {
    const std::filesystem::path path = folder.write(c.name, c.bytes);
    expect_message(format_error_of([&] { (void)read_image(path); }), {path.string(), c.message});
  }
}

TEST(Image, SaysWhatIsWrongWithThePath) {
  const TemporaryFolder folder;
  expect_message(format_error_of([&] { (void)read_image(folder.path()); }), {"is a folder"});
  expect_message(format_error_of([&] { (void)read_image(folder.path() / "none.jpg"); }), {"does not exist"});
  const std::filesystem::path pipe = folder.path() / "pipe.jpg";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_message(format_error_of([&] { (void)read_image(pipe); }), {"is a device or pipe"});
}

TEST(Image, SaysWhereATruncatedFileEnds) {
  const std::string jpeg = read_text(source_path("data/samples/coffee.jpg"));
  const auto decode_part = [](const std::string& bytes, std::size_t count) {
    return format_error_of([&] { (void)decode_image(to_bytes(bytes.substr(0, count)), "photo"); });
  };
  expect_message(decode_part(jpeg, jpeg.size() / 2),
                 {"photo is a truncated JPEG: ends after ", " of 400 rows"});
  expect_message(decode_part(jpeg, 100), {"photo is a truncated JPEG: ends in its header"});
  const std::string png = read_text(source_path("data/samples/gravel.png"));
  expect_message(decode_part(png, png.size() / 2), {"photo is a truncated PNG: ends after ", " of 512 rows"});
  expect_message(decode_part(png, 20), {"photo is a truncated PNG: ends in its header"});
  expect_message(decode_part(png, png.size() - 6), {"photo is a truncated PNG: its last part is missing"});
}

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((value >> shift) & 0xff);
  return bytes;
}

std::string png_chunk(const std::string& name, const std::string& body) {
  const std::string crc = checksum(to_bytes(name + body));
  return big_endian(static_cast<std::uint32_t>(body.size())) + name + body +
         big_endian(static_cast<std::uint32_t>(std::stoul(crc, nullptr, 16)));
}

TEST(Image, RefusesPngBombs) {
  const std::string header = big_endian(0x7fffffff) + big_endian(0x7fffffff) + "\x08\x02\0\0\0"s;
  const std::string bomb = "\x89PNG\r\n\x1a\n"s + png_chunk("IHDR", header) + png_chunk("IDAT", "");
  expect_message(format_error_of([&] { (void)decode_image(to_bytes(bomb), "bomb"); }),
                 {"bomb is a truncated PNG", "cannot hold the 2147483647x2147483647 pixels"});
}

TEST(Image, RefusesJpegBombs) {
  std::string jpeg = read_text(source_path("data/samples/astronaut.jpg"));
  const std::size_t frame = jpeg.rfind("\xff\xc0\0\x11\x08"s);
  ASSERT_NE(frame, std::string::npos);
  for (const std::size_t at : {frame + 5, frame + 7}) jpeg.replace(at, 2, "\x40\0"s);
  expect_message(
      format_error_of([&] { (void)decode_image(to_bytes(jpeg), "bomb"); }),
      {"bomb is a truncated JPEG: its 73281 bytes cannot hold the 16384x16384 pixels it announces"});
  // Padded so far that the pixels could fit at one bit a block; then the limit speaks.
  for (const std::size_t at : {frame + 5, frame + 7}) jpeg.replace(at, 2, "\xff\xdc");
  jpeg.resize(std::size_t{9} << 20);
  expect_message(format_error_of([&] { (void)decode_image(to_bytes(jpeg), "bomb"); }),
                 {"announces 65500x65500 pixels, more than the limit of 1073741824 (2^30)"});
}

TEST(Image, RefusesPixelsWithoutAPaletteEntry) {
  // 1 x 1, a palette of one entry, and a pixel that names entry 5.
  const std::string png = "\x89PNG\r\n\x1a\n"s + png_chunk("IHDR", "\0\0\0\1\0\0\0\1\x08\3\0\0\0"s) +
                          png_chunk("PLTE", "\1\2\3"s) +
                          png_chunk("IDAT", "\x78\x01\x01\2\0\xfd\xff\0\5\0\7\0\6"s) + png_chunk("IEND", "");
  expect_message(format_error_of([&] { (void)decode_image(to_bytes(png), "photo"); }),
                 {"photo is a damaged PNG (a pixel has entry 5 of a palette of 1)"});
}

TEST(Image, EncodesPngWithoutLoss) {
  for (const Extent2 extent : {Extent2{1, 1}, Extent2{3, 7}, Extent2{64, 33}}) {
    Image image{extent.height, extent.width, {}};
    for (std::int64_t i = 0; i < 3 * extent.area(); ++i)
      image.rgb.push_back(static_cast<std::uint8_t>(i * 37 % 256));
    const Image decoded = decode_image(encode_png(image), "encoded");
    EXPECT_EQ(decoded.extent(), extent);
    EXPECT_EQ(decoded.rgb, image.rgb) << to_string(extent);
  }
  EXPECT_THROW((void)encode_png({}), FormatError);
}

}  // namespace
}  // namespace halotile::test
