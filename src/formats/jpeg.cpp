// JPEG through libjpeg-turbo, with the settings Pillow uses: the defaults.
// libjpeg reports errors through callbacks that must not return. An exception would unwind through C frames,
// so the callbacks longjmp back into JpegDecoder::attempt, below which no object with a destructor lives.
#include <fmt/format.h>

#include <array>
#include <csetjmp>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// These two stand last and in this order: neither includes what it needs.
#include <jpeglib.h>

#include <jerror.h>

#include "formats/image_codecs.hpp"
#include "formats/orientation.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using namespace std::string_view_literals;

// Each scan of a progressive JPEG is a pass over the whole image; a small file can hold thousands.
constexpr int kMaxScans = 500;

struct ErrorState {
  jpeg_error_mgr manager;  // first: libjpeg hands us its address
  std::jmp_buf jump;
  bool too_many_scans;
  int code;
  std::array<char, JMSG_LENGTH_MAX> message;
};

ErrorState& state_of(j_common_ptr info) { return *reinterpret_cast<ErrorState*>(info->err); }

[[noreturn]] void give_up(j_common_ptr info) {
  ErrorState& state = state_of(info);
  state.code = state.manager.msg_code;
  state.manager.format_message(info, state.message.data());
  std::longjmp(state.jump, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;  // traces
  // libjpeg goes on after these with invented pixels. Other warnings (stray bytes between segments, odd
  // version numbers) leave the image whole.
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_NOT_SEQUENTIAL:
      give_up(info);
    default:
      break;
  }
}

void on_progress(j_common_ptr info) {
  if (info->is_decompressor == 0) return;
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
    state_of(info).too_many_scans = true;
    give_up(info);
  }
}

class JpegDecoder {
 public:
  JpegDecoder(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = give_up;
    errors_.manager.emit_message = on_message;
    errors_.manager.output_message = [](j_common_ptr) {};
    progress_.progress_monitor = on_progress;
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }  // harmless before creation: info_ is all zeros

  StoredImage decode() {
    require(attempt([this] {
      jpeg_create_decompress(&info_);
      info_.progress = &progress_;
      jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size());
      jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xffff);  // EXIF and XMP
      jpeg_read_header(&info_, TRUE);
    }));
    check_header();
    const bool cmyk = info_.num_components == 4;
    info_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;  // YCCK becomes CMYK, grey and YCbCr become RGB
    StoredImage stored{make_image(info_.image_height, info_.image_width, name_), orientation()};
    require(attempt([this] { jpeg_start_decompress(&info_); }));
    std::vector<JSAMPLE> cmyk_row(cmyk ? static_cast<std::size_t>(stored.image.width * 4) : 0);
    for (std::int64_t row = 0; row < stored.image.height; ++row) {
      JSAMPLE* rgb = stored.image.rgb.data() + row * stored.image.width * 3;
      JSAMPLE* line = cmyk ? cmyk_row.data() : rgb;
      require(attempt([this, line]() mutable { jpeg_read_scanlines(&info_, &line, 1); }));
      if (cmyk) convert_cmyk(cmyk_row, rgb);
    }
    return stored;
  }

 private:
  /// Runs calls into libjpeg; false when one gave up. Nothing inside may own anything.
  template <typename Step>
  bool attempt(Step step) {
    if (setjmp(errors_.jump) != 0) return false;
    step();
    return true;
  }

  void require(bool succeeded) const {
    if (succeeded) return;
    if (errors_.too_many_scans) {
      throw FormatError(
          fmt::format("{} has more than {} scans; save it again as an ordinary JPEG", name_, kMaxScans));
    }
    if (errors_.code == JWRN_JPEG_EOF) {
      if (info_.output_height == 0) fail_truncated("ends in its header");
      fail_truncated(fmt::format("ends after {} of {} rows", info_.output_scanline, info_.output_height));
    }
    throw FormatError(fmt::format(
        "{} is a damaged or unusual JPEG ({}); fetch it again, or save it again with an image program", name_,
        errors_.message.data()));
  }

  [[noreturn]] void fail_truncated(const std::string& how) const {
    throw FormatError(fmt::format("{} is a truncated JPEG: {}; fetch or export it again", name_, how));
  }

  void check_header() const {
    if (info_.num_components != 1 && info_.num_components != 3 && info_.num_components != 4) {
      throw FormatError(
          fmt::format("{} is a JPEG of {} channels, where 1 (grey), 3 (colour) or 4 (CMYK) are supported; "
                      "save it again in colour",
                      name_, info_.num_components));
    }
    // Huffman coding spends at least one bit on each 8x8 block: so few bytes cannot hold so many pixels, and
    // memory for them would be wasted.
    const double pixels = double{1} * info_.image_height * info_.image_width;
    if (info_.arith_code == 0 && pixels > 512.0 * static_cast<double>(bytes_.size())) {
      fail_truncated(fmt::format("its {} bytes cannot hold the {}x{} pixels it announces", bytes_.size(),
                                 info_.image_height, info_.image_width));
    }
  }

  int orientation() const {
    constexpr std::string_view kExif = "Exif\0\0"sv;
    constexpr std::string_view kXmp = "http://ns.adobe.com/xap/1.0/\0"sv;
    std::vector<std::byte> exif;  // a block too long for one segment goes on in the next
    std::string_view xmp;
    for (jpeg_saved_marker_ptr marker = info_.marker_list; marker != nullptr; marker = marker->next) {
      const std::string_view text(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (text.starts_with(kExif)) {
        const auto body = std::as_bytes(std::span(exif.empty() ? text : text.substr(kExif.size())));
        exif.insert(exif.end(), body.begin(), body.end());
      } else if (text.starts_with(kXmp)) {
        xmp = text.substr(kXmp.size());
      }
    }
    return find_orientation(exif, xmp);
  }

  /// Stored inverted, as Adobe's programs do and Pillow always assumes: c holds 255 - cyan, k 255 - black.
  /// rgb = k * (255 - cyan) / 255, rounded the way Pillow rounds it: k - round(k * cyan / 255).
  static void convert_cmyk(std::span<const JSAMPLE> cmyk, JSAMPLE* rgb) {
    for (std::size_t at = 0; at < cmyk.size(); at += 4) {
      const int light = cmyk[at + 3];
      for (std::size_t ink = 0; ink < 3; ++ink) {
        const int scaled = (255 - cmyk[at + ink]) * light + 128;
        *rgb++ = static_cast<JSAMPLE>(light - ((scaled + (scaled >> 8)) >> 8));
      }
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  ErrorState errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct info_{};
};

}  // namespace

StoredImage decode_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  return JpegDecoder(bytes, name).decode();
}

}  // namespace halotile
