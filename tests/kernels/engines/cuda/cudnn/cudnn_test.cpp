// The cudnn engine against float64 sums: convolutions of whole maps and of tiles that see padding on some of
// their sides, in maps of any strides, and fully connected layers.
//
// As for tensor cores there are two kinds of data: small integers, whose sums are exact in any order, and
// random numbers, whose results must lie within (reduction length + 2) * unit * sum of |products| and the
// rounding to the maps' type; the unit is 2^-24 where products must be those of f32 numbers and 2^-22 on
// tensor cores. Everything around inputs and outputs is NaN. Tiles need not have the bits of the whole: how
// many elements differ is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iostream>

#include "kernels/engines/cuda/tensor_core/matrix_support.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"

namespace halotile::testing {
namespace {

using tensor_core::Element;

#define HALOTILE_NEEDS_CUDNN()                                                                   \
  do {                                                                                           \
    HALOTILE_NEEDS_GPU();                                                                        \
    if (!cudnn_state().obstacle.empty()) GTEST_SKIP() << "no cuDNN: " << cudnn_state().obstacle; \
  } while (false)

constexpr Precision precisions[] = {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16};

std::string precision_name(Precision precision) {
  const char* const names[] = {"Fp32", "Tf32", "Bf16", "Fp16"};
  return names[static_cast<std::size_t>(precision)];
}

// One for each precision: plans are kept from case to case. Never destroyed: cuDNN's own exit handlers would
// come first.
Engine& engine_of(Precision precision) {
  static auto* const engines = new std::array<std::unique_ptr<Engine>, 4>;
  auto& engine = engines->at(static_cast<std::size_t>(precision));
  if (engine == nullptr) {
    engine = make_cudnn_engine(device().index(), precision);
    std::cout << "cuDNN " << cudnn_state().version << "\n";
  }
  return *engine;
}

// Values that the precision's products do not round.
Element element_of(Precision precision) {
  return precision == Precision::bf16   ? Element::bf16
         : precision == Precision::fp16 ? Element::f16
                                        : Element::tf32;
}

void run(Operation& operation, const ConstMapView& in, const MapView& out, CudaStream& on) {
  Buffer scratch = device().allocate(operation.scratch_bytes());
  device().poison(scratch, 0);
  operation.run(in, out, {on, {scratch.data(), scratch.bytes()}});
  on.synchronize();
}

void convolve(Engine& engine, const Conv2d& layer, const ConstMapView& in, const MapView& out,
              CudaStream& on = stream()) {
  run(*engine.prepare(layer, in, out), in, out, on);
}

std::int64_t differing(const TypedMap& a, const TypedMap& b) {
  const std::vector<float> x = a.read();
  const std::vector<float> y = b.read();
  std::int64_t count = 0;
  for (std::size_t n = 0; n < x.size(); ++n) count += x[n] == y[n] ? 0 : 1;
  return count;
}

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

using ConvParam = std::tuple<ConvCase, Precision>;

class CudnnConv : public ::testing::TestWithParam<ConvParam> {
 protected:
  CudnnConv() : c(std::get<0>(GetParam())), precision(std::get<1>(GetParam())) {}

  // Layer, input and expected sums of one kind of data.
  void make(Data data) {
    const Element element = element_of(precision);
    if (data == Data::reals && precision == Precision::fp32) data = Data::unrounded;
    const std::int64_t weights = c.out * (c.in / c.groups) * c.window.kernel.area();
    bias = make_values(data, element, c.out, 2);
    layer = {c.in, c.out, c.groups, c.window, c.relu, Parameter(make_values(data, element, weights, 1)), {}};
    if (c.bias) layer.bias = Parameter(bias);
    values = make_values(data, element, c.images * c.input.area() * c.in, 3);
    expected = sums(layer, c.images, c.input, values);
    extent = output_extent(c.window, c.input);
    type = engine_of(precision).map_type();
  }

  [[nodiscard]] TypedMap input(Room room) const {
    TypedMap in(type, c.images, c.in, Rect::whole(c.input), c.input, room);
    in.fill(values);
    return in;
  }
  [[nodiscard]] TypedMap output(Room room) const {
    return {type, c.images, c.out, Rect::whole(extent), extent, room};
  }
  // cuDNN rounds an f32 bias to tf32 by adding half a unit to its bits, of which sums keep what is left:
  // 2^-137 beside a bias of 0, to be seen where a sum is 0.
  [[nodiscard]] float slack() const { return precision == Precision::tf32 ? 0x1p-126F : 0.0F; }
  // The map tile by tile: each from a view of what it needs, and no more, into a view of the map.
  void by_tiles(const TypedMap& in, const TypedMap& out) const {
    for (const Rect& tile : uneven_tiles(extent)) {
      const Rect needed = needed_rect(c.window, c.input, tile);
      convolve(engine_of(precision), layer, subview(ConstMapView(in.on_device()), {0, c.images}, needed),
               subview(out.on_device(), {0, c.images}, tile));
    }
  }
  [[nodiscard]] std::int64_t length() const { return c.in / c.groups * c.window.kernel.area() + 2; }
  [[nodiscard]] Tolerance tolerance() const {
    return {precision == Precision::fp32 ? 0x1p-24 : 0x1p-22, DType::f32};
  }

  const ConvCase& c;
  Precision precision;
  std::vector<float> bias;
  std::vector<float> values;
  Conv2d layer;
  std::vector<Sum> expected;
  Extent2 extent;
  DType type = DType::f32;
};

TEST_P(CudnnConv, IntegersAreExactWholeAndInTiles) {
  HALOTILE_NEEDS_CUDNN();
  make(Data::integers);
  for (const Room in_room : {Room::dense, Room::wide, Room::odd}) {
    const Room out_room = in_room == Room::wide ? Room::odd : in_room == Room::odd ? Room::dense : Room::wide;
    SCOPED_TRACE("input's room " + std::to_string(static_cast<int>(in_room)));
    const TypedMap in = input(in_room);
    const TypedMap whole = output(out_room);
    convolve(engine_of(precision), layer, in.on_device(), whole.on_device());
    EXPECT_TRUE(whole.only_elements_touched());
    EXPECT_TRUE(exact(whole, expected, 1, slack())) << engine_of(precision).note();
    const TypedMap tiled = output(out_room);
    by_tiles(in, tiled);
    EXPECT_TRUE(tiled.only_elements_touched()) << "tiles";
    EXPECT_TRUE(exact(tiled, expected, 1, slack())) << "tiles, " << engine_of(precision).note();
  }
}

TEST_P(CudnnConv, RealsAreWithinTheBoundWholeAndInTiles) {
  HALOTILE_NEEDS_CUDNN();
  make(Data::reals);
  const TypedMap in = input(Room::wide);
  const TypedMap whole = output(Room::dense);
  convolve(engine_of(precision), layer, in.on_device(), whole.on_device());
  EXPECT_TRUE(within(whole, expected, length(), 1, tolerance())) << engine_of(precision).note();
  const TypedMap again = output(Room::dense);
  convolve(engine_of(precision), layer, in.on_device(), again.on_device());
  EXPECT_TRUE(same_bits(again, whole)) << "the same call twice";
  const TypedMap tiled = output(Room::wide);
  by_tiles(in, tiled);
  EXPECT_TRUE(within(tiled, expected, length(), 1, tolerance())) << "tiles, " << engine_of(precision).note();
  std::cout << "tiles: " << differing(tiled, whole) << " of " << whole.geometry().elements()
            << " elements differ from the whole's\n";
}

const ConvCase cases[] = {
    {"Pointwise", 64, 96, 1, window({1, 1}), {9, 11}},
    {"ThreeByThree", 64, 64, 1, window({3, 3}, {1, 1}, {1, 1}), {9, 11}, 2, true, true},
    {"Groups", 96, 40, 2, window({5, 5}, {1, 1}, {2, 2}), {7, 9}, 2, true, true},
    {"FewChannels", 3, 96, 1, window({11, 11}, {4, 4}, {2, 2}), {43, 51}},
    {"OneOutput", 64, 1, 1, window({3, 3}, {1, 1}, {1, 1}), {8, 8}},
    {"NoBias", 32, 8, 1, window({3, 3}), {8, 9}, 3, false},
    {"NoBiasButRelu", 32, 8, 1, window({3, 3}), {8, 9}, 3, false, true},
    {"OddOutputs", 48, 130, 1, window({1, 1}), {6, 7}, 3, true, true},
    {"TwentyOutputs", 40, 20, 1, window({3, 3}, {1, 1}, {1, 1}), {7, 13}},
    {"ManyChannels", 256, 72, 1, window({3, 3}, {1, 1}, {1, 1}), {6, 9}},
    {"StrideTwo", 64, 48, 1, window({3, 3}, {2, 2}, {1, 1}), {17, 20}},
    {"StrideThree", 32, 48, 1, window({2, 2}, {3, 3}), {17, 20}},
    {"StrideAboveKernel", 32, 48, 1, window({1, 1}, {2, 2}), {15, 18}},
    {"Dilation", 32, 48, 1, window({3, 3}, {1, 1}, {2, 2}, {2, 2}), {11, 9}},
    {"NotSquare", 32, 48, 1, window({3, 2}, {2, 1}, {1, 0}, {1, 3}), {13, 12}, 2, true, true},
    {"FewThreeByThree", 3, 64, 1, window({3, 3}, {1, 1}, {1, 1}), {12, 14}},
    {"OneChannel", 1, 24, 1, window({5, 5}, {1, 1}, {2, 2}), {12, 14}},
    {"VisionTransformer", 3, 64, 1, window({16, 16}, {16, 16}), {48, 80}},
    {"OddGroups", 60, 60, 3, window({3, 3}, {1, 1}, {1, 1}), {7, 9}},
    {"Depthwise", 20, 20, 20, window({3, 3}, {1, 1}, {1, 1}), {9, 11}, 2, true, true},
    {"LargePadding", 32, 32, 1, window({5, 5}, {1, 1}, {4, 4}), {3, 2}},
    {"TilesOfPaddingAlone", 8, 24, 1, window({3, 3}, {1, 1}, {4, 4}), {5, 5}, 2, true, true},
    {"OnePosition", 64, 32, 1, window({3, 3}), {3, 3}, 1},
};

std::string conv_name(const ::testing::TestParamInfo<ConvParam>& instance) {
  return std::get<0>(instance.param).name + precision_name(std::get<1>(instance.param));
}

INSTANTIATE_TEST_SUITE_P(All, CudnnConv,
                         ::testing::Combine(::testing::ValuesIn(cases), ::testing::ValuesIn(precisions)),
                         conv_name);

// ---- streams and graphs ----

TEST(Cudnn, RunsOnSeveralStreamsAndInAGraph) {
  HALOTILE_NEEDS_CUDNN();
  Engine& engine = engine_of(Precision::bf16);
  const Window w = window({3, 3}, {1, 1}, {1, 1});
  constexpr Extent2 extent{13, 13};
  const auto weight = make_values(Data::reals, Element::bf16, 128 * 64 * 9, 1);
  const auto bias = make_values(Data::reals, Element::bf16, 128, 2);
  const Conv2d layer{64, 128, 1, w, true, Parameter(weight), Parameter(bias)};
  TypedMap in(DType::bf16, 4, 64, Rect::whole(extent), extent, Room::dense);
  in.fill(make_values(Data::reals, Element::bf16, 4 * 13 * 13 * 64, 3));
  const TypedMap first(DType::bf16, 4, 128, Rect::whole(extent), extent, Room::dense);
  convolve(engine, layer, in.on_device(), first.on_device());
  CudaStream other(device().index());
  const TypedMap second(DType::bf16, 4, 128, Rect::whole(extent), extent, Room::dense);
  convolve(engine, layer, in.on_device(), second.on_device(), other);
  EXPECT_TRUE(same_bits(second, first)) << "another stream";

  const TypedMap third(DType::bf16, 4, 128, Rect::whole(extent), extent, Room::dense);
  const auto operation = engine.prepare(layer, in.on_device(), third.on_device());
  const Buffer scratch = device().allocate(operation->scratch_bytes());
  std::vector<std::unique_ptr<Stream>> streams;
  streams.push_back(device().make_stream());
  Stream& captured = *streams.front();
  const auto queue = [&] {
    operation->run(in.on_device(), third.on_device(), {captured, {scratch.data(), scratch.bytes()}});
  };
  queue();  // as the executor does: what is loaded and made at the first run stays out of the graph
  captured.synchronize();
  const auto replay = device().capture(streams, queue);
  for (int n = 0; n < 3; ++n) replay->run(captured);
  captured.synchronize();
  EXPECT_TRUE(same_bits(third, first)) << "a replayed graph";
}

// ---- fully connected ----

struct FullyConnectedCase {
  std::string name;
  std::int64_t in = 0;
  std::int64_t out = 0;
  bool relu = false;

  friend void PrintTo(const FullyConnectedCase& c, std::ostream* to) { *to << c.name; }
};

class CudnnFullyConnected : public ::testing::TestWithParam<std::tuple<FullyConnectedCase, Precision>> {};

TEST_P(CudnnFullyConnected, IsWithinTheBoundForAnyBatch) {
  HALOTILE_NEEDS_CUDNN();
  const auto& [c, precision] = GetParam();
  constexpr std::int64_t most_images = 33;
  Engine& engine = engine_of(precision);
  const DType type = engine.map_type();
  const Rect point = Rect::whole({1, 1});
  const Element element = element_of(precision);
  const auto weight = make_values(Data::reals, element, c.in * c.out, 4);
  const auto bias = make_values(Data::reals, element, c.out, 5);
  const FullyConnected layer{c.in, c.out, c.relu, Parameter(weight), Parameter(bias), {0, c.out}};
  const auto values = make_values(Data::reals, element, most_images * c.in, 6);
  const std::int64_t some = std::max<std::int64_t>(c.out / 40, 1);  // every some-th output is checked
  for (const std::int64_t images : {std::int64_t{1}, most_images}) {
    TypedMap in(type, images, c.in, point, {1, 1}, Room::dense);
    in.fill({values.begin(), values.begin() + images * c.in});
    const auto expected = sums(layer, images, values, some);
    for (const DType out_type : {type, DType::f32}) {  // logits are f32
      const TypedMap out(out_type, images, c.out, point, {1, 1}, Room::dense);
      const auto operation = engine.prepare(layer, in.on_device(), out.on_device());
      run(*operation, in.on_device(), out.on_device(), stream());
      const Tolerance tolerance{precision == Precision::fp32 ? 0x1p-24 : 0x1p-22, type};
      EXPECT_TRUE(out.only_elements_touched());
      EXPECT_TRUE(within(out, expected, c.in + 2, some, tolerance))
          << images << " images, outputs of " << to_string(out_type) << "; " << engine.note();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CudnnFullyConnected,
    ::testing::Combine(::testing::Values(FullyConnectedCase{"To4096", 9216, 4096, true},
                                         FullyConnectedCase{"To1000", 4096, 1000},
                                         FullyConnectedCase{"From100To10", 100, 10, true},
                                         FullyConnectedCase{"OddTo33", 391, 33}),
                       ::testing::ValuesIn(precisions)),
    [](const auto& instance) {
      return std::get<0>(instance.param).name + precision_name(std::get<1>(instance.param));
    });

TEST(Cudnn, SaysWhatItUses) {
  HALOTILE_NEEDS_CUDNN();
  Engine& engine = engine_of(Precision::fp32);
  EXPECT_EQ(engine.name(), "cudnn");
  EXPECT_NE(engine.note().find("cuDNN " + cudnn_state().version), std::string::npos) << engine.note();
}

}  // namespace
}  // namespace halotile::testing
