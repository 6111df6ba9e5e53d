// Layers on tensor cores against float64 sums: every kernel, block shape and element type.
//
// Two kinds of data. Small integers, whose sums are exact whatever rounds inside the instructions: one wrong
// address anywhere and a result differs. And random numbers: results must lie within
//   reduction length * 2^-22 * sum of |products|, and half a unit of the output's type,
// since the instructions' sums truncate; and the bits must not depend on the block shape, on how the map is
// cut into tiles, or on the other images.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <random>

#include "kernels/engines/cuda/tensor_core/matrix_support.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma.hpp"

namespace halotile::testing {
namespace {

using tensor_core::BlockShape;
using tensor_core::Element;
using tensor_core::MatrixCall;
using tensor_core::MatrixLayer;
using tensor_core::PackedLayout;

// ---- the kernels ----

bool is_not_split(const MatrixLayer& layer, BlockShape) { return !layer.split(); }

struct ProductKernel {
  const char* name;
  std::span<const BlockShape> (*shapes)();
  void (*multiply)(const MatrixLayer&, const MatrixCall&, BlockShape, cudaStream_t);
  bool (*usable)(int device);
  bool adds_segments = false;
  bool (*fits)(const MatrixLayer&, BlockShape) = is_not_split;
  bool batches = false;
};

constexpr BlockShape only_totals[] = {{128, 128}};

constexpr ProductKernel product_kernels[] = {
    {"mma", tensor_core::mma_shapes, tensor_core::multiply_mma, [](int) { return true; }},
    {"wgmma", tensor_core::wgmma_shapes, tensor_core::multiply_wgmma, tensor_core::has_wgmma, false,
     tensor_core::wgmma_fits, true},
    {"wgmma with totals", [] { return std::span<const BlockShape>(only_totals); },
     tensor_core::multiply_wgmma, tensor_core::has_wgmma, true, is_not_split},
};

// The first shape that the kernel has for the layer, if any.
std::optional<BlockShape> first_shape(const ProductKernel& kernel, const MatrixLayer& layer) {
  for (const BlockShape shape : kernel.shapes()) {
    if (kernel.fits(layer, shape)) return shape;
  }
  return std::nullopt;
}

std::string text_of(const ProductKernel& kernel, BlockShape shape) {
  return std::string(kernel.name) + " " + std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
         (shape.input == PackedLayout::planes ? " in planes" : "");
}

// Calls work(kernel, shape, text) for all of them that the device has.
template <typename Work>
void for_each_shape(Work work) {
  for (const ProductKernel& kernel : product_kernels) {
    if (!kernel.usable(device().index())) continue;
    for (const BlockShape shape : kernel.shapes()) {
      work(kernel, shape, text_of(kernel, shape));
    }
  }
}

// ---- a layer on the device ----

struct DeviceLayer {
  MatrixLayer matrix;
  Window window;
  Buffer filters;
  Buffer bias;
  Buffer account;  // of all calls, one after the other
  bool has_bias = false;

  template <typename Layer>
  DeviceLayer(const Layer& layer, const MatrixLayer& matrix_layer, const Window& layer_window)
      : matrix(matrix_layer), window(layer_window), has_bias(!layer.bias.empty()) {
    const std::vector<std::byte> bytes = tensor_core::matrix_filters(layer, matrix);
    filters = device().copy_of(bytes.data(), bytes.size());
    if (has_bias) bias = device().copy_of(layer.bias.data(), layer.bias.size_bytes());
    constexpr tensor_core::NonFiniteAccount none;
    if (matrix.apart) account = device().copy_of(&none, sizeof(none));
  }
  [[nodiscard]] tensor_core::NonFiniteAccount* account_or_null() const {
    return reinterpret_cast<tensor_core::NonFiniteAccount*>(account.data());
  }
};

// The product that makes what `out` shows; `in` shows what that needs, or more. Packs into a new buffer.
MatrixCall product_of(const DeviceLayer& layer, BlockShape shape, const ConstMapView& in, const MapView& out,
                      Buffer& packed) {
  const MatrixLayer& m = layer.matrix;
  if (m.packed) {
    const std::int64_t channels = m.groups * m.position_channels;
    const std::int64_t positions = out.images * m.packed_extent(out.rect.extent()).area();
    const std::int64_t planes = m.split() ? 2 : 1;
    packed = device().allocate(static_cast<std::size_t>(planes * positions * channels * size_of(m.element)));
    device().poison(packed, 0);
    tensor_core::pack_input(m, layer.window, shape.input, in, out.rect, packed.data(), stream().handle(),
                            layer.account_or_null());
  }
  MatrixCall call = tensor_core::matrix_call(m, layer.window, in, out, packed.data());
  call.filters = layer.filters.data();
  call.bias = layer.has_bias ? reinterpret_cast<const float*>(layer.bias.data()) : nullptr;
  call.account = layer.account_or_null();
  return call;
}

// Computes the outputs that `out` shows.
void compute(const DeviceLayer& layer, const ProductKernel& kernel, BlockShape shape, const ConstMapView& in,
             const MapView& out) {
  const MatrixLayer& m = layer.matrix;
  Buffer packed;
  MatrixCall call = product_of(layer, shape, in, out, packed);
  Buffer partial;
  const bool second_pass = m.segments > 1 && !kernel.adds_segments;
  if (second_pass) {
    const std::int64_t floats = m.segments * call.positions() * m.groups * m.out;
    partial = device().allocate(static_cast<std::size_t>(floats) * sizeof(float));
    device().poison(partial, 0);
    call.partial = reinterpret_cast<float*>(partial.data());
  }
  kernel.multiply(m, call, shape, stream().handle());
  if (second_pass) tensor_core::add_segments(m, call, stream().handle());
  stream().synchronize();
}

// ---- convolutions ----

struct ConvCase {
  std::string name;
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t groups = 1;
  Window window = {};
  Extent2 input;
  std::int64_t images = 2;
  bool bias = true;
  bool relu = false;

  friend void PrintTo(const ConvCase& c, std::ostream* to) { *to << c.name; }
};

std::string element_name(Element element) {
  static constexpr const char* names[] = {"Bf16", "F16", "Tf32", "F32"};
  return names[static_cast<std::size_t>(element)];
}

using ConvParam = std::tuple<ConvCase, Element>;

class TensorCoreConv : public ::testing::TestWithParam<ConvParam> {
 protected:
  TensorCoreConv() : c(std::get<0>(GetParam())), element(std::get<1>(GetParam())) {}

  // Layer and input of one kind of data.
  void make(Data data) {
    weight = make_values(data, element, c.out * (c.in / c.groups) * c.window.kernel.area(), 1);
    bias = make_values(data, Element::tf32, c.out, 2);
    layer = {c.in, c.out, c.groups, c.window, c.relu, Parameter(weight), {}};
    if (c.bias) layer.bias = Parameter(bias);
    values = make_values(data, element, c.images * c.input.area() * c.in, 3);
    expected = sums(layer, c.images, c.input, values);
  }

  const ConvCase& c;
  Element element;
  std::vector<float> weight;
  std::vector<float> bias;
  Conv2d layer;
  std::vector<float> values;
  std::vector<Sum> expected;
};

TEST_P(TensorCoreConv, IntegersAreExactInEveryShapeAndLayout) {
  HALOTILE_NEEDS_GPU();
  make(Data::integers);
  const auto matrix = tensor_core::matrix_layer(layer, element);
  ASSERT_TRUE(matrix.has_value());
  const DeviceLayer on_device(layer, *matrix, c.window);
  const Extent2 extent = output_extent(c.window, c.input);
  const DType type = map_type(element);
  int n = 0;
  for_each_shape([&](const ProductKernel& kernel, BlockShape shape, const std::string& text) {
    if (!kernel.fits(on_device.matrix, shape)) return;
    const Room in_room = n % 2 == 0 ? Room::dense : Room::wide;
    const Room out_room = n % 3 == 0 ? Room::odd : n % 3 == 1 ? Room::dense : Room::wide;
    const DType out_type = n++ % 2 == 0 ? DType::f32 : type;
    TypedMap in(type, c.images, c.in, Rect::whole(c.input), c.input, in_room);
    in.fill(values);
    TypedMap out(out_type, c.images, c.out, Rect::whole(extent), extent, out_room);
    compute(on_device, kernel, shape, in.on_device(), out.on_device());
    EXPECT_TRUE(out.only_elements_touched()) << text;
    EXPECT_TRUE(exact(out, expected)) << text;
  });
}

TEST_P(TensorCoreConv, RealsAreWithinTheBoundAndTheirBitsDependOnNothingElse) {
  HALOTILE_NEEDS_GPU();
  make(Data::reals);
  const auto matrix = tensor_core::matrix_layer(layer, element);
  ASSERT_TRUE(matrix.has_value());
  const DeviceLayer on_device(layer, *matrix, c.window);
  const Extent2 extent = output_extent(c.window, c.input);
  const DType type = map_type(element);
  TypedMap in(type, c.images, c.in, Rect::whole(c.input), c.input, Room::wide);
  in.fill(values);
  const std::int64_t length = layer.weight.size() / static_cast<std::size_t>(c.out);

  for (const ProductKernel& kernel : product_kernels) {
    const auto first = first_shape(kernel, on_device.matrix);
    if (!kernel.usable(device().index()) || !first) continue;
    TypedMap whole(type, c.images, c.out, Rect::whole(extent), extent, Room::dense);
    compute(on_device, kernel, *first, in.on_device(), whole.on_device());
    ASSERT_TRUE(within(whole, expected, length)) << kernel.name;
    for (const BlockShape shape : kernel.shapes()) {
      if (!kernel.fits(on_device.matrix, shape)) continue;
      const std::string text = text_of(kernel, shape);
      TypedMap out(type, c.images, c.out, Rect::whole(extent), extent, Room::wide);
      // Tiles of uneven sizes, each from a view of what it needs, into views of the map.
      for (const Rect& tile : uneven_tiles(extent)) {
        const Rect needed = needed_rect(c.window, c.input, tile);
        if (needed.empty()) continue;
        const ConstMapView tile_in = subview(ConstMapView(in.on_device()), {0, c.images}, needed);
        compute(on_device, kernel, shape, tile_in, subview(out.on_device(), {0, c.images}, tile));
      }
      EXPECT_TRUE(out.only_elements_touched()) << text;
      EXPECT_TRUE(same_bits(out, whole)) << text << ", tiles";
      if (kernel.batches) {  // the same tiles in one launch
        TypedMap together(type, c.images, c.out, Rect::whole(extent), extent, Room::wide);
        std::vector<Buffer> packed;
        std::vector<MatrixCall> calls;
        for (const Rect& tile : uneven_tiles(extent)) {
          const Rect needed = needed_rect(c.window, c.input, tile);
          if (needed.empty()) continue;
          calls.push_back(
              product_of(on_device, shape, subview(ConstMapView(in.on_device()), {0, c.images}, needed),
                         subview(together.on_device(), {0, c.images}, tile), packed.emplace_back()));
        }
        const tensor_core::WgmmaBatch batch(device(), on_device.matrix, calls, shape);
        batch.run(stream().handle());
        stream().synchronize();
        EXPECT_TRUE(together.only_elements_touched()) << text;
        EXPECT_TRUE(same_bits(together, whole)) << text << ", tiles in one launch";
      }
      // Images one by one, each from a map of its own.
      TypedMap single(type, c.images, c.out, Rect::whole(extent), extent, Room::odd);
      for (std::int64_t image = 0; image < c.images; ++image) {
        compute(on_device, kernel, shape,
                subview(ConstMapView(in.on_device()), {image, image + 1}, Rect::whole(c.input)),
                subview(single.on_device(), {image, image + 1}, Rect::whole(extent)));
      }
      EXPECT_TRUE(single.only_elements_touched()) << text;
      EXPECT_TRUE(same_bits(single, whole)) << text << ", single images";
    }
  }
}

const ConvCase small_cases[] = {
    {"Pointwise", 64, 96, 1, window({1, 1}), {9, 11}},
    {"ThreeByThree", 64, 64, 1, window({3, 3}, {1, 1}, {1, 1}), {9, 11}, 2, true, true},
    {"Groups", 96, 40, 2, window({5, 5}, {1, 1}, {2, 2}), {7, 9}, 2, true, true},
    {"FewChannels", 3, 96, 1, window({11, 11}, {4, 4}, {2, 2}), {43, 51}},
};

const ConvCase cases[] = {
    {"OneOutput", 64, 1, 1, window({3, 3}, {1, 1}, {1, 1}), {8, 8}},
    {"EightOutputs", 32, 8, 1, window({3, 3}), {8, 9}, 3, false},
    {"TwentyOutputs", 40, 20, 1, window({3, 3}, {1, 1}, {1, 1}), {7, 13}},
    {"ManyOutputs", 16, 256, 1, window({3, 3}, {1, 1}, {1, 1}), {6, 7}},
    {"OddOutputs", 48, 130, 1, window({1, 1}), {6, 7}, 3, true, true},
    {"EightChannels", 8, 24, 1, window({3, 3}, {1, 1}, {1, 1}), {9, 10}},
    {"SixteenChannels", 16, 32, 1, window({3, 3}, {1, 1}, {1, 1}), {9, 10}},
    {"TwentyFourChannels", 24, 32, 1, window({3, 3}, {1, 1}, {1, 1}), {9, 10}},
    {"NinetySixChannels", 96, 64, 1, window({3, 3}, {1, 1}, {1, 1}), {9, 10}},
    {"HundredChannels", 100, 36, 1, window({3, 3}, {1, 1}, {1, 1}), {8, 9}},
    {"ManyChannels", 192, 72, 1, window({3, 3}, {1, 1}, {1, 1}), {6, 9}},
    {"StrideTwo", 64, 48, 1, window({3, 3}, {2, 2}, {1, 1}), {17, 20}},
    {"StrideThree", 32, 48, 1, window({2, 2}, {3, 3}), {17, 20}},
    {"StrideAboveKernel", 32, 48, 1, window({1, 1}, {2, 2}), {15, 18}},
    {"Dilation", 32, 48, 1, window({3, 3}, {1, 1}, {2, 2}, {2, 2}), {11, 9}},
    {"NotSquare", 40, 48, 1, window({1, 5}, {1, 1}, {0, 2}), {9, 12}},
    {"NotSquareStride", 32, 48, 1, window({3, 2}, {2, 1}, {1, 0}, {1, 3}), {13, 12}},
    {"FewChannelsManyRows", 3, 64, 1, window({11, 11}, {4, 4}, {2, 2}), {75, 79}, 3, true, true},
    {"FewSevenByTwo", 3, 64, 1, window({7, 7}, {2, 2}, {3, 3}), {23, 30}},
    {"FewThreeByThree", 3, 64, 1, window({3, 3}, {1, 1}, {1, 1}), {12, 14}},
    {"FewDilated", 3, 24, 1, window({3, 3}, {1, 1}, {2, 2}, {2, 2}), {12, 14}},
    {"OneChannel", 1, 24, 1, window({5, 5}, {1, 1}, {2, 2}), {12, 14}},
    {"FewMixedStride", 5, 24, 1, window({3, 4}, {2, 1}, {1, 2}), {12, 14}},
    {"VisionTransformer", 3, 64, 1, window({16, 16}, {16, 16}), {48, 80}},
    {"FourGroups", 96, 64, 4, window({3, 3}, {1, 1}, {1, 1}), {7, 9}},
    {"OddGroups", 60, 60, 3, window({3, 3}, {1, 1}, {1, 1}), {7, 9}},
    {"LargePadding", 32, 32, 1, window({5, 5}, {1, 1}, {4, 4}), {3, 2}},
    {"OnePosition", 64, 32, 1, window({3, 3}), {3, 3}, 1},
};

std::string conv_name(const ::testing::TestParamInfo<ConvParam>& instance) {
  return std::get<0>(instance.param).name + element_name(std::get<1>(instance.param));
}
const auto all_elements = ::testing::Values(Element::bf16, Element::f16, Element::tf32, Element::f32);

INSTANTIATE_TEST_SUITE_P(Small, TensorCoreConv,
                         ::testing::Combine(::testing::ValuesIn(small_cases), all_elements), conv_name);
INSTANTIATE_TEST_SUITE_P(All, TensorCoreConv, ::testing::Combine(::testing::ValuesIn(cases), all_elements),
                         conv_name);

// ---- infinities and NaN ----

// Some in the input: behind the first window (beside it, inside another), and two infinities of different
// signs, some of whose windows hold both.
void put_non_finite(const ConvCase& c, std::vector<float>& values) {
  const auto at = [&](std::int64_t image, std::int64_t row, std::int64_t col,
                      std::int64_t channel) -> float& {
    row = std::clamp<std::int64_t>(row, 0, c.input.height - 1);
    col = std::clamp<std::int64_t>(col, 0, c.input.width - 1);
    return values[static_cast<std::size_t>(((image * c.input.height + row) * c.input.width + col) * c.in +
                                           channel)];
  };
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const Extent2 k = c.window.kernel;
  at(0, k.height - c.window.padding.begin.height, k.width - c.window.padding.begin.width, 0) =
      std::numeric_limits<float>::quiet_NaN();
  at(1, c.input.height / 2, c.input.width / 2, c.in - 1) = infinity;
  at(1, c.input.height / 2 + 1, c.input.width / 2 + c.window.stride.width, 0) = -infinity;
}

// Where the definition has an infinity or NaN the map has it, elsewhere the bits of `cleared`, whose input
// had zeros in their place.
::testing::AssertionResult non_finite_as_defined(const TypedMap& map, const std::vector<Sum>& expected,
                                                 const std::vector<float>& cleared, bool relu) {
  const std::vector<float> found = map.read();
  for (std::size_t n = 0; n < found.size(); ++n) {
    const double sum = expected[n].value;
    const double want = std::isfinite(sum) ? cleared[n] : relu && sum < 0 ? 0 : sum;
    const bool same = std::isnan(want) ? std::isnan(found[n]) : found[n] == static_cast<float>(want);
    if (!same)
      return ::testing::AssertionFailure() << map.where(n) << " is " << found[n] << " instead of " << want;
  }
  return ::testing::AssertionSuccess();
}

class TensorCoreNonFinite : public ::testing::TestWithParam<ConvParam> {};

TEST_P(TensorCoreNonFinite, ReachTheirWindowsAloneInEveryShapeWholeAndInTiles) {
  HALOTILE_NEEDS_GPU();
  const auto& [c, element] = GetParam();
  const std::vector<float> weight =
      make_values(Data::integers, element, c.out * (c.in / c.groups) * c.window.kernel.area(), 1);
  const std::vector<float> bias = make_values(Data::integers, Element::tf32, c.out, 2);
  const Conv2d layer{c.in, c.out, c.groups, c.window, c.relu, Parameter(weight), Parameter(bias)};
  const auto matrix = tensor_core::matrix_layer(layer, element);
  ASSERT_TRUE(matrix.has_value());
  const DeviceLayer on_device(layer, *matrix, c.window);
  const Extent2 extent = output_extent(c.window, c.input);
  const DType type = map_type(element);
  std::vector<float> values = make_values(Data::reals, element, c.images * c.input.area() * c.in, 3);
  put_non_finite(c, values);
  Conv2d without_relu = layer;
  without_relu.relu = false;
  const std::vector<Sum> expected = sums(without_relu, c.images, c.input, values);
  TypedMap in(type, c.images, c.in, Rect::whole(c.input), c.input, Room::wide);
  in.fill(values);
  for (float& x : values) x = std::isfinite(x) ? x : 0.0F;
  TypedMap clear_in(type, c.images, c.in, Rect::whole(c.input), c.input, Room::wide);
  clear_in.fill(values);
  for_each_shape([&](const ProductKernel& kernel, BlockShape shape, const std::string& text) {
    if (!kernel.fits(on_device.matrix, shape)) return;
    const auto whole = [&](const TypedMap& from) {
      TypedMap out(type, c.images, c.out, Rect::whole(extent), extent, Room::wide);
      compute(on_device, kernel, shape, from.on_device(), out.on_device());
      EXPECT_TRUE(out.only_elements_touched()) << text;
      return out;
    };
    const std::vector<float> cleared = whole(clear_in).read();
    EXPECT_TRUE(non_finite_as_defined(whole(in), expected, cleared, c.relu)) << text;
    EXPECT_EQ(whole(clear_in).read(), cleared) << text << ", behind a run with infinities and NaN";
    TypedMap out(type, c.images, c.out, Rect::whole(extent), extent, Room::wide);
    const auto for_each_tile = [&](const TypedMap& to, const auto& work) {
      for (const Rect& tile : uneven_tiles(extent)) {
        const Rect needed = needed_rect(c.window, c.input, tile);
        if (needed.empty()) continue;
        work(subview(ConstMapView(in.on_device()), {0, c.images}, needed),
             subview(to.on_device(), {0, c.images}, tile));
      }
    };
    for_each_tile(out, [&](const ConstMapView& tile_in, const MapView& tile_out) {
      compute(on_device, kernel, shape, tile_in, tile_out);
    });
    EXPECT_TRUE(non_finite_as_defined(out, expected, cleared, c.relu)) << text << ", tiles";
    if (!kernel.batches) return;
    TypedMap together(type, c.images, c.out, Rect::whole(extent), extent, Room::wide);
    std::vector<Buffer> packed;
    std::vector<MatrixCall> calls;
    for_each_tile(together, [&](const ConstMapView& tile_in, const MapView& tile_out) {
      calls.push_back(product_of(on_device, shape, tile_in, tile_out, packed.emplace_back()));
    });
    const tensor_core::WgmmaBatch batch(device(), on_device.matrix, calls, shape);
    batch.run(stream().handle());
    stream().synchronize();
    EXPECT_TRUE(non_finite_as_defined(together, expected, cleared, c.relu))
        << text << ", tiles in one launch";
  });
}

const ConvCase non_finite_cases[] = {
    {"AlexNet", 3, 96, 1, window({11, 11}, {4, 4}, {2, 2}), {43, 51}, 2, true, true},
    {"ResNet", 3, 64, 1, window({7, 7}, {2, 2}, {3, 3}), {23, 30}},
    {"StrideAboveKernel", 3, 20, 1, window({2, 2}, {3, 3}), {17, 20}},
    {"MixedStride", 5, 24, 1, window({3, 4}, {2, 1}, {1, 2}), {12, 14}, 2, true, true},
    {"Groups", 96, 40, 2, window({5, 5}, {1, 1}, {2, 2}), {7, 9}},
    {"Dilation", 16, 48, 1, window({3, 3}, {1, 1}, {2, 2}, {2, 2}), {11, 9}},
};

INSTANTIATE_TEST_SUITE_P(Small, TensorCoreNonFinite,
                         ::testing::Combine(::testing::ValuesIn(non_finite_cases), all_elements), conv_name);

// ---- fully connected ----

struct FullyConnectedCase {
  std::string name;
  std::int64_t in = 0;
  std::int64_t out = 0;
  bool relu = false;

  friend void PrintTo(const FullyConnectedCase& c, std::ostream* to) { *to << c.name; }
};

class TensorCoreFullyConnected : public ::testing::TestWithParam<std::tuple<FullyConnectedCase, Element>> {};

TEST_P(TensorCoreFullyConnected, RowsAreRightAndIndependent) {
  HALOTILE_NEEDS_GPU();
  const auto& [c, element] = GetParam();
  constexpr std::int64_t most_images = 70;
  const DType type = map_type(element);
  const Rect point = Rect::whole({1, 1});
  for (const Data data : {Data::integers, Data::reals}) {
    const auto weight = make_values(data, element, c.in * c.out, 4);
    const auto bias = make_values(data, Element::tf32, c.out, 5);
    const FullyConnected layer{c.in, c.out, c.relu, Parameter(weight), Parameter(bias)};
    const DeviceLayer on_device(layer, tensor_core::matrix_layer(layer, element), Window{});
    const auto values = make_values(data, element, most_images * c.in, 6);
    TypedMap in(type, most_images, c.in, point, {1, 1}, Room::wide);
    in.fill(values);
    const std::int64_t some = std::max<std::int64_t>(c.out / 40, 1);  // every some-th output is checked
    const auto expected = sums(layer, most_images, values, some);
    for (const ProductKernel& kernel : product_kernels) {
      const auto first = first_shape(kernel, on_device.matrix);
      if (!kernel.usable(device().index()) || !first) continue;
      TypedMap all(DType::f32, most_images, c.out, point, {1, 1}, Room::odd);
      compute(on_device, kernel, *first, in.on_device(), all.on_device());
      EXPECT_TRUE(all.only_elements_touched()) << kernel.name;
      if (data == Data::integers) {
        EXPECT_TRUE(exact(all, expected, some)) << kernel.name;
      } else {
        EXPECT_TRUE(within(all, expected, c.in, some)) << kernel.name;
      }
      for (const BlockShape shape : kernel.shapes()) {
        if (!kernel.fits(on_device.matrix, shape)) continue;
        for (const Interval images :
             {Interval{69, 70}, Interval{11, 14}, Interval{20, 28}, Interval{30, 39}, Interval{0, 70}}) {
          const std::string text = text_of(kernel, shape) + ", " + std::to_string(images.size()) + " images";
          TypedMap out(DType::f32, most_images, c.out, point, {1, 1}, Room::dense);
          compute(on_device, kernel, shape, subview(ConstMapView(in.on_device()), images, point),
                  subview(out.on_device(), images, point));
          EXPECT_TRUE(same_bits(out, all, images)) << text;
        }
        TypedMap rounded(type, most_images, c.out, point, {1, 1}, Room::dense);
        rounded.fill(all.read());
        TypedMap out(type, most_images, c.out, point, {1, 1}, Room::dense);
        compute(on_device, kernel, shape, in.on_device(), out.on_device());
        const std::vector<float> found = out.read();
        std::int64_t differing = 0;
        for (std::int64_t n = 0; n < std::ssize(found); ++n)
          differing += found[static_cast<std::size_t>(n)] != rounded.filled(n / c.out, 0, 0, n % c.out);
        EXPECT_EQ(differing, 0) << kernel.name << ", in the map's type";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, TensorCoreFullyConnected,
    ::testing::Combine(::testing::Values(FullyConnectedCase{"To4096", 9216, 4096, true},
                                         FullyConnectedCase{"To1000", 4096, 1000},
                                         FullyConnectedCase{"To10", 4096, 10},
                                         FullyConnectedCase{"From100To10", 100, 10, true},
                                         FullyConnectedCase{"OddTo33", 391, 33}),
                       all_elements),
    [](const auto& instance) {
      return std::get<0>(instance.param).name + element_name(std::get<1>(instance.param));
    });

// ---- tf32 ----

// Inputs a quarter to half a unit below a value of tf32: cutting bits off would lose a unit of each.
TEST(TensorCoreTf32, InputsAreRoundedToNearest) {
  HALOTILE_NEEDS_GPU();
  constexpr std::int64_t in = 64;
  constexpr std::int64_t out = 72;
  constexpr std::int64_t images = 70;
  std::vector<float> weight = make_values(Data::reals, Element::tf32, in * out, 10);
  std::vector<float> nearest = make_values(Data::reals, Element::tf32, images * in, 11);
  for (float& w : weight) w = std::abs(w);  // of one sign, so that errors add up
  for (float& x : nearest) x = std::abs(x);
  std::vector<float> values = nearest;
  for (float& x : values) x *= 1 - 0x1p-12F;

  const FullyConnected layer{in, out, false, Parameter(weight), {}};
  const DeviceLayer on_device(layer, tensor_core::matrix_layer(layer, Element::tf32), Window{});
  const Rect point = Rect::whole({1, 1});
  TypedMap map(DType::f32, images, in, point, {1, 1}, Room::dense);
  map.fill(values);
  const std::vector<Sum> expected = sums(layer, images, nearest, 1);
  for (const ProductKernel& kernel : product_kernels) {
    const auto shape = first_shape(kernel, on_device.matrix);
    if (!kernel.usable(device().index()) || !shape) continue;
    TypedMap found(DType::f32, images, out, point, {1, 1}, Room::dense);
    compute(on_device, kernel, *shape, map.on_device(), found.on_device());
    EXPECT_TRUE(within(found, expected, in)) << kernel.name;
  }
}

// ---- f32 by three products ----

// The root of the mean square of the errors of split sums, and of plain f32 multiply-adds in one chain.
TEST(TensorCoreSplit, ErrorsAreNoLargerThanPlainFp32s) {
  HALOTILE_NEEDS_GPU();
  if (!tensor_core::has_wgmma(device().index())) GTEST_SKIP() << "this GPU has no wgmma";
  for (const std::int64_t in : {363, 1728, 2304, 9216}) {
    constexpr std::int64_t out = 128;
    constexpr std::int64_t images = 64;
    const auto weight = make_values(Data::unrounded, Element::f32, in * out, 8);
    const auto values = make_values(Data::unrounded, Element::f32, images * in, 9);
    const FullyConnected layer{in, out, false, Parameter(weight), {}};
    MatrixLayer matrix = tensor_core::matrix_layer(layer, Element::f32);
    matrix.segments = 1;  // one chain, as a convolution's
    const DeviceLayer on_device(layer, matrix, Window{});
    const Rect point = Rect::whole({1, 1});
    TypedMap map(DType::f32, images, in, point, {1, 1}, Room::dense);
    map.fill(values);
    TypedMap sums_map(DType::f32, images, out, point, {1, 1}, Room::dense);
    compute(on_device, product_kernels[1], {64, 64}, map.on_device(), sums_map.on_device());
    const std::vector<float> found = sums_map.read();
    double split = 0;
    double plain = 0;
    for (std::int64_t n = 0; n < images * out; ++n) {
      const float* x = values.data() + n / out * in;
      const float* w = weight.data() + n % out * in;
      double exact_sum = 0;
      float chain = 0;
      for (std::int64_t c = 0; c < in; ++c) {
        exact_sum += double{x[c]} * w[c];
        chain = std::fma(x[c], w[c], chain);
      }
      split += std::pow(found[static_cast<std::size_t>(n)] - exact_sum, 2);
      plain += std::pow(chain - exact_sum, 2);
    }
    std::printf("%ld terms: %.3g split, %.3g plain\n", static_cast<long>(in),
                std::sqrt(split / (images * out)), std::sqrt(plain / (images * out)));
    EXPECT_LE(split, plain) << in << " terms";
  }
}

// ---- packing ----

class TensorCorePacking : public ::testing::TestWithParam<ConvParam> {};

TEST_P(TensorCorePacking, EqualsTheDefinition) {
  HALOTILE_NEEDS_GPU();
  const auto& [c, element] = GetParam();
  const auto weight =
      std::vector<float>(static_cast<std::size_t>(c.out * (c.in / c.groups) * c.window.kernel.area()), 0.0F);
  const Conv2d layer{c.in, c.out, c.groups, c.window, false, Parameter(weight), {}};
  const auto matrix = tensor_core::matrix_layer(layer, element);
  ASSERT_TRUE(matrix.has_value());
  if (!matrix->packed) GTEST_SKIP() << "this element type needs no packing";
  const Extent2 extent = output_extent(c.window, c.input);
  const auto values = make_values(Data::unrounded, element, c.images * c.input.area() * c.in, 7);
  for (const DType type : {DType::f32, map_type(element)}) {
    for (const Room room : {Room::dense, Room::wide, Room::odd}) {
      TypedMap in(type, c.images, c.in, Rect::whole(c.input), c.input, room);
      in.fill(values);
      auto tiles = uneven_tiles(extent);
      tiles.push_back(Rect::whole(extent));
      std::erase_if(tiles, [&](const Rect& tile) { return needed_rect(c.window, c.input, tile).empty(); });
      // One by one, and twice all together: more than fit in a launch.
      std::vector<TypedMap> packed;
      std::vector<tensor_core::PackedTile> calls;
      for (int copy = 0; copy < 3; ++copy) {
        for (const Rect& tile : tiles) {
          const Extent2 packed_extent = matrix->packed_extent(tile.extent());
          const std::int64_t planes = matrix->split() ? 2 : 1;
          packed.emplace_back(map_type(element), planes * c.images,
                              matrix->groups * matrix->position_channels, Rect::whole(packed_extent),
                              packed_extent, Room::dense);
          const Rect needed = needed_rect(c.window, c.input, tile);
          calls.push_back({subview(ConstMapView(in.on_device()), {0, c.images}, needed), tile,
                           packed.back().on_device().data});
        }
      }
      const std::span<const tensor_core::PackedTile> all(calls);
      for (const PackedLayout layout : {PackedLayout::positions, PackedLayout::planes}) {
        for (const auto& call : all.first(tiles.size()))
          tensor_core::pack_input(*matrix, c.window, layout, call.in, call.out, call.packed,
                                  stream().handle());
        tensor_core::pack_input(*matrix, c.window, layout, all.last(2 * tiles.size()), stream().handle());
        stream().synchronize();
        for (std::size_t i = 0; i < calls.size(); ++i) {
          const Rect& tile = calls[i].out;
          const Rect needed = needed_rect(c.window, c.input, tile);
          const std::string text = to_string(tile) + " of " + std::string(to_string(type)) +
                                   (layout == PackedLayout::planes ? " in planes" : "");
          EXPECT_TRUE(packed[i].only_elements_touched()) << text;
          EXPECT_TRUE(equal(packed[i], packing(*matrix, c.window, layout, in, needed, tile, element)))
              << text;
        }
      }
    }
  }
}

const ConvCase packing_cases[] = {
    {"AlexNet", 3, 8, 1, window({11, 11}, {4, 4}, {2, 2}), {59, 63}},
    {"ResNet", 3, 8, 1, window({7, 7}, {2, 2}, {3, 3}), {30, 31}},
    {"Vgg", 3, 8, 1, window({3, 3}, {1, 1}, {1, 1}), {20, 33}},
    {"Wide", 3, 8, 1, window({3, 3}, {1, 1}, {1, 1}), {3, 2100}, 1},
    {"VisionTransformer", 3, 8, 1, window({16, 16}, {16, 16}), {32, 96}},
    {"OddChannels", 100, 8, 1, window({3, 3}, {2, 2}, {1, 1}), {9, 12}},
    {"FewOfTwoGroups", 16, 16, 2, window({3, 3}, {2, 2}, {1, 1}), {9, 12}},
    {"OddGroups", 60, 60, 3, window({3, 3}, {1, 1}, {1, 1}), {7, 9}},
    {"VeryManyChannels", 10001, 8, 1, window({1, 1}), {2, 3}},
};

INSTANTIATE_TEST_SUITE_P(All, TensorCorePacking,
                         ::testing::Combine(::testing::ValuesIn(packing_cases), all_elements), conv_name);

// ---- what is no product ----

class PlainConv : public ::testing::TestWithParam<ConvParam> {};

TEST_P(PlainConv, IsWithinTheBoundAndTilesEqualTheWhole) {
  HALOTILE_NEEDS_GPU();
  const auto& [c, element] = GetParam();
  const auto weight =
      make_values(Data::reals, element, c.out * (c.in / c.groups) * c.window.kernel.area(), 1);
  const auto bias = make_values(Data::reals, Element::tf32, c.out, 2);
  const Conv2d layer{c.in, c.out, c.groups, c.window, c.relu, Parameter(weight), Parameter(bias)};
  const auto values = make_values(Data::reals, element, c.images * c.input.area() * c.in, 3);
  const Buffer device_weight = device().copy_of(weight.data(), weight.size() * sizeof(float));
  const Buffer device_bias = device().copy_of(bias.data(), bias.size() * sizeof(float));
  const auto run = [&](const ConstMapView& in, const MapView& out) {
    tensor_core::plain_conv2d(layer, reinterpret_cast<const float*>(device_weight.data()),
                              reinterpret_cast<const float*>(device_bias.data()), in, out, stream().handle());
    stream().synchronize();
  };
  const Extent2 extent = output_extent(c.window, c.input);
  const DType type = map_type(element);
  TypedMap in(type, c.images, c.in, Rect::whole(c.input), c.input, Room::odd);
  in.fill(values);
  TypedMap whole(type, c.images, c.out, Rect::whole(extent), extent, Room::odd);
  run(in.on_device(), whole.on_device());
  EXPECT_TRUE(whole.only_elements_touched());
  EXPECT_TRUE(
      within(whole, sums(layer, c.images, c.input, values), c.in / c.groups * c.window.kernel.area()));
  TypedMap out(type, c.images, c.out, Rect::whole(extent), extent, Room::wide);
  for (const Rect& tile : uneven_tiles(extent)) {
    const Rect needed = needed_rect(c.window, c.input, tile);
    if (needed.empty()) continue;
    run(subview(ConstMapView(in.on_device()), {0, c.images}, needed),
        subview(out.on_device(), {0, c.images}, tile));
  }
  EXPECT_TRUE(out.only_elements_touched());
  EXPECT_TRUE(same_bits(out, whole));
}

const ConvCase plain_cases[] = {
    {"Depthwise", 20, 20, 20, window({3, 3}, {1, 1}, {1, 1}), {9, 11}, 2, true, true},
    {"DepthwiseStride", 12, 24, 12, window({3, 5}, {2, 1}, {1, 2}), {9, 11}},
    {"FewOfGroups", 18, 12, 6, window({3, 3}, {1, 1}, {2, 2}, {2, 2}), {9, 11}},
};

INSTANTIATE_TEST_SUITE_P(All, PlainConv, ::testing::Combine(::testing::ValuesIn(plain_cases), all_elements),
                         conv_name);

}  // namespace
}  // namespace halotile::testing
