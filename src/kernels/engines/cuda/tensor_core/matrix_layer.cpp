#include "kernels/engines/cuda/tensor_core/matrix_layer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/engines/rounding.hpp"

namespace halotile::tensor_core {
namespace {

// What the copy engine takes: offsets of taps and corners of the window's positions in a byte each.
constexpr std::int64_t most_reach = 127;
constexpr std::int64_t most_stride = 8;
// Fewer channels a position than this are packed by the stride.
constexpr std::int64_t few_channels = 16;

// f32 with the mantissa of tf32, to nearest even. NaN gets its highest bit: products drop the lower ones.
std::uint32_t to_tf32(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  if ((u & 0x7fffffffU) >= 0x7f800000U) return std::isnan(value) ? u | 0x400000U : u;
  return (u + 0xfffU + ((u >> 13) & 1U)) & ~0x1fffU;
}

// To nearest even, but a finite value stays one: for those that a second value completes.
std::uint32_t to_finite_tf32(float value) {
  const std::uint32_t nearest = to_tf32(value);
  const bool overflows = (nearest & 0x7fffffffU) == 0x7f800000U && std::isfinite(value);
  return overflows ? nearest - 0x2000U : nearest;
}

template <typename Bits>
void store_bits(std::byte* to, Bits bits) {
  std::memcpy(to, &bits, sizeof(bits));
}

void store(std::byte* to, Element element, float value) {
  if (size_of(element) == 4) {
    store_bits(to, to_tf32(value));
  } else {
    store_bits(to, element == Element::bf16 ? Bfloat16(value).bits : Float16(value).bits);
  }
}

// Stores weights where filters have them.
class FilterWriter {
 public:
  FilterWriter(const MatrixLayer& m, std::vector<std::byte>& filters)
      : m_(m), places_(m.filter_places()), filters_(filters) {
    filters.resize(
        static_cast<std::size_t>(m.filter_bytes() * (m.split() ? 2 : 1) + std::int64_t{256} * 128));
  }

  // Output channel o of all, input channel c of its group.
  void store(std::int64_t o, std::int64_t c, std::int64_t y, std::int64_t x, float weight) {
    std::byte* const to = filters_.data() + places_.at(o / m_.out, o % m_.out, c, y, x);
    if (!m_.split()) return tensor_core::store(to, m_.element, weight);
    const std::uint32_t high = to_finite_tf32(weight);
    store_bits(to, high);
    const float low = std::isfinite(weight) ? weight - std::bit_cast<float>(high) : 0.0F;
    store_bits(to + m_.filter_bytes(), to_tf32(low));
  }

 private:
  const MatrixLayer& m_;
  FilterPlaces places_;
  std::vector<std::byte>& filters_;
};

}  // namespace

std::optional<MatrixLayer> matrix_layer(const Conv2d& layer, Element element) {
  const Window& w = layer.window;
  MatrixLayer m;
  m.element = element;
  m.groups = layer.groups;
  m.in = layer.in_channels / layer.groups;
  m.out = layer.out_channels / layer.groups;
  m.relu = layer.relu;
  m.kernel = w.kernel;
  m.stride = w.stride;
  m.dilation = w.dilation;
  m.window = w;
  m.channels = m.in;
  const std::int64_t unit = 16 / size_of(element);
  // Groups of few channels would mostly multiply zeros.
  if (m.groups > 1 && (m.in < unit || m.out < unit)) return std::nullopt;
  const bool few = m.in < few_channels && w.dilation == Extent2{1, 1} && w.kernel.area() > 1;
  // One group's rest reads zeros behind the last channel; several groups' would read the next group's.
  if (m.split() || few || m.in % (m.groups > 1 ? 2 * unit : unit) != 0) {
    m.packed = true;
    if (few) {
      m.block = w.stride == Extent2{1, 1} ? w.kernel : w.stride;
      m.kernel = {divide_up(w.kernel.height, m.block.height), divide_up(w.kernel.width, m.block.width)};
      m.step = w.stride;
      m.apart = Extent2{m.kernel.height * m.block.height, m.kernel.width * m.block.width} != w.kernel;
      m.stride = {1, 1};
    }
    m.position_channels = divide_up(m.block.area() * m.in, 2 * unit) * 2 * unit;
    m.in = m.position_channels;
    if (few && m.groups == 1) {
      m.in *= m.kernel.width;
      m.kernel.width = 1;
    }
  }
  m.apart = m.apart || m.split();
  const auto fits = [](std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
    return (kernel - 1) * dilation <= most_reach && stride <= most_stride;
  };
  if (!fits(m.kernel.height, m.stride.height, m.dilation.height) ||
      !fits(m.kernel.width, m.stride.width, m.dilation.width) ||
      (!m.packed && (w.padding.begin.height > most_reach || w.padding.begin.width > most_reach))) {
    return std::nullopt;
  }
  return m;
}

MatrixLayer matrix_layer(const FullyConnected& layer, Element element) {
  MatrixLayer m;
  m.element = element;
  m.in = layer.in_features;
  m.channels = m.in;
  m.out = layer.out_features;
  m.relu = layer.relu;
  m.apart = m.split();
  const std::int64_t unit = 16 / size_of(element);
  if (m.split() || m.in % unit != 0) {
    m.packed = true;
    m.position_channels = m.in = divide_up(m.in, 2 * unit) * 2 * unit;
  }
  // About 256 pieces of 128 output features, for one image to keep all multiprocessors reading weights.
  constexpr std::int64_t pieces = 256;
  constexpr std::int64_t least_stages = 4;
  const std::int64_t blocks = divide_up(m.out, 128);
  m.segments =
      std::clamp<std::int64_t>(pieces / blocks, 1, std::max<std::int64_t>(m.stages() / least_stages, 1));
  return m;
}

std::vector<std::byte> matrix_filters(const Conv2d& layer, const MatrixLayer& m) {
  std::vector<std::byte> filters;
  FilterWriter writer(m, filters);
  const Extent2 k = layer.window.kernel;
  const float* weight = layer.weight.data();
  for (std::int64_t o = 0; o < layer.out_channels; ++o) {
    for (std::int64_t c = 0; c < m.channels; ++c) {
      for (std::int64_t y = 0; y < k.height; ++y) {
        for (std::int64_t x = 0; x < k.width; ++x, ++weight) writer.store(o, c, y, x, *weight);
      }
    }
  }
  return filters;
}

std::vector<std::byte> matrix_filters(const FullyConnected& layer, const MatrixLayer& m) {
  std::vector<std::byte> filters;
  FilterWriter writer(m, filters);
  const float* weight = layer.weight.data();
  for (std::int64_t o = 0; o < layer.out_features; ++o) {
    for (std::int64_t c = 0; c < layer.in_features; ++c, ++weight) writer.store(o, c, 0, 0, *weight);
  }
  return filters;
}

UnpackedInput unpacked_input(const Window& window, const ConstMapView& in, const Rect& out) {
  const Rect readable = intersect(in.rect, Rect::whole(in.whole));
  UnpackedInput u;
  u.data = in.data;
  u.type = in.dtype;
  u.image_stride = in.image_stride;
  u.row_stride = in.row_stride;
  u.col_stride = in.col_stride;
  u.first_row = out.rows.begin * window.stride.height - window.padding.begin.height - in.rect.rows.begin;
  u.first_col = out.cols.begin * window.stride.width - window.padding.begin.width - in.rect.cols.begin;
  u.row_begin = readable.rows.begin - in.rect.rows.begin;
  u.row_end = readable.rows.end - in.rect.rows.begin;
  u.col_begin = readable.cols.begin - in.rect.cols.begin;
  u.col_end = readable.cols.end - in.rect.cols.begin;
  return u;
}

MatrixCall matrix_call(const MatrixLayer& layer, const Window& window, const ConstMapView& in,
                       const MapView& out, const void* packed) {
  MatrixCall call;
  call.images = out.images;
  call.output = out.data;
  call.output_type = out.dtype;
  call.outputs = out.rect.extent();
  call.output_image_stride = out.image_stride;
  call.output_row_stride = out.row_stride;
  call.output_col_stride = out.col_stride;
  if (call.positions() == 0) return call;
  if (layer.packed) {
    call.unpacked = unpacked_input(window, in, out.rect);
    const Extent2 extent = layer.packed_extent(call.outputs);
    call.input = packed;
    call.rows = extent.height;
    // Blocks that count as one tap overlap: the last begins this much earlier.
    call.cols = extent.width - layer.tap_positions() + 1;
    call.col_stride = layer.groups * layer.position_channels;
    call.row_stride = extent.width * call.col_stride;
    call.image_stride = extent.height * call.row_stride;
    return call;
  }
  const Interval rows = reach(window.rows(), in.whole.height, out.rect.rows);
  const Interval cols = reach(window.cols(), in.whole.width, out.rect.cols);
  const Rect read = intersect(intersect(in.rect, Rect::whole(in.whole)), Rect{rows, cols});
  call.rows = read.rows.size();
  call.cols = read.cols.size();
  if (call.rows == 0 || call.cols == 0) return call;
  call.input = static_cast<const std::byte*>(in.data) +
               in.offset(0, read.rows.begin, read.cols.begin) * halotile::size_of(in.dtype);
  call.image_stride = in.image_stride;
  call.row_stride = in.row_stride;
  call.col_stride = in.col_stride;
  call.first_row = rows.begin - read.rows.begin;
  call.first_col = cols.begin - read.cols.begin;
  return call;
}

}  // namespace halotile::tensor_core
