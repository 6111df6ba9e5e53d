// Comparing maps, and verify() from a config over several batches.
#include "pipeline/experiment/verify.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "formats/npy.hpp"
#include "patching/error.hpp"
#include "pipeline/network/random.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::message_of;
using support::TempFolder;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

ConstMapView line(const std::vector<float>& values) {
  const Extent2 extent{1, static_cast<std::int64_t>(values.size())};
  return {dense_geometry(DType::f32, 1, 1, Rect::whole(extent), extent), values.data()};
}

Comparison compare_values(const std::vector<float>& expected, const std::vector<float>& got) {
  return compare(line(expected), line(got), {}, 0);
}

TEST(Compare, EqualBitsAreEqualEvenForNan) {
  const std::vector<float> values{0.0F, -0.0F, 1.5F, infinity, nan};
  const Comparison c = compare_values(values, values);
  EXPECT_TRUE(c.equal_bits());
  EXPECT_EQ(c.elements, 5);
  EXPECT_EQ(c.max_abs, 0);
  EXPECT_EQ(c.max_ulp, 0U);
  EXPECT_FALSE(c.first);
}

TEST(Compare, AnyNanEqualsAnyOtherButThatOfAnUnwrittenElement) {
  const auto of_bits = [](std::uint32_t bits) { return std::bit_cast<float>(bits); };
  const float unwritten = of_bits(0xffffffffU);
  EXPECT_TRUE(compare_values({nan, -nan}, {of_bits(0x7fc12345U), nan}).equal_bits());
  EXPECT_EQ(compare_values({nan, nan}, {unwritten, nan}).different, 1);
  EXPECT_EQ(compare_values({unwritten}, {nan}).different, 1);
}

TEST(Compare, ZerosOfTwoSignsDifferInBitsOnly) {
  const Comparison c = compare_values({0.0F}, {-0.0F});
  EXPECT_FALSE(c.equal_bits());
  EXPECT_EQ(c.different, 1);
  EXPECT_EQ(c.max_abs, 0);
  EXPECT_EQ(c.max_rel, 0);
  EXPECT_EQ(c.max_ulp, 1U);
}

TEST(Compare, CountsStepsBetweenNeighbours) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(compare_values({1.0F}, {std::nextafter(1.0F, 2.0F)}).max_ulp, 1U);
  EXPECT_EQ(compare_values({tiny}, {-tiny}).max_ulp, 3U) << "over +0 and -0";
  EXPECT_EQ(compare_values({-1.0F}, {std::nextafter(-1.0F, -2.0F)}).max_ulp, 1U);
  EXPECT_EQ(compare_values({std::numeric_limits<float>::max()}, {infinity}).max_ulp, 1U);
}

TEST(Compare, NanAndInfinityAreInfinitelyFar) {
  for (const auto& [a, b] :
       {std::pair{1.0F, nan}, {nan, 1.0F}, {1.0F, infinity}, {infinity, 1.0F}, {infinity, -infinity}}) {
    const Comparison c = compare_values({a}, {b});
    EXPECT_EQ(c.different, 1);
    EXPECT_EQ(c.max_abs, std::numeric_limits<double>::infinity());
    EXPECT_EQ(c.max_rel, std::numeric_limits<double>::infinity());
  }
}

TEST(Compare, RelativeToTheExpectedValue) {
  const Comparison c = compare_values({4.0F, 0.5F}, {5.0F, 0.5F});
  EXPECT_EQ(c.max_abs, 1);
  EXPECT_EQ(c.max_rel, 0.25);
}

TEST(Compare, NamesTheFirstElementAndTheTileThatOwnsIt) {
  const GraphGeometry graph{{{"input", {6, 6}}, {"conv", {6, 6}}}, {{{}, 0, 1}}};
  const StagePlan plan =
      make_plan(graph, std::vector<StageValues>{{{1}, {1}, 1}}, {PatchSpec::Kind::grid, {3, 2}}).front();
  std::vector<float> a(2 * 6 * 6 * 2, 1.0F);
  std::vector<float> b = a;
  const auto at = [](std::size_t n, std::size_t y, std::size_t x, std::size_t c) {
    return ((n * 6 + y) * 6 + x) * 2 + c;
  };
  b[at(1, 4, 3, 1)] = 2.0F;
  b[at(1, 5, 0, 0)] = 9.0F;
  const MapGeometry g = dense_geometry(DType::f32, 2, 2, Rect::whole({6, 6}), {6, 6});
  const Comparison c = compare({g, a.data()}, {g, b.data()}, {&plan, 1}, 40);
  EXPECT_EQ(c.different, 2);
  ASSERT_TRUE(c.first);
  EXPECT_EQ(c.first->tile, (TileKey{41, 0, 2, 1}));
  EXPECT_EQ(c.first->row, 4);
  EXPECT_EQ(c.first->column, 3);
  EXPECT_EQ(c.first->channel, 1);
  EXPECT_EQ(c.first->expected, 1);
  EXPECT_EQ(c.first->got, 2);
  EXPECT_EQ(compare({g, a.data()}, {g, b.data()}, {}, 40).first->tile.stage, -1);
}

TEST(Compare, ReadsBf16) {
  const std::vector<Bfloat16> a{Bfloat16(1.0F), Bfloat16(2.0F)};
  const std::vector<Bfloat16> b{Bfloat16(1.0F), Bfloat16(2.015625F)};
  const MapGeometry g = dense_geometry(DType::bf16, 1, 1, Rect::whole({1, 2}), {1, 2});
  const Comparison c = compare({g, a.data()}, {g, b.data()}, {}, 0);
  EXPECT_EQ(c.different, 1);
  EXPECT_EQ(c.max_ulp, 1U);
  EXPECT_EQ(c.max_abs, 0.015625);
}

TEST(Compare, ReadsF16) {
  const auto of = [](std::uint16_t bits) {
    Float16 x;
    x.bits = bits;
    return x;
  };
  const std::vector<Float16> a{Float16(1.0F), Float16(2.0F), of(0x0001)};
  const std::vector<Float16> b{Float16(1.0F), of(Float16(2.0F).bits + 3), of(0x8001)};
  const MapGeometry g = dense_geometry(DType::f16, 1, 1, Rect::whole({1, 3}), {1, 3});
  const Comparison c = compare({g, a.data()}, {g, b.data()}, {}, 0);
  EXPECT_EQ(c.different, 2);
  EXPECT_EQ(c.max_ulp, 3U) << "-0 and +0 lie between the smallest numbers";
  EXPECT_EQ(c.max_abs, 3 * 0x1p-9);
  const MapGeometry other = dense_geometry(DType::bf16, 1, 1, Rect::whole({1, 3}), {1, 3});
  EXPECT_THROW((void)compare({g, a.data()}, {other, b.data()}, {}, 0), ShapeError);
}

TEST(Comparison, MergesBatches) {
  Comparison sum;
  Comparison a = compare_values({1.0F, 2.0F}, {1.0F, 2.0F});
  a.layer = "conv";
  sum.merge(a);
  EXPECT_TRUE(sum.equal_bits());
  Comparison b = compare(line({1.0F, 2.0F}), line({1.5F, 2.0F}), {}, 2);
  sum.merge(b);
  Comparison c = compare(line({1.0F}), line({4.0F}), {}, 4);
  c.layer = "conv";
  sum.merge(c);
  EXPECT_EQ(sum.layer, "conv");
  EXPECT_EQ(sum.elements, 5);
  EXPECT_EQ(sum.different, 2);
  EXPECT_EQ(sum.max_abs, 3);
  EXPECT_EQ(sum.first->tile.image, 2) << "the first of the first batch that differs";
}

const char* const verified_model =
    "input: {channels: 2, height: 9, width: 7}\nlayers:\n"
    "  - {type: conv, name: a, out_channels: 4, kernel: 3, padding: 1}\n"
    "  - {type: relu}\n"
    "  - {type: max_pool, name: p, kernel: 3, stride: 2}\n"
    "  - {type: conv, name: b, out_channels: 4, kernel: 3, padding: 1}\n"
    "  - {type: fully_connected, name: f, out_features: 6}\n"
    "  - {type: softmax, name: s}\n";

class Verify : public testing::Test {
 protected:
  Verification verify_with(const std::string& config, const std::string& model = verified_model) {
    folder_.write("m.yaml", model);
    return verify(Session(read_experiment(folder_.write("e.yaml", "model: m.yaml\n" + config), {})));
  }
  TempFolder folder_;
};

TEST_F(Verify, MergesAllBatchesOfAnArray) {
  std::vector<float> values(7 * 2 * 9 * 7);
  const RandomSequence sequence(1, "x");
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = sequence.uniform(i);
  write_npy(folder_.path() / "x.npy", std::vector<std::int64_t>{7, 2, 9, 7}, values);
  const Verification v = verify_with(
      "input: {file: x.npy, batch: 3}\nengine: reference\npatch: {grid: [2, 3]}\nstreams: 2\nsub_batch: 2\n");
  EXPECT_TRUE(v.equal_bits());
  EXPECT_EQ(v.images, 7);
  ASSERT_EQ(v.stages.size(), 3U);
  EXPECT_EQ(v.stages[0].layer, "relu1");
  EXPECT_EQ(v.stages[0].elements, 7 * 4 * 9 * 7);
  EXPECT_EQ(v.stages[1].layer, "p");
  EXPECT_EQ(v.stages[1].elements, 7 * 4 * 4 * 3);
  EXPECT_EQ(v.stages[2].layer, "b");
  EXPECT_EQ(v.logits.layer, "f");
  EXPECT_EQ(v.logits.elements, 7 * 6);
}

TEST_F(Verify, EqualForStagesStoragesAndSavedLayers) {
  for (const std::string stages : {"per_conv", "fused", "[[a, relu1], [p, b]]", "[[a], [b]]"}) {
    for (const std::string storage : {"view", "packed"}) {
      for (const std::string patch : {"size: 1", "size: [3, 5]", "grid: [4, 8]"}) {
        SCOPED_TRACE(stages + " " + storage + " " + patch);
        const Verification v = verify_with(
            "input: {random: 1, batch: 2}\nengine: reference\noutput: {save: {a: a.npy}}\n"
            "streams: 3\npatch: {" +
            patch + ", stages: " + stages + ", storage: " + storage + "}\n");
        EXPECT_TRUE(v.equal_bits());
        EXPECT_EQ(v.images, 2);
      }
    }
  }
}

// The logits of a network without a vector part lie in a map; softmax behind them is a stage of its own.
TEST_F(Verify, LogitsInAMapBelongToTheirOwnStage) {
  const Verification v = verify_with("input: {random: 1, batch: 1}\nengine: reference\npatch: {grid: 2}\n",
                                     "input: {channels: 2, height: 8, width: 8}\nlayers:\n"
                                     "  - {type: conv, name: a, out_channels: 4, kernel: 3}\n"
                                     "  - {type: softmax, name: s}\n");
  EXPECT_TRUE(v.equal_bits());
  EXPECT_EQ(v.logits.layer, "a");
  ASSERT_EQ(v.stages.size(), 2U);
  EXPECT_EQ(v.stages[0].layer, "a");
  EXPECT_EQ(v.stages[1].layer, "s");
}

struct SessionCase {
  std::string name;
  std::string config;
  std::string message;  // part of it
};

std::ostream& operator<<(std::ostream& out, const SessionCase& c) { return out << c.name; }

class RefusedSession : public testing::TestWithParam<SessionCase> {};

TEST_P(RefusedSession, SaysWhatAndWhatInstead) {
  const TempFolder folder;
  folder.write("m.yaml", verified_model);
  folder.write("empty/readme.txt", "no images here");
  const auto file = folder.write("e.yaml", "model: m.yaml\n" + GetParam().config);
  const std::string message =
      message_of<Error>(folder.path(), [&] { Session session(read_experiment(file, {})); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << "'" << message << "'";
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Sessions, RefusedSession,
    testing::Values(
        SessionCase{"cpu_engine_on_cuda", "input: {random: 1}\ndevice: 'cuda:1'\nengine: reference",
                    "engine: reference: runs on the CPU, but device is cuda:1; use engine: direct"},
        SessionCase{"cuda_engine_on_cpu", "input: {random: 1}\ndevice: cpu\nengine: direct",
                    "engine: direct: runs on CUDA GPUs, but device is cpu; set device: auto or cuda"},
        SessionCase{"no_such_gpu", "input: {random: 1}\ndevice: 'cuda:99'", "device: cuda:99: "},
        SessionCase{"precision_of_reference", "input: {random: 1}\nengine: reference\nprecision: bf16",
                    "precision: bf16: engine reference computes in fp32 only"},
        SessionCase{"precision_of_onednn", "input: {random: 1}\nprecision: tf32",
                    "precision: tf32: engine onednn has fp32 and bf16"},
        SessionCase{"unknown_until", "input: {random: 1}\nuntil: q", "network m has no layer 'q'"},
        SessionCase{"unknown_saved_layer", "input: {random: 1}\noutput: {save: {conv9: x.npy}}",
                    "network m has no layer 'conv9'"},
        SessionCase{"unknown_grouped_layer", "input: {random: 1}\npatch: {stages: [[a, q]]}",
                    "network m has no layer 'q'"},
        SessionCase{"groups_out_of_order", "input: {random: 1}\npatch: {stages: [[p], [a]]}",
                    "patch.stages: 'a' is out of order or behind the feature maps"},
        SessionCase{"group_behind_the_maps", "input: {random: 1}\npatch: {stages: [[a], [f]]}",
                    "patch.stages: 'f' is out of order"},
        SessionCase{"empty_group", "input: {random: 1}\npatch: {stages: [[a], []]}",
                    "patch.stages: a group is empty"},
        SessionCase{"no_groups", "input: {random: 1}\npatch: {stages: []}",
                    "patch.stages: the list is empty"},
        SessionCase{"photographs_of_two_channels", "input: {images: [empty/readme.txt]}",
                    "photographs have 3 channels, the network takes 2"},
        SessionCase{"no_images", "input: {images: [empty]}", "empty holds no images"},
        SessionCase{"missing_array", "input: {file: x.npy}", "x.npy"},
        SessionCase{"missing_model", "input: {random: 1}\nmodel: q.yaml", "model: stands twice"},
        SessionCase{"too_small_input", "input: {random: 1, height: 1, width: 1}",
                    "is larger than the padded input"}),
    [](const testing::TestParamInfo<SessionCase>& c) { return c.param.name; });

}  // namespace
}  // namespace halotile
