#include "kernels/engines/cuda/support.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>

namespace halotile::testing {
namespace {

constexpr std::int64_t guard = 64;  // elements in front of and behind a map

// Position of a number among all of its type in ascending order; both zeros are 0.
std::int64_t rank_of(std::uint32_t bits, std::int64_t size) {
  const std::int64_t sign = std::int64_t{1} << (8 * size - 1);
  const std::int64_t magnitude = std::int64_t{bits} & (sign - 1);
  return (std::int64_t{bits} & sign) != 0 ? -magnitude : magnitude;
}

}  // namespace

bool gpu_required() {
  const char* value = std::getenv("HALOTILE_REQUIRE_GPU");
  return value != nullptr && std::string_view(value) == "1";
}

CudaDevice& device() {
  static CudaDevice device(0);
  return device;
}

CudaStream& stream() {
  static CudaStream stream(device().index());
  return stream;
}

std::string to_string(Layout layout) {
  switch (layout) {
    case Layout::dense:
      return "dense";
    case Layout::view:
      return "view";
    case Layout::gaps:
      return "gaps";
    case Layout::odd:
      return "odd";
  }
  return "?";
}

TwinMap::TwinMap(std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole, Layout layout,
                 DType dtype)
    : geometry_(dense_geometry(dtype, images, channels, rect, whole)), start_(guard) {
  const Extent2 extent = rect.extent();
  std::int64_t size = images * extent.area() * channels;
  switch (layout) {
    case Layout::dense:
      break;
    case Layout::view:
      geometry_.row_stride = (extent.width + 6) * channels;
      geometry_.image_stride = (extent.height + 6) * geometry_.row_stride;
      start_ += 3 * geometry_.row_stride + 3 * channels;
      size = images * geometry_.image_stride;
      break;
    case Layout::gaps:
      geometry_.col_stride = ((channels * element_bytes() + 15) / 16 * 16 + 16) / element_bytes();
      geometry_.row_stride = extent.width * geometry_.col_stride + 32 / element_bytes();
      geometry_.image_stride = extent.height * geometry_.row_stride + 48 / element_bytes();
      size = images * geometry_.image_stride;
      break;
    case Layout::odd:
      geometry_.col_stride = channels + 1;
      geometry_.row_stride = extent.width * geometry_.col_stride + 1;
      geometry_.image_stride = extent.height * geometry_.row_stride + 3;
      start_ += 1;
      size = images * geometry_.image_stride;
      break;
  }
  bytes_.resize(static_cast<std::size_t>((start_ + size + guard) * element_bytes()));
  std::memset(bytes_.data(), 0xff, bytes_.size());
  device_ = device().allocate(bytes_.size());
  poison_device();
}

std::uint32_t TwinMap::bits_at(const std::vector<std::byte>& bytes, std::size_t index) const {
  std::uint32_t bits = 0;
  const auto width = static_cast<std::size_t>(element_bytes());
  std::memcpy(&bits, bytes.data() + index * width, width);
  return bits;
}

float TwinMap::value_of(std::uint32_t bits) const {
  if (geometry_.dtype == DType::f32) return std::bit_cast<float>(bits);
  return with_element_type(geometry_.dtype, [bits](auto element) {
    if constexpr (sizeof(element) == 2) element.bits = static_cast<std::uint16_t>(bits);
    return static_cast<float>(element);
  });
}

void TwinMap::put(std::size_t index, float value) {
  with_element_type(geometry_.dtype, [&](auto element) {
    element = static_cast<decltype(element)>(value);
    std::memcpy(bytes_.data() + index * sizeof(element), &element, sizeof(element));
  });
}

void TwinMap::randomize(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  for_each([&](float& x) {
    x = uniform(random);
    if (random() % 16 == 0) x = std::copysign(0.0F, x);
  });
  upload();
}

void TwinMap::set(std::int64_t image, std::int64_t row, std::int64_t col, std::int64_t channel, float value) {
  put(static_cast<std::size_t>(start_ + geometry_.offset(image, row, col) + channel), value);
}

void TwinMap::upload() {
  device().upload(stream(), device_.data(), bytes_.data(), bytes_.size());
  stream().synchronize();
}

void TwinMap::fetch() { bytes_ = download(); }

void TwinMap::poison_device() { device().poison(device_, 0); }

std::vector<std::byte> TwinMap::download() const {
  std::vector<std::byte> result(bytes_.size());
  device().download(stream(), result.data(), device_.data(), result.size());
  stream().synchronize();
  return result;
}

std::string TwinMap::where(std::size_t index) const {
  const MapGeometry& g = geometry_;
  const std::int64_t at = static_cast<std::int64_t>(index) - start_;
  if (at < 0 || g.image_stride == 0) return "guard band, " + std::to_string(at);
  const std::int64_t image = at / g.image_stride;
  const std::int64_t row = at % g.image_stride / g.row_stride;
  const std::int64_t col = at % g.image_stride % g.row_stride / g.col_stride;
  const std::int64_t channel = at % g.image_stride % g.row_stride % g.col_stride;
  return "image " + std::to_string(image) + ", row " + std::to_string(g.rect.rows.begin + row) + ", column " +
         std::to_string(g.rect.cols.begin + col) + ", channel " + std::to_string(channel);
}

::testing::AssertionResult TwinMap::same_everywhere() {
  const std::vector<std::byte> found = download();
  const bool exact = geometry_.dtype == DType::f32;
  std::size_t differing = 0;
  std::size_t first = 0;
  for (std::size_t n = 0; n < elements(); ++n) {
    const std::uint32_t want = bits_at(bytes_, n);
    const std::uint32_t have = bits_at(found, n);
    if (want == have) continue;
    const bool poison = want == 0xffffU || have == 0xffffU;
    if (!exact && !poison && std::isnan(value_of(want)) && std::isnan(value_of(have))) continue;
    if (differing++ == 0) first = n;
  }
  if (differing == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << differing << " of " << elements() << " values differ, first at " << where(first) << ": host "
         << value_of(bits_at(bytes_, first)) << ", device " << value_of(bits_at(found, first));
}

template <typename Good>
::testing::AssertionResult TwinMap::all_elements(Good good) {
  const std::vector<std::byte> found = download();
  std::vector<bool> element(elements(), false);
  for_each_index([&](std::size_t index) { element[index] = true; });
  const std::uint32_t poison = geometry_.dtype == DType::f32 ? 0xffffffffU : 0xffffU;
  for (std::size_t n = 0; n < elements(); ++n) {
    const std::uint32_t want = bits_at(bytes_, n);
    const std::uint32_t have = bits_at(found, n);
    if (element[n] ? have != poison && good(want, have) : have == poison) continue;
    return ::testing::AssertionFailure()
           << "differs at " << where(n) << ": host " << value_of(want) << ", device " << value_of(have);
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult TwinMap::close(float tolerance) {
  return all_elements([&](std::uint32_t want, std::uint32_t have) {
    return std::abs(value_of(have) - value_of(want)) <= tolerance;
  });
}

::testing::AssertionResult TwinMap::close_steps(std::int64_t steps) {
  return all_elements([&](std::uint32_t want, std::uint32_t have) {
    if (std::isnan(value_of(want)) || std::isnan(value_of(have))) {
      return std::isnan(value_of(want)) && std::isnan(value_of(have));
    }
    return std::abs(rank_of(have, element_bytes()) - rank_of(want, element_bytes())) <= steps;
  });
}

Rect needed_rect(const Window& window, Extent2 input, const Rect& out) {
  const Rect rect{reach(window.rows(), input.height, out.rows), reach(window.cols(), input.width, out.cols)};
  return intersect(rect, Rect::whole(input));
}

std::vector<cuda::TileMaps> cut_in_tiles(const Window& window, const ConstMapView& in, const MapView& out) {
  const auto part = [](Interval all, std::int64_t n, std::int64_t of) {
    // The first is empty.
    const auto at = [&](std::int64_t i) { return all.begin + (i < 2 ? 0 : all.size() * i * i / (of * of)); };
    return Interval{at(n), n + 1 == of ? all.end : at(n + 1)};
  };
  std::vector<cuda::TileMaps> tiles;
  const Interval images{0, out.images};
  for (std::int64_t row = 0; row < 7; ++row) {
    for (std::int64_t col = 0; col < 5; ++col) {
      const Rect rect{part(out.rect.rows, row, 7), part(out.rect.cols, col, 5)};
      const Rect needed = intersect(needed_rect(window, in.whole, rect), in.rect);
      tiles.push_back({subview(in, images, rect.empty() ? in.rect : needed), subview(out, images, rect)});
    }
  }
  return tiles;
}

std::vector<float> random_values(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return uniform(random); });
  return values;
}

}  // namespace halotile::testing
