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

Extent2 extent_of(const json& value) {
  if (value.is_number()) return {value.get<std::int64_t>(), value.get<std::int64_t>()};
  return {value.at(0).get<std::int64_t>(), value.at(1).get<std::int64_t>()};
}

PatchSpec patch_spec_of(const json& patch) {
  if (patch.contains("grid")) return {PatchSpec::Kind::grid, extent_of(patch["grid"])};
  const json size = patch.value("size", json("whole"));
  if (size.is_string()) return {};
  return {PatchSpec::Kind::size, extent_of(size)};
}

StagesConfig stages_of(const json& patch) {
  const json stages = patch.value("stages", json("per_conv"));
  if (stages.is_array())
    return {StagesConfig::Kind::groups, stages.get<std::vector<std::vector<std::string>>>()};
  return {stages == "fused" ? StagesConfig::Kind::fused : StagesConfig::Kind::per_conv, {}};
}

// Of a resolved config, what geometry and the photograph need.
Experiment experiment_of(const json& config) {
  Experiment experiment;
  experiment.model = config.at("model").get<std::string>();
  experiment.until = config.value("until", "");
  const json input = config.value("input", json::object());
  if (input.contains("height")) {
    experiment.input.extent =
        Extent2{input["height"].get<std::int64_t>(), input.at("width").get<std::int64_t>()};
  }
  if (input.contains("images")) {
    ImageInput images;
    for (const json& path : input["images"]) images.paths.emplace_back(path.get<std::string>());
    experiment.input.source = images;
  }
  const json preprocess = config.value("preprocess", json::object());
  experiment.preprocess.resize = preprocess.value("resize", std::int64_t{0});
  if (preprocess.contains("crop")) experiment.preprocess.crop = extent_of(preprocess["crop"]);
  if (preprocess.value("interpolation", "bilinear") == "bicubic")
    experiment.preprocess.interpolation = Interpolation::bicubic;
  if (preprocess.value("resize_order", "pillow12") == "pillow12")  // stores from before the key
    experiment.preprocess.resize_order = ResizeOrder::pillow12;
  const json patch = config.value("patch", json::object());
  experiment.patch = patch_spec_of(patch);
  experiment.stages = stages_of(patch);
  const json output = config.value("output", json::object());
  experiment.output.save = output.value("save", std::map<std::string, std::string>());
  return experiment;
}

json axis_json(const StagePlan& stage, bool down) {
  json axis = json::array();
  const std::int64_t count = down ? stage.grid().height : stage.grid().width;
  for (std::int64_t i = 0; i < count; ++i) {
    const Rect needed = down ? stage.needed(i, 0, 0) : stage.needed(0, i, 0);
    const Halo halo = down ? stage.halo(i, 0) : stage.halo(0, i);
    const Interval needs = down ? needed.rows : needed.cols;
    axis.push_back({needs.begin, needs.end, needs.begin + (down ? halo.top : halo.left),
                    needs.end - (down ? halo.bottom : halo.right)});
  }
  return axis;
}

json stage_json(const StagePlan& stage) {
  const auto& layers = stage.layers();
  const std::string last = layers.size() == 1 ? "" : ".." + layers.back().name;
  return {{"name", layers.front().name + last},
          {"input", {stage.input_extent().height, stage.input_extent().width}},
          {"output", {stage.output_extent().height, stage.output_extent().width}},
          {"rows", axis_json(stage, true)},
          {"columns", axis_json(stage, false)}};
}

// The first photograph as the network sees it, small enough for a page.
json photograph(const Experiment& experiment, const Network& network) {
  const auto* const images = std::get_if<ImageInput>(&experiment.input.source);
  if (images == nullptr) return nullptr;
  Preprocess preprocess = experiment.preprocess;
  if (preprocess.crop == Extent2{0, 0}) preprocess.crop = network.input.extent;
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
    const std::vector<StageRange> stages = make_stages(experiment, network, saved_layers(experiment, network),
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
