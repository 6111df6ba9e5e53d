// Which variants of the direct convolution can compute a layer, what they cost, and the filters' layouts.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/direct/conv2d.hpp"
#include "kernels/engines/exact_sums.hpp"
#include "kernels/engines/rounding.hpp"

namespace halotile::direct {
namespace {

constexpr std::int64_t round_up_4(std::int64_t a) { return round_up(a, 4); }

std::int64_t group_channels(const Conv2d& layer) { return layer.in_channels / layer.groups; }

// A kernel row's kx and c can be one run of k: worth it where padding the channels to a multiple of 4 would
// add work, and possible where columns follow each other and every pixel's run stays aligned.
bool can_merge(const Conv2d& layer, const MapGeometry& in) {
  const std::int64_t channels = group_channels(layer);
  return channels % 4 != 0 && layer.groups == 1 && layer.window.dilation.width == 1 &&
         in.col_stride == channels && layer.window.stride.width * channels % 4 == 0;
}

// Values of k of a group that are computed.
std::int64_t k_values(const Conv2d& layer, bool merged) {
  const std::int64_t channels = group_channels(layer);
  return layer.window.kernel.area() * (merged ? channels : round_up_4(channels));
}

// Slices of filters that a block goes through.
std::int64_t slices(const Conv2d& layer, const Conv2dVariant& variant) {
  constexpr std::int64_t slice = 16;
  const Extent2 kernel = layer.window.kernel;
  const std::int64_t channels = group_channels(layer);
  if (variant.kernel != Conv2dKernel::patch) return kernel.area() * divide_up(channels, slice);
  return divide_up(variant.merged ? kernel.height * round_up_4(kernel.width * channels)
                                  : kernel.area() * round_up_4(channels),
                   slice);
}

// The rectangle of at most `pixels` outputs that cuts the map into the fewest blocks and, among those, reads
// the smallest patch; empty when not even one output's patch fits in `bytes`.
Extent2 choose_rectangle(const Conv2d& layer, Extent2 map, int pixels, std::size_t bytes, bool merged) {
  Extent2 best;
  std::int64_t best_blocks = 0;
  std::int64_t best_floats = 0;
  for (std::int64_t rows = 1; rows <= std::min<std::int64_t>(pixels, map.height); ++rows) {
    const std::int64_t cols = std::min(pixels / rows, map.width);
    // As even as the number of blocks allows.
    const std::int64_t down = divide_up(map.height, rows);
    const std::int64_t across = divide_up(map.width, cols);
    const Extent2 outputs{divide_up(map.height, down), divide_up(map.width, across)};
    const PatchLayout patch = patch_layout(layer, outputs, merged);
    const std::int64_t floats = patch.input.height * patch.row_pitch;
    if (static_cast<std::size_t>(floats) > bytes / sizeof(float)) continue;
    if (best_blocks == 0 || down * across < best_blocks ||
        (down * across == best_blocks && floats < best_floats)) {
      best = outputs;
      best_blocks = down * across;
      best_floats = floats;
    }
  }
  return best;
}

struct Limits {
  int multiprocessors = 0;
  int shared_per_block = 0;
};

Limits device_limits() {
  return {current_device_attribute<cudaDevAttrMultiProcessorCount>(),
          current_device_attribute<cudaDevAttrMaxSharedMemoryPerBlockOptin>()};
}

// What the register tiles of conv2d_tiles() were measured to sustain on an H200, in 128 fused multiply-adds a
// nanosecond: a whole multiprocessor, and one warp on its own. Other GPUs differ in scale more than in order.
struct Rate {
  double multiprocessor;
  double warp;
};
constexpr std::array<Rate, 5> rates{{{1.20, 0.27}, {1.20, 0.25}, {1.06, 0.184}, {0.85, 0.13}, {0.65, 0.105}}};

// Nanoseconds. A warp runs at its own rate until its scheduler (one of four) is full; blocks come in waves of
// as many as fit on a multiprocessor.
double estimate(const Conv2dVariant& variant, const TileShape& tile, std::int64_t k, std::int64_t slices,
                int multiprocessors) {
  Rate rate = rates.at(static_cast<std::size_t>(variant.tile));
  if (variant.kernel == Conv2dKernel::patch) {
    rate.multiprocessor *= 0.95;
    rate.warp *= 0.8;
  } else if (variant.kernel == Conv2dKernel::filter) {
    rate.multiprocessor *= 0.62;
    rate.warp *= 0.6;
  } else if (tile.channels == 96) {
    rate.multiprocessor *= 0.8;  // registers leave room for two blocks
  }
  // Staging and the barrier cost a slice as much as 2.4 of its 16 values of k.
  const double values = (static_cast<double>(k) + 2.4 * static_cast<double>(slices)) / 1.15;
  const double warps = tile.threads / 32;
  const double warp_work = values * tile.pixels * tile.channels / 128 / warps;
  const auto wave = [&](double blocks) {
    const double warps_per_scheduler = std::max(1.0, std::ceil(blocks * warps / 4));
    return warp_work / std::min(rate.warp, rate.multiprocessor / 4 / warps_per_scheduler);
  };
  const double share = static_cast<double>(variant.blocks) / multiprocessors;
  const double waves = std::floor(share / variant.resident);
  const double rest = std::ceil(share - waves * variant.resident);
  return waves * wave(variant.resident) + (rest > 0 ? wave(rest) : 0);
}

}  // namespace

void check_conv2d(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out) {
  if (in.images != out.images || in.channels != layer.in_channels || out.channels != layer.out_channels) {
    throw ShapeError("conv2d: the maps (" + std::to_string(in.images) + " images of " +
                     std::to_string(in.channels) + " channels to " + std::to_string(out.images) + " of " +
                     std::to_string(out.channels) + ") do not fit the layer (" +
                     std::to_string(layer.in_channels) + " to " + std::to_string(layer.out_channels) +
                     " channels)");
  }
  if (in.dtype != DType::f32 || out.dtype != DType::f32) {
    throw UnsupportedError("conv2d: the direct engine computes f32 maps only");
  }
}

std::string to_string(const Conv2dVariant& variant) {
  const TileShape tile = conv2d_tiles()[static_cast<std::size_t>(variant.tile)];
  std::string text = variant.kernel == Conv2dKernel::patch   ? "patch "
                     : variant.kernel == Conv2dKernel::slice ? "slice "
                                                             : "filter ";
  text +=
      std::to_string(tile.pixels) + "x" + std::to_string(tile.channels) + "/" + std::to_string(tile.threads);
  if (variant.kernel == Conv2dKernel::patch) text += " (" + to_string(variant.outputs) + ")";
  return text;
}

PatchLayout patch_layout(const Conv2d& layer, Extent2 outputs, bool merged) {
  const Window& window = layer.window;
  const auto reach = [](std::int64_t n, std::int64_t stride, std::int64_t kernel, std::int64_t dilation) {
    return (n - 1) * stride + (kernel - 1) * dilation + 1;
  };
  PatchLayout patch;
  patch.input = {reach(outputs.height, window.stride.height, window.kernel.height, window.dilation.height),
                 reach(outputs.width, window.stride.width, window.kernel.width, window.dilation.width)};
  const std::int64_t channels = group_channels(layer);
  if (merged) {
    patch.col_pitch = channels;
    patch.row_pitch = round_up_4(patch.input.width * channels);
  } else {
    // An odd number of 16-byte words, so that neighbouring pixels lie in different banks.
    const std::int64_t words = divide_up(channels, 4);
    patch.col_pitch = 4 * (words % 2 == 0 ? words + 1 : words);
    patch.row_pitch = patch.input.width * patch.col_pitch;
  }
  return patch;
}

std::vector<Conv2dVariant> conv2d_variants(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out,
                                           DirectStage stage) {
  check_conv2d(layer, in, out);
  const Limits limits = device_limits();
  const auto shared_limit = static_cast<std::size_t>(limits.shared_per_block);
  const Extent2 map = out.rect.extent();
  const std::int64_t positions = checked_multiply(out.rect.area(), out.images, "the number of positions");
  std::vector<Conv2dVariant> variants;
  for (const Conv2dKernel kernel : {Conv2dKernel::patch, Conv2dKernel::slice, Conv2dKernel::filter}) {
    if (stage == DirectStage::input && kernel == Conv2dKernel::filter) continue;
    if (stage == DirectStage::filter && kernel != Conv2dKernel::filter) continue;
    for (std::size_t index = 0; index < conv2d_tiles().size(); ++index) {
      const TileShape tile = conv2d_tiles()[index];
      Conv2dVariant variant;
      variant.kernel = kernel;
      variant.tile = static_cast<int>(index);
      variant.shared_bytes = tile.shared_bytes;
      std::int64_t pixel_tiles = divide_up(positions, tile.pixels);
      if (kernel == Conv2dKernel::slice) variant.shared_bytes += tile.slice_bytes;
      if (kernel == Conv2dKernel::patch) {
        if (positions == 0 || tile.shared_bytes > shared_limit) continue;
        variant.merged = can_merge(layer, in);
        variant.outputs =
            choose_rectangle(layer, map, tile.pixels, shared_limit - tile.shared_bytes, variant.merged);
        if (variant.outputs.height == 0) continue;
        const PatchLayout patch = patch_layout(layer, variant.outputs, variant.merged);
        variant.shared_bytes +=
            sizeof(float) * static_cast<std::size_t>(patch.input.height * patch.row_pitch);
        pixel_tiles = out.images * divide_up(map.height, variant.outputs.height) *
                      divide_up(map.width, variant.outputs.width);
      }
      variant.resident = conv2d_resident_blocks(kernel, variant.tile, variant.shared_bytes);
      if (variant.resident == 0) continue;
      variant.blocks =
          pixel_tiles * layer.groups * divide_up(layer.out_channels / layer.groups, tile.channels);
      variant.cost = estimate(variant, tile, k_values(layer, variant.merged), slices(layer, variant),
                              limits.multiprocessors);
      variants.push_back(variant);
    }
  }
  std::stable_sort(variants.begin(), variants.end(),
                   [](const Conv2dVariant& a, const Conv2dVariant& b) { return a.cost < b.cost; });
  return variants;
}

std::vector<float> conv2d_filters(const Conv2d& layer, bool merged) {
  const std::vector<float> ordered = reference::conv2d_weight_order(layer);  // (o, ky, kx, c)
  const std::int64_t channels = group_channels(layer);
  const std::int64_t outputs = layer.out_channels / layer.groups;
  const std::int64_t run = channels * (merged ? layer.window.kernel.width : 1);
  const std::int64_t runs = layer.window.kernel.area() * channels / run;
  const std::int64_t padded = round_up_4(run);
  const std::int64_t pitch = round_up_4(outputs);
  // Slices are fetched whole: up to 15 rows behind the last may be read.
  constexpr std::int64_t rows_behind = 16;
  std::vector<float> filters(static_cast<std::size_t>((layer.groups * runs * padded + rows_behind) * pitch),
                             -0.0F);
  for (std::int64_t o = 0; o < layer.out_channels; ++o) {
    const float* from = ordered.data() + o * runs * run;
    float* to = filters.data() + o / outputs * runs * padded * pitch + o % outputs;
    for (std::int64_t r = 0; r < runs; ++r) {
      for (std::int64_t k = 0; k < run; ++k) to[(r * padded + k) * pitch] = from[r * run + k];
    }
  }
  return filters;
}

}  // namespace halotile::direct
