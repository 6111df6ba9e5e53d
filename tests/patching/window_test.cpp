// Windows: output sizes against PyTorch's rule, refusals, and what outputs read.
#include "patching/window.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>

#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::int64_t huge_size = std::numeric_limits<std::int64_t>::max();

struct SizeCase {
  std::string name;
  AxisWindow window;
  std::int64_t input = 0;
  std::int64_t output = 0;
};

std::ostream& operator<<(std::ostream& out, const SizeCase& c) { return out << c.name; }

class OutputSize : public testing::TestWithParam<SizeCase> {};

TEST_P(OutputSize, IsPyTorchs) {
  EXPECT_EQ(output_size(GetParam().window, GetParam().input), GetParam().output);
}

constexpr bool ceil_mode = true;

// {kernel, stride, padding, dilation, ceil mode}; outputs are those of torch.nn.Conv2d and
// torch.nn.MaxPool2d.
INSTANTIATE_TEST_SUITE_P(
    Known, OutputSize,
    testing::Values(
        SizeCase{"alexnet_conv1", {11, 4}, 227, 55},
        SizeCase{"alexnet_conv1_224_padding_2", {11, 4, 2}, 224, 55},
        SizeCase{"alexnet_pool1", {3, 2}, 55, 27}, SizeCase{"same_3x3", {3, 1, 1}, 13, 13},
        SizeCase{"one_position", {1, 1}, 1, 1}, SizeCase{"kernel_is_input", {7, 1}, 7, 1},
        SizeCase{"kernel_is_padded_input", {9, 3, 1}, 7, 1}, SizeCase{"stride_over_kernel", {2, 5}, 12, 3},
        SizeCase{"stride_over_input", {3, 100}, 50, 1}, SizeCase{"dilation_3", {3, 1, 0, 3}, 10, 4},
        SizeCase{"padding_over_kernel", {1, 1, 5}, 1, 11}, SizeCase{"vit_patches", {16, 16}, 224, 14},
        // Rounding up.
        SizeCase{"googlenet_pool1_ceil", {3, 2, 0, 1, ceil_mode}, 112, 56},
        SizeCase{"ceil_exact_fit", {3, 2, 0, 1, ceil_mode}, 7, 3},
        SizeCase{"ceil_7_by_2", {2, 2, 0, 1, ceil_mode}, 7, 4}, SizeCase{"floor_7_by_2", {2, 2}, 7, 3},
        SizeCase{"ceil_5_kernel_3_stride_4", {3, 4, 0, 1, ceil_mode}, 5, 2},
        SizeCase{"ceil_dilation_2", {3, 2, 1, 2, ceil_mode}, 10, 5},
        // Rounded up, the last window would start behind the input and its left padding: it does not count.
        SizeCase{"ceil_last_window_in_right_padding", {2, 3, 1, 1, ceil_mode}, 4, 2},
        SizeCase{"ceil_last_window_at_the_end", {1, 5, 0, 1, ceil_mode}, 5, 1},
        SizeCase{"ceil_last_window_just_inside", {1, 5, 0, 1, ceil_mode}, 6, 2},
        SizeCase{"ceil_stride_over_kernel", {2, 4, 0, 1, ceil_mode}, 4, 1},
        SizeCase{"ceil_stride_over_kernel_one_more", {2, 4, 0, 1, ceil_mode}, 5, 2},
        // One window that reaches beyond the padded input.
        SizeCase{"ceil_kernel_3_on_2", {3, 2, 0, 1, ceil_mode}, 2, 1},
        SizeCase{"ceil_kernel_1280_on_7", {1280, 1280, 0, 1, ceil_mode}, 7, 1},
        SizeCase{"ceil_kernel_over_padded_input", {7, 3, 1, 1, ceil_mode}, 3, 1},
        SizeCase{"ceil_dilated_kernel_over_input", {3, 4, 0, 3, ceil_mode}, 4, 1},
        SizeCase{"ceil_kernel_over_by_stride_less_one", {7, 3, 0, 1, ceil_mode}, 5, 1},
        // Padding of two sides.
        SizeCase{"same_for_stride_2", {3, 2, {0, 1}}, 224, 112},
        SizeCase{"same_for_even_kernel", {2, 1, {0, 1}}, 9, 9},
        SizeCase{"ceil_end_padding", {2, 3, {0, 2}, 1, ceil_mode}, 5, 2},
        SizeCase{"ceil_window_in_end_padding", {2, 3, {0, 2}, 1, ceil_mode}, 6, 2},
        SizeCase{"ceil_window_after_left_padding", {2, 3, {1, 0}, 1, ceil_mode}, 6, 3},
        SizeCase{"adaptive_down", {1, 1, 0, 1, false, 6}, 13, 6},
        SizeCase{"adaptive_up", {1, 1, 0, 1, false, 7}, 3, 7}),
    [](const testing::TestParamInfo<SizeCase>& c) { return c.param.name; });

// Without rounding up, outputs are the positions at which the dilated kernel fits into the padded input.
TEST(OutputSize, CountsFittingWindows) {
  for (std::int64_t input = 1; input <= 9; ++input) {
    for (std::int64_t kernel = 1; kernel <= 5; ++kernel) {
      for (std::int64_t stride = 1; stride <= 6; ++stride) {
        for (std::int64_t padding = 0; padding <= 3; ++padding) {
          for (std::int64_t dilation = 1; dilation <= 3; ++dilation) {
            std::int64_t fitting = 0;
            while (fitting * stride + (kernel - 1) * dilation + 1 <= input + 2 * padding) ++fitting;
            const AxisWindow w{kernel, stride, padding, dilation};
            if (fitting == 0) {
              EXPECT_THROW((void)output_size(w, input), ShapeError);
            } else {
              EXPECT_EQ(output_size(w, input), fitting)
                  << input << " k" << kernel << " s" << stride << " p" << padding << " d" << dilation;
            }
          }
        }
      }
    }
  }
}

struct RefusedCase {
  std::string name;
  AxisWindow window;
  std::int64_t input = 0;
  std::string message;  // part of it
};

std::ostream& operator<<(std::ostream& out, const RefusedCase& c) { return out << c.name; }

class RefusedWindow : public testing::TestWithParam<RefusedCase> {};

TEST_P(RefusedWindow, IsAShapeError) {
  try {
    const std::int64_t size = output_size(GetParam().window, GetParam().input);
    FAIL() << "accepted, with " << size << " outputs";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, RefusedWindow,
    testing::Values(
        RefusedCase{"no_input", {1, 1}, 0, "a map of 0 positions has no outputs"},
        RefusedCase{"negative_input", {1, 1}, -4, "a map of -4 positions"},
        RefusedCase{
            "kernel_0", {0, 1}, 5, "kernel, stride and dilation must be at least 1 (they are 0, 1, 1)"},
        RefusedCase{"stride_0", {1, 0}, 5, "(they are 1, 0, 1)"},
        RefusedCase{"negative_stride", {1, -1}, 5, "(they are 1, -1, 1)"},
        RefusedCase{"dilation_0", {1, 1, 0, 0}, 5, "(they are 1, 1, 0)"},
        RefusedCase{"negative_padding", {1, 1, -1}, 5, "padding must not be negative (it is -1)"},
        RefusedCase{
            "kernel_over_input", {6, 1}, 5, "the kernel (6 positions) is larger than the padded input (5"},
        RefusedCase{
            "dilated_kernel_over_padded_input",
            {4, 1, 1, 3},
            7,
            "the kernel (10 positions with dilation) is larger than the padded input (9 positions); use a"},
        RefusedCase{"ceil_kernel_over_input_by_the_stride",
                    {7, 2, 0, 1, ceil_mode},
                    5,
                    "larger than the padded input (5 positions) by the stride (2) or more"},
        RefusedCase{"negative_padding_behind", {1, 1, {2, -3}}, 5, "padding must not be negative (it is -3)"},
        RefusedCase{"negative_adaptive", {1, 1, 0, 1, false, -2}, 5, "must be at least 1"},
        // Sizes near the end of 64 bits.
        RefusedCase{"padding_overflows", {1, 1, huge_size}, 5, "the padding overflows"},
        RefusedCase{"padded_input_overflows", {1, 1, huge_size / 2}, 5, "the padded input overflows"},
        RefusedCase{"dilated_kernel_overflows", {huge_size, 1, 0, 3}, 5, "the dilated kernel overflows"},
        RefusedCase{"dilated_kernel_too_large", {huge_size, 1, 0, 1}, 5, "overflows"},
        RefusedCase{"adaptive_overflows", {1, 1, 0, 1, false, huge_size / 2}, 5, "overflows"},
        RefusedCase{"adaptive_at_the_end_of_64_bits", {1, 1, 0, 1, false, huge_size}, 1, "overflows"},
        RefusedCase{"ceil_last_start_overflows",
                    {1, (std::int64_t{1} << 62) + 1, 0, 1, ceil_mode},
                    (std::int64_t{1} << 62) + 4,
                    "overflows"}),
    [](const testing::TestParamInfo<RefusedCase>& c) { return c.param.name; });

TEST(Window, SplitsIntoAxes) {
  const Window w{{1, 2}, {3, 4}, {5, 6}, {7, 8}, true, std::nullopt};
  const Window uneven{{1, 2}, {3, 4}, {{5, 6}, {9, 10}}, {7, 8}, true, std::nullopt};
  EXPECT_EQ(uneven.rows(), (AxisWindow{1, 3, {5, 9}, 7, true, 0}));
  EXPECT_EQ(uneven.cols(), (AxisWindow{2, 4, {6, 10}, 8, true, 0}));
  EXPECT_EQ(to_string(w.padding), "5x6");
  EXPECT_EQ(to_string(uneven.padding), "5x6 before, 9x10 behind");
  EXPECT_EQ(w.rows(), (AxisWindow{1, 3, 5, 7, true, 0}));
  EXPECT_EQ(w.cols(), (AxisWindow{2, 4, 6, 8, true, 0}));
  Window adaptive;
  adaptive.adaptive_output = Extent2{3, 5};
  EXPECT_EQ(adaptive.rows().adaptive_output, 3);
  EXPECT_EQ(adaptive.cols().adaptive_output, 5);
  EXPECT_EQ(output_extent(adaptive, {9, 9}), (Extent2{3, 5}));
  EXPECT_EQ(output_extent(w, {30, 40}), (Extent2{13, 12}));
}

TEST(Window, PointwiseReadsOnlyItsOwnPosition) {
  EXPECT_TRUE(Window{}.pointwise());
  EXPECT_FALSE((Window{{1, 2}}).pointwise());
  EXPECT_FALSE((Window{{1, 1}, {1, 2}}).pointwise());
  EXPECT_FALSE((Window{{1, 1}, {1, 1}, {1, 0}}).pointwise());
  Window adaptive;
  adaptive.adaptive_output = Extent2{1, 1};
  EXPECT_FALSE(adaptive.pointwise());
}

TEST(Reach, IsUnclipped) {
  const AxisWindow w{3, 2, 1, 2};
  EXPECT_EQ(reach(w, 10, {0, 1}), (Interval{-1, 4}));
  EXPECT_EQ(reach(w, 10, {2, 5}), (Interval{3, 12}));
  EXPECT_EQ(reach(w, 10, {3, 3}), Interval{});
  EXPECT_EQ(reach({1, 1, 0, 1, false, 3}, 10, {1, 2}), (Interval{3, 7}));
  EXPECT_EQ(reach({1, 1, 0, 1, false, 7}, 3, {6, 7}), (Interval{2, 3}));
}

}  // namespace
}  // namespace halotile
