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

void store(std::byte* to, Element element, float value) {
  if (size_of(element) == 4) {
    const std::uint32_t bits = to_tf32(value);
    std::memcpy(to, &bits, sizeof(bits));
  } else {
    const std::uint16_t bits = element == Element::bf16 ? Bfloat16(value).bits : Float16(value).bits;
    std::memcpy(to, &bits, sizeof(bits));
  }
}

// Where the filters' elements lie.
class FilterPlaces {
 public:
  FilterPlaces(const MatrixLayer& m, std::vector<std::byte>& filters)
      : m_(m), tap_bytes_(m.filter_rows() * m.in_bytes()), filters_(filters) {
    filters.resize(
        static_cast<std::size_t>(m.filter_bytes() * (m.split() ? 2 : 1) + std::int64_t{256} * 128));
  }

  // The weight of channel `in` of the group for output channel `out`.
  void store(std::int64_t group, std::int64_t tap, std::int64_t out, std::int64_t in, float weight) {
    std::byte* const to = filters_.data() + at(group, tap, out, in);
    tensor_core::store(to, m_.element, weight);
    if (!m_.split()) return;
    float high = 0;
    std::memcpy(&high, to, sizeof(high));
    tensor_core::store(to + m_.filter_bytes(), m_.element, weight - high);
  }

 private:
  [[nodiscard]] std::int64_t at(std::int64_t group, std::int64_t tap, std::int64_t out,
                                std::int64_t in) const {
    const std::int64_t base = (group * m_.kernel.area() + tap) * tap_bytes_;
    const std::int64_t byte = in * size_of(m_.element);
    const std::int64_t chunk = byte / 128;
    std::int64_t begin = base + chunk * m_.filter_rows() * 128;
    if (chunk < m_.whole_chunks()) return begin + place(out, byte % 128, 128);
    const std::int64_t in_rest = byte % 128;
    if (m_.rest_bytes() < 64) return begin + place(out, in_rest, 32);
    if (in_rest < 64) return begin + place(out, in_rest, 64);
    begin += m_.filter_rows() * 64;
    return begin + place(out, in_rest - 64, 32);
  }

  static std::int64_t place(std::int64_t row, std::int64_t byte, std::int64_t pitch) {
    const std::int64_t exchange = pitch == 128 ? row % 8 : pitch == 64 ? row / 2 % 4 : row / 4 % 2;
    return row * pitch + ((byte / 16) ^ exchange) * 16 + byte % 16;
  }

  MatrixLayer m_;
  std::int64_t tap_bytes_;
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
      m.stride = {1, 1};
    }
    m.position_channels = divide_up(m.block.area() * m.in, 2 * unit) * 2 * unit;
    m.in = m.position_channels;
    if (few && m.groups == 1) {
      m.in *= m.kernel.width;
      m.kernel.width = 1;
    }
  }
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
  m.out = layer.out_features;
  m.relu = layer.relu;
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
  FilterPlaces places(m, filters);
  const Extent2 k = layer.window.kernel;
  const std::int64_t channels = layer.in_channels / layer.groups;
  const float* weight = layer.weight.data();
  for (std::int64_t o = 0; o < layer.out_channels; ++o) {
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t y = 0; y < k.height; ++y) {
        for (std::int64_t x = 0; x < k.width; ++x, ++weight) {
          const std::int64_t block_col = x / m.block.width;
          const std::int64_t tap = y / m.block.height * m.kernel.width + (m.kernel.width > 1 ? block_col : 0);
          const std::int64_t inside = y % m.block.height * m.block.width + x % m.block.width;
          const std::int64_t beside = m.kernel.width > 1 ? 0 : block_col * m.position_channels;
          places.store(o / m.out, tap, o % m.out, beside + inside * channels + c, *weight);
        }
      }
    }
  }
  return filters;
}

std::vector<std::byte> matrix_filters(const FullyConnected& layer, const MatrixLayer& m) {
  std::vector<std::byte> filters;
  FilterPlaces places(m, filters);
  const float* weight = layer.weight.data();
  for (std::int64_t o = 0; o < layer.out_features; ++o) {
    for (std::int64_t c = 0; c < layer.in_features; ++c, ++weight) {
      places.store(0, 0, o, c, *weight);
    }
  }
  return filters;
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
