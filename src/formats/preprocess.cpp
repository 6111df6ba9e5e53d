#include "formats/preprocess.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "patching/error.hpp"

namespace halotile {
namespace {

// --- Resampling. Source: Pillow's documented behaviour since 2.7 (convolution resampling) and its 8-bit
// fixed point; the order of every floating-point step below decides bits.

constexpr int kFractionBits = 32 - 8 - 2;  // 8 bits of result, 2 spare for the overshoot of negative weights
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

double filter_reach(Interpolation interpolation) {
  return interpolation == Interpolation::bilinear ? 1.0 : 2.0;
}

/// The filter at signed distance `x`, in units of the pixel distance (of the output's when shrinking).
double filter_value(Interpolation interpolation, double x) {
  x = std::abs(x);
  if (interpolation == Interpolation::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;  // Keys 1981
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

/// One output position of one axis: the input positions it reads and their weights.
struct Tap {
  std::int64_t begin;
  std::span<const std::int32_t> weights;  // with kFractionBits fractional bits
};

struct Taps {
  std::vector<std::int32_t> weights;
  std::vector<Tap> taps;
};

Taps make_taps(std::int64_t in_size, std::int64_t out_size, Interpolation interpolation) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double widening = std::max(scale, 1.0);
  const double reach = filter_reach(interpolation) * widening;
  const double narrowing = 1.0 / widening;
  const auto most = static_cast<std::size_t>(std::ceil(reach)) * 2 + 1;

  Taps result;
  result.weights.resize(most * static_cast<std::size_t>(out_size));
  result.taps.reserve(static_cast<std::size_t>(out_size));
  std::vector<double> exact(most);
  for (std::int64_t out = 0; out < out_size; ++out) {
    const double center = (static_cast<double>(out) + 0.5) * scale;
    const auto begin = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - reach + 0.5));
    const auto end = std::min(in_size, static_cast<std::int64_t>(center + reach + 0.5));
    const auto count = static_cast<std::size_t>(end - begin);
    double sum = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      exact[i] = filter_value(
          interpolation, (static_cast<double>(begin) + static_cast<double>(i) - center + 0.5) * narrowing);
      sum += exact[i];
    }
    const std::span<std::int32_t> weights =
        std::span(result.weights).subspan(static_cast<std::size_t>(out) * most, count);
    for (std::size_t i = 0; i < count; ++i) {
      const double weight = (sum != 0.0 ? exact[i] / sum : exact[i]) * (1 << kFractionBits);
      weights[i] = static_cast<std::int32_t>(weight < 0.0 ? weight - 0.5 : weight + 0.5);
    }
    result.taps.push_back({begin, weights});
  }
  return result;
}

std::uint8_t to_pixel(std::int32_t fixed) {
  return static_cast<std::uint8_t>(std::clamp(fixed >> kFractionBits, 0, 255));
}

Image resize_width(const Image& in, std::int64_t width, Interpolation interpolation) {
  const Taps taps = make_taps(in.width, width, interpolation);
  Image out{in.height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(in.height * width * 3))};
  std::uint8_t* pixel = out.rgb.data();
  for (std::int64_t row = 0; row < in.height; ++row) {
    const std::uint8_t* line = in.rgb.data() + row * in.width * 3;
    for (const Tap& tap : taps.taps) {
      const std::uint8_t* from = line + tap.begin * 3;
      std::int32_t red = kHalf;
      std::int32_t green = kHalf;
      std::int32_t blue = kHalf;
      for (const std::int32_t weight : tap.weights) {
        red += from[0] * weight;
        green += from[1] * weight;
        blue += from[2] * weight;
        from += 3;
      }
      *pixel++ = to_pixel(red);
      *pixel++ = to_pixel(green);
      *pixel++ = to_pixel(blue);
    }
  }
  return out;
}

Image resize_height(const Image& in, std::int64_t height, Interpolation interpolation) {
  const Taps taps = make_taps(in.height, height, interpolation);
  Image out{height, in.width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * in.width * 3))};
  const auto row_bytes = static_cast<std::size_t>(in.width * 3);
  std::vector<std::int32_t> sums(row_bytes);
  std::uint8_t* line = out.rgb.data();
  for (const Tap& tap : taps.taps) {
    std::ranges::fill(sums, kHalf);
    const std::uint8_t* from = in.rgb.data() + tap.begin * in.width * 3;
    for (const std::int32_t weight : tap.weights) {
      for (std::size_t i = 0; i < row_bytes; ++i) sums[i] += from[i] * weight;
      from += row_bytes;
    }
    std::ranges::transform(sums, line, to_pixel);
    line += row_bytes;
  }
  return out;
}

void check_size(Extent2 size, const char* what) {
  if (size.height <= 0 || size.width <= 0) {
    throw ShapeError(
        fmt::format("the {} size {} is empty; both sides must be at least 1", what, to_string(size)));
  }
  if (size.height > kMaxPixels / size.width) {
    throw ShapeError(fmt::format("the {} size {} exceeds the limit of {} (2^30) pixels; choose a smaller one",
                                 what, to_string(size), kMaxPixels));
  }
}

/// Pillow 13.0's choice, which makes the pass over the columns the faster one. Source: ImagingResampleInner
/// in its src/libImaging/Resample.c.
bool rows_go_first(Extent2 from, Extent2 to) {
  const std::int64_t rows_lost = from.height - to.height;
  return rows_lost > 0 && rows_lost > 2 * (from.width - to.width);
}

/// torchvision's int(round(excess / 2.0)) for excess >= 0: half to even.
std::int64_t half_to_even(std::int64_t excess) {
  const std::int64_t half = excess / 2;
  return excess % 2 == 1 && half % 2 == 1 ? half + 1 : half;
}

}  // namespace

Image resize(const Image& image, Extent2 size, Interpolation interpolation, ResizeOrder order) {
  check_size(size, "resize");
  if (image.extent() == size) return image;
  if (image.width == size.width) return resize_height(image, size.height, interpolation);
  if (image.height == size.height) return resize_width(image, size.width, interpolation);
  if (order == ResizeOrder::pillow13 && rows_go_first(image.extent(), size)) {
    check_size({size.height, image.width}, "intermediate resize");
    return resize_width(resize_height(image, size.height, interpolation), size.width, interpolation);
  }
  check_size({image.height, size.width}, "intermediate resize");
  return resize_height(resize_width(image, size.width, interpolation), size.height, interpolation);
}

Extent2 resized_extent(Extent2 image, std::int64_t shorter_side) {
  check_size(image, "image");
  const std::int64_t shorter = std::min(image.height, image.width);
  const std::int64_t longer = std::max(image.height, image.width);
  if (shorter == shorter_side) return image;
  check_size({shorter_side, longer}, "resize");  // keeps the product below exact in double
  const auto scaled =
      static_cast<std::int64_t>(static_cast<double>(shorter_side * longer) / static_cast<double>(shorter));
  const Extent2 size =
      image.width <= image.height ? Extent2{scaled, shorter_side} : Extent2{shorter_side, scaled};
  check_size(size, "resize");
  return size;
}

Image center_crop(const Image& image, Extent2 size) {
  check_size(size, "crop");
  // Where the crop is larger, its window starts before the image by the padding.
  const auto offset = [](std::int64_t have, std::int64_t want) {
    return have >= want ? half_to_even(have - want) : -((want - have) / 2);
  };
  const std::int64_t top = offset(image.height, size.height);
  const std::int64_t left = offset(image.width, size.width);
  const Rect window{{top, top + size.height}, {left, left + size.width}};
  const Rect inside = intersect(window, Rect::whole(image.extent()));
  Image out{size.height, size.width, std::vector<std::uint8_t>(static_cast<std::size_t>(size.area() * 3))};
  for (std::int64_t row = inside.rows.begin; row < inside.rows.end; ++row) {
    std::copy_n(image.rgb.data() + (row * image.width + inside.cols.begin) * 3, inside.cols.size() * 3,
                out.rgb.data() + ((row - top) * size.width + inside.cols.begin - left) * 3);
  }
  return out;
}

Image cut(const Image& image, Rect window) {
  const Extent2 size = window.extent();
  if (window.empty() || !Rect::whole(image.extent()).contains(window)) {
    throw ShapeError(
        fmt::format("a crop of {} does not lie in the image of {}; resize it larger, or crop less",
                    to_string(size), to_string(image.extent())));
  }
  Image out{size.height, size.width, std::vector<std::uint8_t>(static_cast<std::size_t>(size.area() * 3))};
  for (std::int64_t row = 0; row < size.height; ++row) {
    std::copy_n(image.rgb.data() + ((window.rows.begin + row) * image.width + window.cols.begin) * 3,
                size.width * 3, out.rgb.data() + row * size.width * 3);
  }
  return out;
}

Image mirrored(const Image& image) {
  Image out{image.height, image.width, std::vector<std::uint8_t>(image.rgb.size())};
  for (std::int64_t row = 0; row < image.height; ++row) {
    const std::uint8_t* from = image.rgb.data() + row * image.width * 3;
    std::uint8_t* to = out.rgb.data() + (row + 1) * image.width * 3;
    for (std::int64_t col = 0; col < image.width; ++col, from += 3) to = std::copy_n(from, 3, to - 3) - 3;
  }
  return out;
}

std::vector<Image> ten_crops(const Image& image, Extent2 size) {
  std::vector<Image> crops;
  const auto add_five = [&](const Image& of) {
    for (const std::int64_t top : {std::int64_t{0}, of.height - size.height}) {
      for (const std::int64_t left : {std::int64_t{0}, of.width - size.width})
        crops.push_back(cut(of, {{top, top + size.height}, {left, left + size.width}}));
    }
    crops.push_back(center_crop(of, size));
  };
  add_five(image);
  add_five(mirrored(image));
  return crops;
}

Extent2 preprocessed_extent(Extent2 image, const Preprocess& preprocess) {
  if (preprocess.crop != Extent2{}) return preprocess.crop;
  return preprocess.resize == 0 ? image : resized_extent(image, preprocess.resize);
}

Image resize_and_crop(const Image& image, const Preprocess& preprocess) {
  Image result = preprocess.resize == 0 ? image
                                        : resize(image, resized_extent(image.extent(), preprocess.resize),
                                                 preprocess.interpolation, preprocess.resize_order);
  if (preprocess.crop != Extent2{}) result = center_crop(result, preprocess.crop);
  return result;
}

void normalize(const Image& image, const Preprocess& preprocess, const MapView& out) {
  if (out.dtype != DType::f32 || out.images != 1 || out.channels != 3 ||
      out.rect.extent() != image.extent()) {
    throw ShapeError(fmt::format(
        "an image of {} pixels must go to one f32 map of 3 channels and that extent, not to {} maps of "
        "{} channels and {} in {}",
        to_string(image.extent()), out.images, out.channels, to_string(out.rect.extent()),
        to_string(out.dtype)));
  }
  // 256 possible inputs: as exact as computing each pixel, and the divisions are gone.
  std::array<std::array<float, 3>, 256> table;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (preprocess.stddev[channel] == 0.0f) {
      throw ShapeError("a standard deviation of 0 cannot normalize an image; use 1 to leave the scale");
    }
    for (std::size_t value = 0; value < table.size(); ++value) {
      const float unit = static_cast<float>(value) / 255.0f;
      table[value][channel] = (unit - preprocess.mean[channel]) / preprocess.stddev[channel];
    }
  }
  const std::uint8_t* rgb = image.rgb.data();
  for (std::int64_t row = out.rect.rows.begin; row < out.rect.rows.end; ++row) {
    float* pixel = out.at<float>(0, row, out.rect.cols.begin);
    for (std::int64_t col = 0; col < image.width; ++col, rgb += 3, pixel += out.col_stride) {
      pixel[0] = table[rgb[0]][0];
      pixel[1] = table[rgb[1]][1];
      pixel[2] = table[rgb[2]][2];
    }
  }
}

}  // namespace halotile
