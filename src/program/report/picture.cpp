#include "program/report/picture.hpp"

#include <fmt/format.h>

#include "formats/image.hpp"
#include "formats/image_list.hpp"
#include "kernels/engines/registry/registry.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/session.hpp"
#include "program/report/base64.hpp"

namespace halotile {
namespace {

using nlohmann::json;

constexpr std::int64_t longest_side = 512;  // of the photograph in the page, in pixels

json axis_json(const StagePlan& stage, bool down) {
  json axis = json::array();
  const std::int64_t count = down ? stage.grid().height : stage.grid().width;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::size_t input = stage.inputs().front();
    const Rect needed = down ? stage.needed(i, 0, input) : stage.needed(0, i, input);
    const Halo halo = down ? stage.halo(i, 0) : stage.halo(0, i);
    const Interval needs = down ? needed.rows : needed.cols;
    axis.push_back({needs.begin, needs.end, needs.begin + (down ? halo.top : halo.left),
                    needs.end - (down ? halo.bottom : halo.right)});
  }
  return axis;
}

json stage_json(const StagePlan& stage) {
  const Extent2 input = stage.graph().values[stage.inputs().front()].extent;
  const Extent2 output = stage.graph().values[stage.tiling()].extent;
  return {{"name", stage.name()},
          {"input", {input.height, input.width}},
          {"output", {output.height, output.width}},
          {"rows", axis_json(stage, true)},
          {"columns", axis_json(stage, false)}};
}

// The first photograph as the network sees it, small enough for a page.
json photograph(const Experiment& experiment, const Network& network) {
  const auto* const images = std::get_if<ImageInput>(&experiment.input.source);
  if (images == nullptr) return nullptr;
  Preprocess preprocess = experiment.preprocess;
  if (preprocess.crop == Extent2{0, 0}) preprocess.crop = network.input().extent;
  Image image = resize_and_crop(read_image(list_images(images->paths).front()), preprocess);
  const std::int64_t side = std::max(image.height, image.width);
  if (side > longest_side) {
    const auto shrunk = [&](std::int64_t e) { return std::max(std::int64_t{1}, e * longest_side / side); };
    image = resize(image, {shrunk(image.height), shrunk(image.width)}, Interpolation::bilinear);
  }
  return "data:image/png;base64," + base64(encode_png(image));
}

}  // namespace

json tile_picture(const PointRecord& point) {
  json picture{{"image", nullptr}, {"note", ""}, {"stages", json::array()}};
  try {
    const Experiment experiment = experiment_of(point.config);
    const Network network = load_network(experiment);
    const EngineEntry* const engine = find_engine(point.engine);
    const std::vector<StageValues> stages =
        make_stages(experiment, network, saved_layers(experiment, network),
                    engine != nullptr && engine->supports(LrnMaxPool{}));
    for (const StagePlan& stage : make_plan(network.geometry(), stages, experiment.patch))
      picture["stages"].push_back(stage_json(stage));
    picture["image"] = photograph(experiment, network);
    if (picture["image"].is_null())
      picture["note"] = "The input was no photograph, so the tiles are drawn on plain ground.";
  } catch (const Error& e) {
    picture["note"] = fmt::format("The picture is not complete: {}", e.what());
  } catch (const json::exception& e) {
    picture["note"] =
        fmt::format("The picture is not complete: the point's config is not readable ({})", e.what());
  }
  return picture;
}

}  // namespace halotile
