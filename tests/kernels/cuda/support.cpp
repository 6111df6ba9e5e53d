#include "kernels/cuda/support.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>

namespace halotile::testing {
namespace {

constexpr std::int64_t guard = 64;  // floats in front of and behind a map

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

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

TwinMap::TwinMap(std::int64_t images, std::int64_t channels, Rect rect, Extent2 whole, Layout layout)
    : geometry_(dense_geometry(DType::f32, images, channels, rect, whole)), start_(guard) {
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
      geometry_.col_stride = (channels + 3) / 4 * 4 + 4;
      geometry_.row_stride = extent.width * geometry_.col_stride + 8;
      geometry_.image_stride = extent.height * geometry_.row_stride + 12;
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
  values_.resize(static_cast<std::size_t>(start_ + size + guard));
  std::memset(values_.data(), 0xff, values_.size() * sizeof(float));
  device_ = device().allocate(values_.size() * sizeof(float));
  poison_device();
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

void TwinMap::upload() {
  const std::size_t bytes = values_.size() * sizeof(float);
  device().upload(stream(), device_.data(), values_.data(), bytes);
  stream().synchronize();
}

void TwinMap::poison_device() { device().poison(device_, 0); }

std::vector<float> TwinMap::download() const {
  std::vector<float> result(values_.size());
  device().download(stream(), result.data(), device_.data(), result.size() * sizeof(float));
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
  const std::vector<float> found = download();
  std::size_t differing = 0;
  std::size_t first = 0;
  for (std::size_t n = 0; n < found.size(); ++n) {
    if (bits(found[n]) == bits(values_[n])) continue;
    if (differing++ == 0) first = n;
  }
  if (differing == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << differing << " of " << found.size() << " values differ, first at " << where(first) << ": host "
         << values_[first] << ", device " << found[first];
}

::testing::AssertionResult TwinMap::close(float tolerance) {
  const std::vector<float> found = download();
  std::vector<bool> element(values_.size(), false);
  for_each([&](const float& x) { element[static_cast<std::size_t>(&x - values_.data())] = true; });
  for (std::size_t n = 0; n < found.size(); ++n) {
    const bool good =
        element[n] ? std::abs(found[n] - values_[n]) <= tolerance : bits(found[n]) == 0xffffffffU;
    if (!good) {
      return ::testing::AssertionFailure()
             << "differs at " << where(n) << ": host " << values_[n] << ", device " << found[n];
    }
  }
  return ::testing::AssertionSuccess();
}

Rect needed_rect(const Window& window, Extent2 input, const Rect& out) {
  const Rect rect{reach(window.rows(), input.height, out.rows), reach(window.cols(), input.width, out.cols)};
  return intersect(rect, Rect::whole(input));
}

std::vector<float> random_values(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return uniform(random); });
  return values;
}

}  // namespace halotile::testing
