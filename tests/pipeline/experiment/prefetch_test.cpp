// Prefetching: every image once, in order, whatever the decoders; failures in the images' order; no slot
// lost.
#include "pipeline/experiment/prefetch.hpp"

#include <gtest/gtest.h>

#include <set>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr MapShape shape{1, {1, 2}};

// Map n holds (n, 2 n). Images in `broken` cannot be read; odd ones take longer than even ones.
class NumberSource final : public InputSource {
 public:
  NumberSource(std::int64_t count, std::int64_t views, std::set<std::int64_t> broken = {})
      : count_(count), views_(views), broken_(std::move(broken)) {}
  [[nodiscard]] std::int64_t count() const override { return count_ * views_; }
  [[nodiscard]] std::int64_t views() const override { return views_; }
  [[nodiscard]] std::string name(std::int64_t image) const override {
    return "image " + std::to_string(image / views_);
  }
  void fill(Interval images, const MapView& out) override {
    EXPECT_EQ(images.size(), views_);
    EXPECT_EQ(images.begin % views_, 0);
    const std::int64_t unit = images.begin / views_;
    if (unit % 2 == 1) std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (broken_.contains(unit)) throw FormatError("broken");
    if (broken_.contains(-unit)) throw std::bad_alloc();
    for (std::int64_t n = images.begin; n < images.end; ++n) {
      float* const values = out.at<float>(n - images.begin, 0, 0);
      values[0] = static_cast<float>(n);
      values[1] = static_cast<float>(2 * n);
    }
  }

 private:
  std::int64_t count_;
  std::int64_t views_;
  std::set<std::int64_t> broken_;
};

// Sizes of the batches; checks their maps.
std::vector<std::size_t> read_all(Prefetcher& prefetcher, std::vector<std::int64_t>& numbers) {
  std::vector<std::size_t> sizes;
  for (;;) {
    const auto maps = prefetcher.next();
    if (maps.empty()) return sizes;
    sizes.push_back(maps.size());
    std::vector<float> values(2 * maps.size(), -1.0F);
    prefetcher.take({dense_geometry(DType::f32, static_cast<std::int64_t>(maps.size()), 1,
                                    Rect::whole(shape.extent), shape.extent),
                     values.data()});
    for (std::size_t i = 0; i < maps.size(); ++i) {
      EXPECT_EQ(values[2 * i], static_cast<float>(maps[i]));
      EXPECT_EQ(values[2 * i + 1], static_cast<float>(2 * maps[i]));
      numbers.push_back(maps[i]);
    }
  }
}

TEST(Prefetch, DeliversEveryMapInOrder) {
  for (const int decoders : {1, 2, 7, 40}) {
    for (const std::int64_t batch : {1, 4, 6, 30, 100}) {
      NumberSource source(23, 1);
      Prefetcher prefetcher(source, shape, DType::f32, {batch, decoders, OnError::stop});
      std::vector<std::int64_t> numbers;
      const std::vector<std::size_t> sizes = read_all(prefetcher, numbers);
      ASSERT_EQ(numbers.size(), 23U);
      for (std::int64_t n = 0; n < 23; ++n) EXPECT_EQ(numbers[static_cast<std::size_t>(n)], n);
      for (std::size_t i = 0; i + 1 < sizes.size(); ++i) EXPECT_EQ(sizes[i], static_cast<std::size_t>(batch));
      EXPECT_TRUE(prefetcher.next().empty());
    }
  }
}

TEST(Prefetch, SkippedImagesLeaveBatchesFull) {
  for (const int decoders : {1, 3}) {
    NumberSource source(20, 3, {0, 1, 2, 3, 4, 5, 9, 13, 19});
    Prefetcher prefetcher(source, shape, DType::f32, {6, decoders, OnError::skip});
    std::vector<std::int64_t> numbers;
    EXPECT_EQ(read_all(prefetcher, numbers), (std::vector<std::size_t>{6, 6, 6, 6, 6, 3}));
    EXPECT_EQ(numbers.front(), 18);
    EXPECT_EQ(numbers.back(), 56);
    ASSERT_EQ(prefetcher.skipped().size(), 9U);
    EXPECT_EQ(prefetcher.skipped()[6].image, "image 9");
    EXPECT_EQ(prefetcher.skipped()[6].error, "image 9: broken");
  }
}

TEST(Prefetch, StopsAtTheFirstBrokenImage) {
  for (const int decoders : {1, 3}) {
    NumberSource source(20, 1, {5, 6, 7});
    Prefetcher prefetcher(source, shape, DType::f32, {2, decoders, OnError::stop});
    std::vector<std::int64_t> numbers;
    try {
      (void)read_all(prefetcher, numbers);
      ADD_FAILURE() << "a broken image was passed over";
    } catch (const FormatError& e) {
      EXPECT_STREQ(e.what(), "image 5: broken");
    }
    EXPECT_EQ(numbers, (std::vector<std::int64_t>{0, 1, 2, 3}));
  }
}

TEST(Prefetch, WhatIsNoFaultOfAnImageIsNotSkipped) {
  NumberSource source(20, 1, {-3});
  Prefetcher prefetcher(source, shape, DType::f32, {2, 2, OnError::skip});
  std::vector<std::int64_t> numbers;
  EXPECT_THROW((void)read_all(prefetcher, numbers), std::bad_alloc);
}

TEST(Prefetch, EndsInTheMiddle) {
  NumberSource source(1000, 1);
  Prefetcher prefetcher(source, shape, DType::f32, {2, 3, OnError::stop});
  EXPECT_EQ(prefetcher.next().size(), 2U);
}

TEST(Prefetch, StopsWhenToldTo) {
  NumberSource source(1000, 1);
  Prefetcher prefetcher(source, shape, DType::f32, {999, 1, OnError::stop});
  stop_requested = true;
  EXPECT_THROW((void)prefetcher.next(), Interrupted);
  stop_requested = false;
}

}  // namespace
}  // namespace halotile
