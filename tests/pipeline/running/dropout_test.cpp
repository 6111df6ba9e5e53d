// Dropout masks: what is kept and how it is scaled, and that only seed, layer, sample, image and element
// decide. (Against NumPy and PyTorch: tests/cli/sampling_test.py and torch_test.py.)
#include "pipeline/running/dropout.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/engines/cpu/cpu_operations.hpp"
#include "patching/error.hpp"
#include "pipeline/network/random.hpp"

namespace halotile {
namespace {

Node dropout_node(const std::string& name, float p) {
  Node node;
  node.name = name;
  node.op = Dropout{p, true};
  return node;
}

// All ones through the layer, on a map of `shape`, from the batch's image `first_image` on.
std::vector<float> dropped(const Node& node, const MapShape& memory, const DropoutSample& sample,
                           const MapShape& shape, std::int64_t images, std::int64_t first_image = 0) {
  const std::unique_ptr<Engine> engine = make_reference_engine();
  const std::unique_ptr<Stream> stream = engine->device().make_stream();
  std::vector<float> in(static_cast<std::size_t>(images * shape.elements()), 1.0F);
  std::vector<float> out(in.size(), -1.0F);
  const MapGeometry geometry =
      dense_geometry(DType::f32, images, shape.channels, Rect::whole(shape.extent), shape.extent);
  const std::unique_ptr<Operation> operation = make_dropout(node, memory, sample, *engine);
  RunContext context{*stream, {}};
  context.first_image = first_image;
  operation->run(MapView{geometry, in.data()}, MapView{geometry, out.data()}, context);
  return out;
}

TEST(Dropout, KeepsAndScalesAsTheFormulaSays) {
  const MapShape shape{3, {4, 5}};
  const std::vector<float> out = dropped(dropout_node("drop", 0.3F), shape, {9, 2, {0, 17}}, shape, 2);
  const std::uint64_t of_sample = RandomSequence(9, "drop").bits(2);
  std::size_t at = 0;
  for (const std::uint64_t image : {0, 17}) {
    for (std::uint64_t position = 0; position < 20; ++position) {
      for (std::uint64_t c = 0; c < 3; ++c) {
        const std::uint64_t bits = RandomSequence(of_sample, image).bits(c * 20 + position) >> 40;
        const bool kept = static_cast<float>(bits) / 16777216.0F >= 0.3F;
        EXPECT_EQ(out[at++], kept ? 1.0F / (1.0F - 0.3F) : 0.0F) << image << " " << position << " " << c;
      }
    }
  }
}

TEST(Dropout, AFlattenedMapIsNumberedAsTheMap) {
  const MapShape map{3, {4, 5}};
  const DropoutSample sample{1, 0, {5}};
  // In memory both hold the same (row, column, channel) order.
  EXPECT_EQ(dropped(dropout_node("d", 0.5F), map, sample, {60, {1, 1}}, 1),
            dropped(dropout_node("d", 0.5F), map, sample, map, 1));
}

TEST(Dropout, SeedLayerSampleAndImageDecide) {
  const MapShape shape{8, {10, 10}};
  const auto with = [&](std::uint64_t seed, const std::string& name, std::int64_t sample,
                        std::int64_t image) {
    return dropped(dropout_node(name, 0.5F), shape, {seed, sample, {image}}, shape, 1);
  };
  const std::vector<float> one = with(1, "a", 0, 0);
  EXPECT_EQ(with(1, "a", 0, 0), one);
  EXPECT_NE(with(2, "a", 0, 0), one);
  EXPECT_NE(with(1, "b", 0, 0), one);
  EXPECT_NE(with(1, "a", 1, 0), one);
  EXPECT_NE(with(1, "a", 0, 1), one);
  EXPECT_EQ(dropped(dropout_node("a", 0.5F), shape, {1, 0, {7, 3, 0}}, shape, 1, 2), one)
      << "the third image of a batch";
}

TEST(Dropout, DropsTheShareAskedFor) {
  const MapShape shape{64, {32, 32}};
  for (const float p : {0.0F, 0.1F, 0.5F, 0.9F, 1.0F}) {
    const std::vector<float> out = dropped(dropout_node("d", p), shape, {3, 0, {0}}, shape, 1);
    const auto zeros = static_cast<double>(std::count(out.begin(), out.end(), 0.0F));
    EXPECT_NEAR(zeros / static_cast<double>(out.size()), p, 0.01) << p;
  }
}

// An engine whose maps the host cannot reach.
class FarDevice final : public Device {
 public:
  [[nodiscard]] std::string name() const override { return "far"; }
  [[nodiscard]] bool host_memory() const override { return false; }
  [[nodiscard]] Buffer allocate(std::size_t) override { return {}; }
  void check_room(std::size_t) const override {}
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override { return near_.make_stream(); }
  void upload(Stream&, void*, const void*, std::size_t) override {}
  void download(Stream&, void*, const void*, std::size_t) override {}
  void poison(const Buffer&, std::size_t) override {}

 private:
  CpuDevice near_;
};

class DistantEngine final : public CpuEngine {
 public:
  DistantEngine() : CpuEngine(1) {}
  [[nodiscard]] std::string_view name() const override { return "distant"; }
  [[nodiscard]] DType map_type() const override { return DType::f32; }
  [[nodiscard]] Device& device() override { return device_; }

 private:
  FarDevice device_;
};

TEST(Dropout, OtherDevicesSayThatTheyCannot) {
  DistantEngine engine;
  const DropoutSample sample;
  try {
    (void)make_dropout(dropout_node("drop6", 0.5F), {1, {1, 1}}, sample, engine);
    ADD_FAILURE() << "no error";
  } catch (const UnsupportedError& e) {
    EXPECT_STREQ(
        e.what(),
        "dropout: engine distant on far cannot sample dropout masks (layer drop6); use device: cpu, or "
        "leave dropout out");
  }
}

}  // namespace
}  // namespace halotile
