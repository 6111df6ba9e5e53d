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

std::string channels_last_hint(std::string_view verb) {
  return fmt::format("; it looks like NHWC, where NCHW is expected: {} array.transpose(0, 3, 1, 2) instead",
                     verb);
}

// (N, H, W, C), as image libraries and TensorFlow have it, rather than (N, C, H, W).
bool channels_last(std::span<const std::int64_t> shape, std::int64_t channels) {
  return shape.size() == 4 && shape[3] == channels && shape[1] != channels;
}

// What keeps the array from a network that takes `shape`; `verb`: what to do with a better one.
std::string shape_problem(const NpyArray& array, const MapShape& shape, std::string_view verb) {
  const std::vector<std::int64_t>& have = array.shape;
  const bool last = channels_last(have, shape.channels);
  // An array dictates the extent, one with the channels last a wrong one.
  const bool own = last && shape.extent == Extent2{have[2], have[3]};
  const Extent2 e = own ? Extent2{have[1], have[2]} : shape.extent;
  if (have.size() == 4 && have[0] >= 1 && have[1] == shape.channels && have[2] == e.height &&
      have[3] == e.width)
    return "";
  return fmt::format("has shape ({}); the network takes (N, C, H, W) = (N, {}, {}, {}){}",
                     fmt::join(have, ", "), shape.channels, e.height, e.width,
                     last ? channels_last_hint(verb) : "");
}

// An array (N, C, H, W) that fits `shape`.
class ArraySource final : public InputSource {
 public:
  ArraySource(std::string name, NpyArray array, const MapShape& shape)
      : name_(std::move(name)), shape_(shape), array_(std::move(array)) {}
  [[nodiscard]] std::int64_t count() const override { return array_.shape[0]; }
  [[nodiscard]] std::string name(std::int64_t image) const override {
    return fmt::format("{} [{}]", name_, image);
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
  std::string name_;
  MapShape shape_;
  NpyArray array_;
};

std::unique_ptr<InputSource> npy_input(const std::filesystem::path& file, const MapShape& shape) {
  NpyArray array = read_npy(file);
  if (const std::string problem = shape_problem(array, shape, "save"); !problem.empty())
    throw FormatError(fmt::format("{}: {}", shown_path(file), problem));
  return std::make_unique<ArraySource>(file.string(), std::move(array), shape);
}

class MapSource final : public InputSource {
 public:
  explicit MapSource(const ConstMapView& maps) : maps_(maps) {}
  [[nodiscard]] std::int64_t count() const override { return maps_.images; }
  [[nodiscard]] std::string name(std::int64_t image) const override { return fmt::format("map {}", image); }
  void fill(Interval images, const MapView& out) override {
    for (std::int64_t image = images.begin; image < images.end; ++image) {
      throw_if_stopped();
      copy_map(subview(maps_, {image, image + 1}, maps_.rect),
               subview(out, {image - images.begin, image - images.begin + 1}, out.rect));
    }
  }

 private:
  ConstMapView maps_;
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
  [[nodiscard]] bool decodes() const override { return true; }
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

std::unique_ptr<InputSource> array_input(NpyArray array, const MapShape& shape) {
  std::string problem = shape_problem(array, shape, "pass");
  const auto wanted = static_cast<std::size_t>(problem.empty() ? array.shape[0] * shape.elements() : 0);
  if (problem.empty() && array.data.size() != wanted)
    problem = fmt::format("has {} elements, its shape has {}", array.data.size(), wanted);
  if (!problem.empty()) throw ShapeError("the array given as input: " + problem);
  return std::make_unique<ArraySource>("array", std::move(array), shape);
}

std::unique_ptr<InputSource> map_input(const ConstMapView& maps, const MapShape& shape) {
  if (maps.images < 1 || maps.channels != shape.channels || maps.whole != shape.extent ||
      maps.rect != Rect::whole(shape.extent) || maps.dtype == DType::u8) {
    throw ShapeError(fmt::format(
        "the maps given as input: {} {} map(s) of {} channels, {} of {}; the network takes whole maps of {} "
        "channels, {}, in f32, bf16 or f16",
        maps.images, to_string(maps.dtype), maps.channels, to_string(maps.rect.extent()),
        to_string(maps.whole), shape.channels, to_string(shape.extent)));
  }
  return std::make_unique<MapSource>(maps);
}

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
                     fmt::join(shape, ", "), channels_last_hint("save"));
}

std::unique_ptr<InputSource> open_input(const Experiment& experiment, const MapShape& shape) {
  const InputConfig& input = experiment.input;
  if (const auto* random = std::get_if<RandomInput>(&input.source)) {
    return std::make_unique<RandomSource>(random->seed, std::max<std::int64_t>(1, input.batch), shape);
  }
  if (const auto* npy = std::get_if<NpyInput>(&input.source)) return npy_input(npy->file, shape);
  if (const auto* images = std::get_if<ImageInput>(&input.source))
    return std::make_unique<ImageSource>(*images, experiment.preprocess, experiment.crops, shape);
  throw ConfigError("input: the experiment was made with an input of its own; give that to the session");
}

}  // namespace halotile
