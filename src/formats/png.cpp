// PNG through libpng. Errors jump back from libpng's callbacks into PngDecoder::attempt, as in jpeg.cpp.
#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "formats/image_codecs.hpp"
#include "formats/orientation.hpp"
#include "formats/png_texts.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr png_byte kTextChunks[] = "eXIf\0tEXt\0zTXt\0iTXt";  // names of five bytes, the last one zero

class PngDecoder {
 public:
  PngDecoder(std::span<const std::byte> bytes, const std::string& name)
      : name_(name), file_(bytes), rest_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

  StoredImage decode() {
    require(attempt([this] {
      png_set_read_fn(png_, this, on_read);
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // make_image() limits the product instead
      // 8 MB by default, where metadata may be larger; no chunk has more bytes than the file.
      png_set_chunk_malloc_max(png_, std::max<png_alloc_size_t>(8'000'000, file_.size()));
      png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kTextChunks, 4);  // read_png_texts reads them
      png_read_info(png_, info_);
    }));
    check_plausible();
    height_ = png_get_image_height(png_, info_);
    StoredImage stored{make_image(height_, png_get_image_width(png_, info_), name_)};
    Image& image = stored.image;
    // Palette entries are looked up here: libpng would paint pixels without an entry black.
    const bool palette = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE;
    if (palette) {
      std::vector<std::uint8_t> entries(static_cast<std::size_t>(image.height * image.width));
      read_rows(entries.data(), image.width, &png_set_packing);
      look_up(entries, image.rgb.data());
    } else {
      read_rows(image.rgb.data(), image.width * 3, [](png_structp png) {
        png_set_expand_gray_1_2_4_to_8(png);
        png_set_gray_to_rgb(png);
        png_set_strip_16(png);
        png_set_strip_alpha(png);
      });
    }
    const PngTexts texts = read_png_texts(file_);
    stored.orientation = find_orientation(texts.exif, texts.xmp);
    return stored;
  }

 private:
  static PngDecoder& decoder_of(png_structp png) { return *static_cast<PngDecoder*>(png_get_error_ptr(png)); }

  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    std::array<char, 128>& kept = decoder_of(png).message_;
    std::strncpy(kept.data(), message, kept.size() - 1);
    png_longjmp(png, 1);
  }

  static void on_read(png_structp png, png_bytep out, std::size_t count) {
    PngDecoder& self = decoder_of(png);
    if (count > self.rest_.size()) {
      self.truncated_ = true;
      png_error(png, "the file ends too early");
    }
    std::memcpy(out, self.rest_.data(), count);
    self.rest_ = self.rest_.subspan(count);
  }

  /// Runs calls into libpng; false when one gave up. Nothing inside may own anything.
  template <typename Step>
  bool attempt(Step step) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    step();
    return true;
  }

  void require(bool succeeded) const {
    if (succeeded) return;
    if (truncated_) {
      if (height_ == 0) fail_truncated("ends in its header");
      if (rows_done_ == height_) fail_truncated("its last part is missing");
      if (interlaced_) fail_truncated("ends amid its pixels");
      fail_truncated(fmt::format("ends after {} of {} rows", rows_done_, height_));
    }
    throw FormatError(
        fmt::format("{} is a damaged PNG ({}); fetch it again, or save it again with an image program", name_,
                    message_.data()));
  }

  [[noreturn]] void fail_truncated(const std::string& how) const {
    throw FormatError(fmt::format("{} is a truncated PNG: {}; fetch or export it again", name_, how));
  }

  /// Deflate shrinks at most 1032 to 1: so few bytes cannot hold so many pixels, and memory would be wasted.
  void check_plausible() const {
    const double raw = static_cast<double>(png_get_rowbytes(png_, info_)) * png_get_image_height(png_, info_);
    if (raw > 1032.0 * static_cast<double>(file_.size())) {
      fail_truncated(fmt::format("its {} bytes cannot hold the {}x{} pixels it announces", file_.size(),
                                 png_get_image_height(png_, info_), png_get_image_width(png_, info_)));
    }
  }

  /// All pixels, in rows of `stride` bytes, after the transformations that `set_up` asks libpng for.
  void read_rows(png_bytep pixels, std::int64_t stride, void (*set_up)(png_structp)) {
    int passes = 1;
    require(attempt([this, set_up, &passes] {
      set_up(png_);
      passes = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    }));
    if (static_cast<std::int64_t>(png_get_rowbytes(png_, info_)) != stride) {
      throw FormatError(
          fmt::format("{} is a PNG of an unknown pixel layout; save it again as 8-bit RGB", name_));
    }
    interlaced_ = passes > 1;
    for (int pass = 0; pass < passes; ++pass) {
      for (rows_done_ = 0; rows_done_ < height_; ++rows_done_) {
        png_bytep row = pixels + rows_done_ * stride;
        require(attempt([this, row] { png_read_row(png_, row, nullptr); }));
      }
    }
    require(attempt([this] { png_read_end(png_, info_); }));
  }

  void look_up(std::span<const std::uint8_t> entries, std::uint8_t* rgb) const {
    png_colorp palette = nullptr;
    int count = 0;
    png_get_PLTE(png_, info_, &palette, &count);
    for (const std::uint8_t entry : entries) {
      if (entry >= count) {
        throw FormatError(
            fmt::format("{} is a damaged PNG (a pixel has entry {} of a palette of {}); save it again with "
                        "an image program",
                        name_, entry, count));
      }
      *rgb++ = palette[entry].red;
      *rgb++ = palette[entry].green;
      *rgb++ = palette[entry].blue;
    }
  }

  const std::string& name_;
  std::span<const std::byte> file_;
  std::span<const std::byte> rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::int64_t height_ = 0;
  std::int64_t rows_done_ = 0;
  bool interlaced_ = false;
  bool truncated_ = false;
  std::array<char, 128> message_{};
};

}  // namespace

StoredImage decode_png(std::span<const std::byte> bytes, const std::string& name) {
  return PngDecoder(bytes, name).decode();
}

std::vector<std::byte> encode_png(const Image& image) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::vector<std::byte> bytes(size);
  if (png_image_write_to_memory(&header, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0)
    throw FormatError(fmt::format("the picture could not be encoded as PNG: {}", header.message));
  bytes.resize(size);
  return bytes;
}

}  // namespace halotile
