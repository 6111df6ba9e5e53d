// Where a batch comes from: photographs, an array file, seeded random values, or memory.
#pragma once

#include <memory>
#include <string>

#include "formats/npy.hpp"
#include "kernels/maps/map.hpp"
#include "pipeline/experiment/config.hpp"

namespace halotile {

/// A sequence of images of one shape.
class InputSource {
 public:
  virtual ~InputSource() = default;
  /// Images there are, each of its views counted.
  [[nodiscard]] virtual std::int64_t count() const = 0;
  /// Maps made of each photograph, which follow each other: 10 with `crops: ten`, otherwise 1.
  [[nodiscard]] virtual std::int64_t views() const { return 1; }
  /// True where fill() takes long, or may fail for one image and not for others: runs then call it ahead of
  /// time, on other threads.
  [[nodiscard]] virtual bool decodes() const { return false; }
  /// What an error or a report calls an image: a file's path, or "random image 3".
  [[nodiscard]] virtual std::string name(std::int64_t image) const = 0;
  /// Writes images [images.begin, images.end) to the whole maps of `out` in host memory, f32, bf16 or f16;
  /// photographs also to dense u8 maps, as pixels before normalization. Several threads may call it at once.
  /// Throws FormatError for an image that cannot be read.
  virtual void fill(Interval images, const MapView& out) = 0;
};

/// The images of an array (N, C, H, W) for a network that takes `shape`. Throws ShapeError when the two do
/// not fit.
[[nodiscard]] std::unique_ptr<InputSource> array_input(NpyArray array, const MapShape& shape);
/// The images of maps (NHWC; f32, bf16 or f16) in host memory, which must stay there as long as they are
/// used. Throws ShapeError when they are not whole maps of `shape`.
[[nodiscard]] std::unique_ptr<InputSource> map_input(const ConstMapView& maps, const MapShape& shape);

/// Height and width that the source dictates to the network: an array's own, or the config's; otherwise
/// nothing.
[[nodiscard]] std::optional<Extent2> input_extent(const InputConfig& input);

/// What to add when a network cannot take the extent that an array dictates to it; empty when the array's
/// shape looks right.
[[nodiscard]] std::string layout_hint(const InputConfig& input);

/// Opens the experiment's input for a network that takes `shape`. Throws ConfigError or FormatError when the
/// two do not fit, ConfigError when the experiment names no input.
[[nodiscard]] std::unique_ptr<InputSource> open_input(const Experiment& experiment, const MapShape& shape);

}  // namespace halotile
