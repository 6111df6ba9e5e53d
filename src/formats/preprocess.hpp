// From a photograph to a network's input, bit for bit as torchvision's transforms do it on Pillow images:
//   Resize(resize) -> CenterCrop(crop) -> ToTensor() -> Normalize(mean, stddev)
// Pretrained weights expect exactly this; a resize that differs in the last bit moves the logits.
#pragma once

#include <array>
#include <cstdint>

#include "formats/image.hpp"
#include "kernels/maps/map.hpp"
#include "patching/geometry.hpp"

namespace halotile {

enum class Interpolation : std::uint8_t { bilinear, bicubic };

/// Which Pillow's resize: they round to 8 bits between the passes, and 13.0 changed the passes' order for
/// some sizes. Of tall photographs 5 to 22% of the values differ, nearly all by one level, of noise
/// bicubically some by ten.
enum class ResizeOrder : std::uint8_t {
  pillow13,  ///< rows go first where their number shrinks, by more than twice what the columns lose
  pillow12,  ///< and all before it: columns go first
};

/// What to do with an image. The defaults are torchvision's for ImageNet classifiers, without resize and
/// crop.
struct Preprocess {
  std::int64_t resize = 0;  ///< pixels of the shorter side; 0: leave the size
  Extent2 crop;             ///< cut from the centre; {0, 0}: leave all
  Interpolation interpolation = Interpolation::bilinear;
  ResizeOrder resize_order = ResizeOrder::pillow13;
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};    ///< red, green, blue; on the scale [0, 1]
  std::array<float, 3> stddev{0.229f, 0.224f, 0.225f};  ///< red, green, blue; not 0
};

/// Pillow's Image.resize to exactly `size`: antialiased (the filter widens when shrinking), one pass for each
/// axis, weights in fixed point with 22 fractional bits, rounded to 8 bits after each pass; a pass that would
/// not change the size is left out. Throws ShapeError when `size`, or what stands between the passes, is
/// empty or exceeds kMaxPixels.
[[nodiscard]] Image resize(const Image& image, Extent2 size, Interpolation interpolation,
                           ResizeOrder order = ResizeOrder::pillow13);

/// torchvision's Resize(int): the shorter side becomes `shorter_side`, the longer one keeps the aspect ratio,
/// rounded down. Throws ShapeError as above.
[[nodiscard]] Extent2 resized_extent(Extent2 image, std::int64_t shorter_side);

/// torchvision's CenterCrop: offsets rounded half to even; where the image is smaller than `size` it is first
/// padded with black, the odd pixel at the bottom and right. Throws ShapeError when `size` is empty or
/// exceeds kMaxPixels.
[[nodiscard]] Image center_crop(const Image& image, Extent2 size);

/// The part of an image in `window`. Throws ShapeError when the window is empty or not inside the image.
[[nodiscard]] Image cut(const Image& image, Rect window);

/// The image with left and right exchanged.
[[nodiscard]] Image mirrored(const Image& image);

/// torchvision's TenCrop, the evaluation of Krizhevsky et al. 2012: the corners (top left, top right, bottom
/// left, bottom right) and the centre, then the same of the mirrored image. Throws ShapeError when the image
/// is smaller.
[[nodiscard]] std::vector<Image> ten_crops(const Image& image, Extent2 size);

/// The extent that resize_and_crop gives an image of extent `image`.
[[nodiscard]] Extent2 preprocessed_extent(Extent2 image, const Preprocess& preprocess);

/// The steps on 8-bit pixels: resize, then crop, each if asked for.
[[nodiscard]] Image resize_and_crop(const Image& image, const Preprocess& preprocess);

/// Writes (x / 255 - mean) / stddev, each step rounded to float. `out` is one image of 3 channels (NHWC, f32)
/// whose rectangle has the image's extent. Throws ShapeError when it has not, or when a deviation is 0.
void normalize(const Image& image, const Preprocess& preprocess, const MapView& out);

}  // namespace halotile
