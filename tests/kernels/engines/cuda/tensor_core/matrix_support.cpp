#include "kernels/engines/cuda/tensor_core/matrix_support.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace halotile::testing {
namespace {

using tensor_core::Element;

constexpr std::int64_t guard = 64;  // elements in front of and behind a map

float to_tf32(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((u + 0xfffU + (u >> 13 & 1U)) & ~0x1fffU);
}

float rounded(Element element, float value) {
  switch (element) {
    case Element::bf16:
      return float(Bfloat16(value));
    case Element::f16:
      return float(Float16(value));
    case Element::f32:
      return value;
    case Element::tf32:
      break;
  }
  return to_tf32(value);
}

float rounded(DType type, float value) {
  return with_element_type(type, [&]<typename T>(T) { return float(T(value)); });
}

double unit_roundoff(DType type) {
  return type == DType::f32 ? 0x1p-24 : type == DType::bf16 ? 0x1p-8 : 0x1p-11;
}

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

// Elements that `good(found, index)` refuses: how many, and the first.
template <typename Good, typename Describe>
::testing::AssertionResult check(const TypedMap& map, Interval elements, Good good, Describe describe) {
  const std::vector<float> found = map.read();
  std::int64_t wrong = 0;
  std::int64_t first = 0;
  for (std::int64_t n = elements.begin; n < elements.end; ++n) {
    if (good(found[static_cast<std::size_t>(n)], n)) continue;
    if (wrong++ == 0) first = n;
  }
  if (wrong == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << wrong << " of " << elements.size() << " elements are wrong, first at "
         << map.where(static_cast<std::size_t>(first)) << ": " << found[static_cast<std::size_t>(first)]
         << " instead of " << describe(first);
}

Interval all_elements(const TypedMap& map) { return {0, map.geometry().elements()}; }

// The expected sum of element n, or null where it is not checked.
const Sum* expected_of(const TypedMap& map, const std::vector<Sum>& expected, std::int64_t every,
                       std::int64_t n) {
  const std::int64_t channels = map.geometry().channels;
  const std::int64_t checked = (channels + every - 1) / every;
  const std::int64_t channel = n % channels;
  if (channel % every != 0) return nullptr;
  return &expected.at(static_cast<std::size_t>(n / channels * checked + channel / every));
}

}  // namespace

std::vector<float> make_values(Data data, Element element, std::int64_t count, std::uint32_t seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::uint64_t state = 0x9e3779b97f4a7c15U * (seed + 1);
  for (float& value : values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto random = static_cast<std::uint32_t>(state >> 33);  // 31 bits
    if (data == Data::integers) {
      value = static_cast<float>(static_cast<int>(random >> 8) % 9 - 4);
    } else {
      value = static_cast<float>(random) * 0x1p-30F - 1.0F;
      if (data == Data::reals) value = rounded(element, value);
    }
  }
  return values;
}

TypedMap::TypedMap(DType type, std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole,
                   Room room)
    : geometry_(dense_geometry(type, images, channels, rect, whole)), start_(guard) {
  const Extent2 extent = rect.extent();
  if (room == Room::wide) {
    geometry_.row_stride = (extent.width + 2) * channels;
    geometry_.image_stride = (extent.height + 2) * geometry_.row_stride;
    start_ += geometry_.row_stride + channels;
  } else if (room == Room::odd) {
    geometry_.col_stride = channels + 1;
    geometry_.row_stride = extent.width * geometry_.col_stride + 3;
    geometry_.image_stride = extent.height * geometry_.row_stride + 3;
    start_ += 1;
  }
  const std::int64_t size = (start_ + images * geometry_.image_stride + guard) * size_of(type);
  bytes_.resize(static_cast<std::size_t>(size), std::byte{0xff});
  device_ = device().copy_of(bytes_.data(), bytes_.size());
}

template <typename Visit>
void TypedMap::for_each_offset(Visit visit) const {
  const Rect& rect = geometry_.rect;
  for (std::int64_t image = 0; image < geometry_.images; ++image) {
    for (std::int64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
      for (std::int64_t col = rect.cols.begin; col < rect.cols.end; ++col) {
        visit(start_ + geometry_.offset(image, row, col));
      }
    }
  }
}

void TypedMap::fill(const std::vector<float>& values) {
  const float* next = values.data();
  with_element_type(geometry_.dtype, [&]<typename T>(T) {
    for_each_offset([&](std::int64_t offset) {
      for (std::int64_t c = 0; c < geometry_.channels; ++c) {
        const T element(*next++);
        std::memcpy(bytes_.data() + static_cast<std::size_t>(offset + c) * sizeof(T), &element, sizeof(T));
      }
    });
  });
  device().upload(stream(), device_.data(), bytes_.data(), bytes_.size());
  stream().synchronize();
}

MapView TypedMap::on_device() const {
  return {geometry_, device_.data() + start_ * size_of(geometry_.dtype)};
}

float TypedMap::filled(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel) const {
  return with_element_type(geometry_.dtype, [&]<typename T>(T element) {
    const auto offset = static_cast<std::size_t>(start_ + geometry_.offset(image, row, col) + channel);
    std::memcpy(&element, bytes_.data() + offset * sizeof(T), sizeof(T));
    return float(element);
  });
}

std::vector<std::byte> TypedMap::download() const {
  std::vector<std::byte> bytes(bytes_.size());
  device().download(stream(), bytes.data(), device_.data(), bytes.size());
  stream().synchronize();
  return bytes;
}

std::vector<float> TypedMap::read() const {
  const std::vector<std::byte> bytes = download();
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(geometry_.elements()));
  with_element_type(geometry_.dtype, [&]<typename T>(T element) {
    for_each_offset([&](std::int64_t offset) {
      for (std::int64_t c = 0; c < geometry_.channels; ++c) {
        std::memcpy(&element, bytes.data() + static_cast<std::size_t>(offset + c) * sizeof(T), sizeof(T));
        values.push_back(float(element));
      }
    });
  });
  return values;
}

::testing::AssertionResult TypedMap::only_elements_touched() const {
  std::vector<std::byte> bytes = download();
  const std::int64_t size = size_of(geometry_.dtype);
  for_each_offset([&](std::int64_t offset) {
    std::memset(bytes.data() + offset * size, 0xff, static_cast<std::size_t>(geometry_.channels * size));
  });
  const auto touched =
      std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0xff}; });
  if (touched == bytes.end()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "element " << (touched - bytes.begin()) / size - start_
                                       << " from the view's first is none of the view's, but was written";
}

std::string TypedMap::where(std::size_t index) const {
  auto n = static_cast<std::int64_t>(index);
  const std::int64_t channel = n % geometry_.channels;
  n /= geometry_.channels;
  const std::int64_t width = geometry_.rect.cols.size();
  const std::int64_t height = geometry_.rect.rows.size();
  return "image " + std::to_string(n / width / height) + ", row " +
         std::to_string(geometry_.rect.rows.begin + n / width % height) + ", column " +
         std::to_string(geometry_.rect.cols.begin + n % width) + ", channel " + std::to_string(channel);
}

std::vector<Sum> sums(const Conv2d& layer, std::int64_t images, Extent2 input,
                      const std::vector<float>& values) {
  const Window& w = layer.window;
  const Extent2 extent = output_extent(w, input);
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t outputs = layer.out_channels / layer.groups;
  std::vector<Sum> result;
  result.reserve(static_cast<std::size_t>(images * extent.area() * layer.out_channels));
  for (std::int64_t image = 0; image < images; ++image) {
    for (std::int64_t row = 0; row < extent.height; ++row) {
      for (std::int64_t col = 0; col < extent.width; ++col) {
        for (std::int64_t o = 0; o < layer.out_channels; ++o) {
          Sum sum;
          if (!layer.bias.empty()) sum.value = layer.bias[static_cast<std::size_t>(o)];
          sum.magnitude = std::abs(sum.value);
          for (std::int64_t ky = 0; ky < w.kernel.height; ++ky) {
            const std::int64_t y = row * w.stride.height - w.padding.begin.height + ky * w.dilation.height;
            if (y < 0 || y >= input.height) continue;
            for (std::int64_t kx = 0; kx < w.kernel.width; ++kx) {
              const std::int64_t x = col * w.stride.width - w.padding.begin.width + kx * w.dilation.width;
              if (x < 0 || x >= input.width) continue;
              const float* in = values.data() +
                                ((image * input.height + y) * input.width + x) * layer.in_channels +
                                o / outputs * channels;
              const float* weight =
                  layer.weight.data() + o * channels * w.kernel.area() + ky * w.kernel.width + kx;
              for (std::int64_t c = 0; c < channels; ++c) {
                const double product = double{in[c]} * weight[c * w.kernel.area()];
                sum.value += product;
                sum.magnitude += std::abs(product);
              }
            }
          }
          if (layer.relu) sum.value = std::max(sum.value, 0.0);
          result.push_back(sum);
        }
      }
    }
  }
  return result;
}

std::vector<Sum> sums(const FullyConnected& layer, std::int64_t images, const std::vector<float>& values,
                      std::int64_t every) {
  std::vector<Sum> result;
  for (std::int64_t image = 0; image < images; ++image) {
    for (std::int64_t o = 0; o < layer.out_features; o += every) {
      Sum sum;
      if (!layer.bias.empty()) sum.value = layer.bias[static_cast<std::size_t>(o)];
      sum.magnitude = std::abs(sum.value);
      const float* in = values.data() + image * layer.in_features;
      const float* weight = layer.weight.data() + o * layer.in_features;
      for (std::int64_t c = 0; c < layer.in_features; ++c) {
        const double product = double{in[c]} * weight[c];
        sum.value += product;
        sum.magnitude += std::abs(product);
      }
      if (layer.relu) sum.value = std::max(sum.value, 0.0);
      result.push_back(sum);
    }
  }
  return result;
}

::testing::AssertionResult exact(const TypedMap& map, const std::vector<Sum>& expected, std::int64_t every,
                                 float slack) {
  const DType type = map.geometry().dtype;
  return check(
      map, all_elements(map),
      [&](float found, std::int64_t n) {
        const Sum* sum = expected_of(map, expected, every, n);
        if (sum == nullptr) return true;
        const float sought = rounded(type, static_cast<float>(sum->value));
        return found == sought || std::abs(found - sought) <= slack;
      },
      [&](std::int64_t n) {
        return std::to_string(rounded(type, static_cast<float>(expected_of(map, expected, every, n)->value)));
      });
}

::testing::AssertionResult within(const TypedMap& map, const std::vector<Sum>& expected, std::int64_t length,
                                  std::int64_t every, Tolerance tolerance) {
  const double roundoff = std::max(unit_roundoff(map.geometry().dtype), unit_roundoff(tolerance.type));
  const auto bound = [&](const Sum& sum) {
    const double of_sum = static_cast<double>(length) * tolerance.unit * sum.magnitude;
    return of_sum + (std::abs(sum.value) + of_sum) * roundoff + 0x1p-25;  // half a subnormal f16
  };
  return check(
      map, all_elements(map),
      [&](float found, std::int64_t n) {
        const Sum* sum = expected_of(map, expected, every, n);
        return sum == nullptr || std::abs(found - sum->value) <= bound(*sum);
      },
      [&](std::int64_t n) {
        const Sum& sum = *expected_of(map, expected, every, n);
        return std::to_string(sum.value) + " +- " + std::to_string(bound(sum));
      });
}

::testing::AssertionResult same_bits(const TypedMap& map, const TypedMap& other, Interval images) {
  const std::vector<float> values = other.read();
  const std::int64_t of_image = map.geometry().elements() / map.geometry().images;
  const Interval elements =
      images.empty() ? all_elements(map) : Interval{images.begin * of_image, images.end * of_image};
  return check(
      map, elements,
      [&](float found, std::int64_t n) {
        return bits(found) == bits(values[static_cast<std::size_t>(n)]) && !std::isnan(found);
      },
      [&](std::int64_t n) { return std::to_string(values[static_cast<std::size_t>(n)]); });
}

::testing::AssertionResult equal(const TypedMap& map, const std::vector<float>& values) {
  if (static_cast<std::int64_t>(values.size()) != map.geometry().elements()) {
    return ::testing::AssertionFailure() << values.size() << " values for " << map.geometry().elements();
  }
  return check(
      map, all_elements(map),
      [&](float found, std::int64_t n) { return bits(found) == bits(values[static_cast<std::size_t>(n)]); },
      [&](std::int64_t n) { return std::to_string(values[static_cast<std::size_t>(n)]); });
}

std::vector<float> packing(const tensor_core::MatrixLayer& layer, const Window& window,
                           tensor_core::PackedLayout layout, const TypedMap& in, Rect rect, Rect out,
                           Element element) {
  const MapGeometry& g = in.geometry();
  const Extent2 extent = layer.packed_extent(out.extent());
  const std::int64_t channels = g.channels / layer.groups;
  const Rect inside = intersect(rect, Rect::whole(g.whole));
  std::vector<float> result;
  std::vector<float> low;  // of split layers
  for (std::int64_t image = 0; image < g.images; ++image) {
    for (std::int64_t y = 0; y < extent.height; ++y) {
      for (std::int64_t x = 0; x < extent.width; ++x) {
        for (std::int64_t k = 0; k < layer.groups * layer.position_channels; ++k) {
          const std::int64_t in_group = k % layer.position_channels;
          const std::int64_t dy = in_group / channels / layer.block.width;
          const std::int64_t dx = in_group / channels % layer.block.width;
          const std::int64_t row = out.rows.begin * window.stride.height - window.padding.begin.height +
                                   y * layer.step.height + dy;
          const std::int64_t col =
              out.cols.begin * window.stride.width - window.padding.begin.width + x * layer.step.width + dx;
          const bool exists =
              dy < layer.block.height && inside.rows.contains(row) && inside.cols.contains(col);
          const std::int64_t channel = k / layer.position_channels * channels + in_group % channels;
          const float value = exists ? in.filled(image, row, col, channel) : 0.0F;
          result.push_back(layer.split() ? to_tf32(value) : rounded(element, value));
          if (layer.split()) low.push_back(to_tf32(value - to_tf32(value)));
        }
      }
    }
  }
  result.insert(result.end(), low.begin(), low.end());
  if (layout == tensor_core::PackedLayout::positions) return result;
  // (images, positions, vectors, a vector) to (images, vectors, positions, a vector).
  const std::int64_t vector = 16 / size_of(element);
  const std::int64_t vectors = layer.groups * layer.position_channels / vector;
  const std::int64_t of_image = extent.area() * vectors * vector;
  std::vector<float> planes(result.size());
  for (std::int64_t n = 0; n < std::ssize(result); ++n) {
    const std::int64_t position = n % of_image / (vectors * vector);
    const std::int64_t v = n / vector % vectors;
    const std::int64_t to = n / of_image * of_image + (v * extent.area() + position) * vector + n % vector;
    planes[static_cast<std::size_t>(to)] = result[static_cast<std::size_t>(n)];
  }
  return planes;
}

std::vector<Rect> uneven_tiles(Extent2 extent) {
  const auto cuts = [](std::int64_t size, std::int64_t first, std::int64_t second) {
    std::vector<std::int64_t> at{0, std::min(first, size), std::min(first + second, size), size};
    at.erase(std::unique(at.begin(), at.end()), at.end());
    return at;
  };
  const auto rows = cuts(extent.height, 1, extent.height / 2);
  const auto cols = cuts(extent.width, (extent.width + 1) / 2, 1);
  std::vector<Rect> tiles;
  for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
    for (std::size_t c = 0; c + 1 < cols.size(); ++c) {
      tiles.push_back({{rows[r], rows[r + 1]}, {cols[c], cols[c + 1]}});
    }
  }
  return tiles;
}

}  // namespace halotile::testing
