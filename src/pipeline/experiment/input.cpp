#include "pipeline/experiment/input.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "formats/image_list.hpp"
#include "formats/npy.hpp"
#include "formats/printable.hpp"
#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/pointwise.hpp"
#include "patching/error.hpp"
#include "pipeline/network/random.hpp"

namespace halotile {
namespace {

// Row by row: `row(image, y, values)` writes one row of (width, channels) floats.
template <typename Row>
void fill_rows(Interval images, const MapView& out, const Row& row) {
  std::vector<float> values(static_cast<std::size_t>(out.whole.width * out.channels));
  for (std::int64_t image = images.begin; image < images.end; ++image) {
    for (std::int64_t y = 0; y < out.whole.height; ++y) {
      throw_if_stopped();
      row(image, y, values);
      const Rect line{{y, y + 1}, {0, out.whole.width}};
      const ConstMapView from{dense_geometry(DType::f32, 1, out.channels, line, out.whole), values.data()};
      copy_map(from, subview(out, {image - images.begin, image - images.begin + 1}, line));
    }
  }
}

// Element (n, c, y, x) is element ((n * C + c) * H + y) * W + x of the sequence "input", in [-1, 1).
class RandomSource final : public InputSource {
 public:
  RandomSource(std::uint64_t seed, std::int64_t count, const MapShape& shape)
      : sequence_(seed, "input"), count_(count), shape_(shape) {}
  [[nodiscard]] std::int64_t count() const override { return count_; }
  [[nodiscard]] std::string name(std::int64_t image) const override {
    return fmt::format("random image {}", image);
  }
  void fill(Interval images, const MapView& out) override {
    fill_rows(images, out, [this](std::int64_t image, std::int64_t y, std::vector<float>& values) {
      const auto [channels, extent] = shape_;
      for (std::int64_t c = 0; c < channels; ++c) {
        const auto base =
            static_cast<std::uint64_t>(((image * channels + c) * extent.height + y) * extent.width);
        for (std::int64_t x = 0; x < extent.width; ++x) {
          values[static_cast<std::size_t>(x * channels + c)] =
              sequence_.uniform(base + static_cast<std::uint64_t>(x));
        }
      }
    });
  }

 private:
  RandomSequence sequence_;
  std::int64_t count_;
  MapShape shape_;
};

constexpr const char* channels_last_hint =
    "; it looks like NHWC, where NCHW is expected: save array.transpose(0, 3, 1, 2) instead";

// (N, H, W, C), as image libraries and TensorFlow have it, rather than (N, C, H, W).
bool channels_last(std::span<const std::int64_t> shape, std::int64_t channels) {
  return shape.size() == 4 && shape[3] == channels && shape[1] != channels;
}

class NpySource final : public InputSource {
 public:
  NpySource(const std::filesystem::path& file, const MapShape& shape) : file_(file), shape_(shape) {
    array_ = read_npy(file);
    const std::vector<std::int64_t>& have = array_.shape;
    const bool last = channels_last(have, shape.channels);
    // An array dictates the extent, one with the channels last a wrong one.
    const bool own = last && shape.extent == Extent2{have[2], have[3]};
    const Extent2 e = own ? Extent2{have[1], have[2]} : shape.extent;
    if (have.size() != 4 || have[0] < 1 || have[1] != shape.channels || have[2] != e.height ||
        have[3] != e.width) {
      throw FormatError(fmt::format("{}: has shape ({}); the network takes (N, C, H, W) = (N, {}, {}, {}){}",
                                    shown_path(file), fmt::join(have, ", "), shape.channels, e.height,
                                    e.width, last ? channels_last_hint : ""));
    }
  }
  [[nodiscard]] std::int64_t count() const override { return array_.shape[0]; }
  [[nodiscard]] std::string name(std::int64_t image) const override {
    return fmt::format("{} [{}]", file_.string(), image);
  }
  void fill(Interval images, const MapView& out) override {
    fill_rows(images, out, [this](std::int64_t image, std::int64_t y, std::vector<float>& values) {
      const auto [channels, extent] = shape_;
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t base = ((image * channels + c) * extent.height + y) * extent.width;
        for (std::int64_t x = 0; x < extent.width; ++x) {
          values[static_cast<std::size_t>(x * channels + c)] =
              array_.data[static_cast<std::size_t>(base + x)];
        }
      }
    });
  }

 private:
  std::filesystem::path file_;
  MapShape shape_;
  NpyArray array_;
};

class ImageSource final : public InputSource {
 public:
  ImageSource(const ImageInput& input, const Preprocess& preprocess, const CropsConfig& crops,
              const MapShape& shape)
      : files_(list_images(input.paths)), preprocess_(preprocess), crops_(crops), shape_(shape) {
    if (shape.channels != 3) {
      throw ConfigError(
          fmt::format("input.images: photographs have 3 channels, the network takes {}; use input.file or "
                      "input.random",
                      shape.channels));
    }
    if (preprocess_.crop == Extent2{0, 0}) preprocess_.crop = shape.extent;
    if (preprocess_.crop != shape.extent) {
      throw ConfigError(
          fmt::format("preprocess.crop: is {}, but the network takes {}; make the two equal, or leave crop "
                      "out",
                      to_string(preprocess_.crop), to_string(shape.extent)));
    }
  }
  [[nodiscard]] std::int64_t count() const override {
    return static_cast<std::int64_t>(files_.size()) * views();
  }
  [[nodiscard]] std::int64_t views() const override { return crops_.kind == CropsConfig::Kind::ten ? 10 : 1; }
  [[nodiscard]] std::string name(std::int64_t image) const override { return file(image).string(); }
  void fill(Interval images, const MapView& out) override {
    std::vector<float> values(static_cast<std::size_t>(shape_.elements()));
    const MapView one{dense_geometry(DType::f32, 1, 3, Rect::whole(shape_.extent), shape_.extent),
                      values.data()};
    std::vector<Image> made;  // all views of one photograph
    for (std::int64_t image = images.begin; image < images.end; ++image) {
      throw_if_stopped();
      const std::int64_t view = image % views();
      if (image == images.begin || view == 0) made = make_views(image / views());
      const Image& pixels = made[static_cast<std::size_t>(view)];
      if (out.dtype == DType::u8) {
        std::copy(pixels.rgb.begin(), pixels.rgb.end(),
                  static_cast<std::uint8_t*>(out.data) + (image - images.begin) * out.image_stride);
        continue;
      }
      normalize(pixels, preprocess_, one);
      copy_map(one, subview(out, {image - images.begin, image - images.begin + 1}, one.rect));
    }
  }

 private:
  [[nodiscard]] const std::filesystem::path& file(std::int64_t image) const {
    return files_[static_cast<std::size_t>(image / views())];
  }

  [[nodiscard]] std::vector<Image> make_views(std::int64_t photograph) const {
    const Image image = read_image(files_[static_cast<std::size_t>(photograph)]);
    if (crops_.kind == CropsConfig::Kind::center) return {resize_and_crop(image, preprocess_)};
    Preprocess only_resize = preprocess_;
    only_resize.crop = {};
    const Image resized = resize_and_crop(image, only_resize);
    const Extent2 size = resized.extent();
    if (size.height < preprocess_.crop.height || size.width < preprocess_.crop.width) {
      throw FormatError(
          fmt::format("{}: is {} when resized, smaller than the crop of {}; use a larger "
                      "preprocess.resize",
                      shown_path(files_[static_cast<std::size_t>(photograph)]), to_string(size),
                      to_string(preprocess_.crop)));
    }
    if (crops_.kind == CropsConfig::Kind::ten) return ten_crops(resized, preprocess_.crop);
    return {random_crop(resized, preprocess_.crop, crops_.seed, photograph)};
  }

  // Elements 3 n, 3 n + 1 and 3 n + 2 of the sequence "augment" give photograph n its top, its left, and
  // whether it is mirrored.
  static Image random_crop(const Image& image, Extent2 size, std::uint64_t seed, std::int64_t photograph) {
    const RandomSequence sequence(seed, "augment");
    const std::uint64_t first = 3 * static_cast<std::uint64_t>(photograph);
    const auto draw = [&](std::uint64_t which, std::int64_t room) {
      const std::uint64_t places = static_cast<std::uint64_t>(room) + 1;
      return static_cast<std::int64_t>((sequence.bits(first + which) >> 32) % places);
    };
    const std::int64_t top = draw(0, image.height - size.height);
    const std::int64_t left = draw(1, image.width - size.width);
    Image crop = cut(image, {{top, top + size.height}, {left, left + size.width}});
    return draw(2, 1) == 1 ? mirrored(crop) : crop;
  }

  std::vector<std::filesystem::path> files_;
  Preprocess preprocess_;
  CropsConfig crops_;
  MapShape shape_;
};

}  // namespace

std::optional<Extent2> input_extent(const InputConfig& input) {
  if (const auto* npy = std::get_if<NpyInput>(&input.source); npy != nullptr && !input.extent) {
    const std::vector<std::int64_t> shape = read_npy(npy->file).shape;
    if (shape.size() == 4 && shape[2] >= 1 && shape[3] >= 1) return Extent2{shape[2], shape[3]};
  }
  return input.extent;
}

std::string layout_hint(const InputConfig& input) {
  const auto* npy = std::get_if<NpyInput>(&input.source);
  if (npy == nullptr || input.extent) return "";
  const std::vector<std::int64_t> shape = read_npy(npy->file).shape;
  // Whatever the network's channels are: photographs have up to four, and maps are larger than that.
  constexpr std::int64_t most = 4;
  if (shape.size() != 4 || shape[3] > most || shape[1] <= most) return "";
  return fmt::format("{}: has shape ({}), read as (N, C, H, W){}", shown_path(npy->file),
                     fmt::join(shape, ", "), channels_last_hint);
}

std::unique_ptr<InputSource> open_input(const Experiment& experiment, const MapShape& shape) {
  const InputConfig& input = experiment.input;
  if (const auto* random = std::get_if<RandomInput>(&input.source)) {
    return std::make_unique<RandomSource>(random->seed, std::max<std::int64_t>(1, input.batch), shape);
  }
  if (const auto* npy = std::get_if<NpyInput>(&input.source))
    return std::make_unique<NpySource>(npy->file, shape);
  return std::make_unique<ImageSource>(std::get<ImageInput>(input.source), experiment.preprocess,
                                       experiment.crops, shape);
}

}  // namespace halotile
