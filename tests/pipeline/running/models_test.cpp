// The shipped networks on smaller images, cut in every way: the reference engine's bits are those of the
// whole, and oneDNN's are counted.
#include <gtest/gtest.h>

#include <iostream>

#include "pipeline/network/steps.hpp"
#include "pipeline/running/executor_support.hpp"

namespace halotile {
namespace {

using support::compare_kept;
using support::differences;
using support::make_executor;
using support::Model;
using support::Way;

struct Shipped {
  std::string name;
  Extent2 input;      ///< smaller than the model's own, and uneven
  std::string until;  ///< the last layer of feature maps: fully connected layers would be most of the time
};

std::ostream& operator<<(std::ostream& out, const Shipped& c) { return out << c.name; }

class ShippedModel : public testing::TestWithParam<Shipped> {
 protected:
  [[nodiscard]] static Network network() {
    const auto file =
        std::filesystem::path(HALOTILE_SOURCE_DIR) / "configs" / "models" / (GetParam().name + ".yaml");
    return read_network(file, GetParam().input, GetParam().until);
  }
};

// Grids 1x1 to 8x8, even and uneven; sizes down to tiles smaller than the halo; all groupings, streams,
// storages.
std::vector<Way> ways_of(const Network& network) {
  std::vector<Way> ways;
#ifdef HALOTILE_SANITIZED
  const std::vector<std::int64_t> grids{3};
#else
  const std::vector<std::int64_t> grids{1, 2, 3, 4, 5, 6, 7, 8};
#endif
  for (const std::int64_t grid : grids) {
    Way way = support::whole_way(network, 1, {});
    way.patch = {PatchSpec::Kind::grid, {grid, grid % 3 + 1}};
    if (grid % 2 == 0) way.stages = fused_groups(network);
    way.settings.streams = static_cast<int>(grid);
    way.settings.storage = grid % 4 < 2 ? Storage::view : Storage::packed;
    way.settings.poison = true;
    ways.push_back(way);
  }
  Way small = support::whole_way(network, 1, {});
  small.patch = {PatchSpec::Kind::size, {16, 40}};
  small.settings.streams = 3;
  ways.push_back(small);
  small.stages = fused_groups(network);
  small.patch = {PatchSpec::Kind::grid, {3, 1}};
  small.settings.storage = Storage::packed;
  ways.push_back(small);
  return ways;
}

TEST_P(ShippedModel, ReferenceHasTheBitsOfTheWhole) {
  const Model model(network());
  const auto engine = make_reference_engine();
  const auto whole = make_executor(model, *engine, support::whole_way(model.network(), 1, {}));
  support::fill_input(*whole, 2);
  whole->run();
  for (const Way& way : ways_of(model.network())) {
    SCOPED_TRACE(to_string(way));
    const auto patched = make_executor(model, *engine, way);
    support::fill_input(*patched, 2);
    patched->run();
    const auto compared = compare_kept(model.network(), *whole, *patched, {});
    ASSERT_TRUE(support::all_equal(compared)) << differences(compared);
  }
}

TEST_P(ShippedModel, OneDnnIsMeasured) {
  const Model model(network());
  const auto engine = make_onednn_engine(DType::f32, 1);
  const auto whole = make_executor(model, *engine, support::whole_way(model.network(), 1, {}));
  support::fill_input(*whole, 2);
  whole->run();
  int equal = 0;
  const std::vector<Way> ways = ways_of(model.network());
  for (const Way& way : ways) {
    SCOPED_TRACE(to_string(way));
    const auto patched = make_executor(model, *engine, way);
    support::fill_input(*patched, 2);
    patched->run();
    const auto compared = compare_kept(model.network(), *whole, *patched, {});
    equal += support::all_equal(compared) ? 1 : 0;
    EXPECT_LT(compared[0].max_abs, 1e-4) << differences(compared);
  }
  std::cout << "             equal bits in " << equal << " of " << ways.size() << " ways\n";
}

std::vector<Shipped> shipped_models() {
  std::vector<Shipped> models{{"alexnet", {99, 119}, "pool5"},
                              {"alexnet_single_tower", {95, 119}, "pool5"},
                              {"alexnet_torchvision", {119, 95}, "avgpool"},
                              {"vit_patch_embed", {112, 96}, "patch_embed"},
                              {"digits", {32, 32}, ""}};
#ifndef HALOTILE_SANITIZED  // half a minute, and no kind of layer that the others do not have
  models.push_back({"vgg16", {56, 44}, "avgpool"});
#endif
  return models;
}

INSTANTIATE_TEST_SUITE_P(Models, ShippedModel, testing::ValuesIn(shipped_models()),
                         [](const testing::TestParamInfo<Shipped>& c) { return c.param.name; });

}  // namespace
}  // namespace halotile
