#include "program/command_plan.hpp"

#include <fmt/format.h>

#include "formats/image_list.hpp"
#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/engine_choice.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/plan_picture.hpp"
#include "program/replaced_files.hpp"

namespace halotile {
namespace {

nlohmann::json to_json(const Rect& rect) {
  if (rect.empty()) return nullptr;
  return {{"rows", {rect.rows.begin, rect.rows.end}}, {"cols", {rect.cols.begin, rect.cols.end}}};
}

nlohmann::json to_json(const Halo& halo) {
  return {{"top", halo.top}, {"left", halo.left}, {"bottom", halo.bottom}, {"right", halo.right}};
}

nlohmann::json to_json(Extent2 e) { return {e.height, e.width}; }

// Bytes of one image's rectangle of the map before a stage's layer `boundary`, in f32.
std::int64_t bytes(const StagePlan& stage, const Rect& rect, std::size_t boundary) {
  const auto& layers = stage.layers();
  const std::int64_t channels =
      boundary < layers.size() ? layers[boundary].in_channels : layers.back().out_channels;
  return 4 * rect.area() * channels;
}

// The largest rectangles that a tile holds between layers, one image, f32.
std::int64_t in_flight(const StagePlan& stage) {
  std::int64_t largest = 0;
  const Extent2 grid = stage.grid();
  for (std::int64_t row = 0; row < grid.height; ++row) {
    throw_if_stopped();
    for (std::int64_t column = 0; column < grid.width; ++column) {
      std::int64_t held = 0;
      for (std::size_t b = 1; b < stage.layers().size(); ++b) {
        held = std::max(held, bytes(stage, stage.needed(row, column, b), b) +
                                  bytes(stage, stage.needed(row, column, b + 1), b + 1));
      }
      largest = std::max(largest, held);
    }
  }
  return largest;
}

nlohmann::json tile_json(const StagePlan& stage, std::int64_t number, std::int64_t row, std::int64_t column) {
  nlohmann::json json{{"key", {{"stage", number}, {"row", row}, {"column", column}}},
                      {"packed_key", TileKey{0, number, row, column}.pack()},
                      {"core", to_json(stage.core(row, column))},
                      {"halo", to_json(stage.halo(row, column))},
                      {"flops", stage.flops(row, column)},
                      {"bytes_read", bytes(stage, stage.needed(row, column, 0), 0)},
                      {"bytes_written", bytes(stage, stage.core(row, column), stage.layers().size())},
                      {"layers", nlohmann::json::array()}};
  for (std::size_t l = 0; l < stage.layers().size(); ++l) {
    json["layers"].push_back({{"layer", stage.layers()[l].name},
                              {"needs", to_json(stage.needed(row, column, l))},
                              {"computes", to_json(stage.needed(row, column, l + 1))},
                              {"outside_image", to_json(stage.outside(row, column, l))}});
  }
  return json;
}

nlohmann::json stage_json(const StagePlan& stage, std::int64_t number) {
  nlohmann::json json{{"stage", number},
                      {"grid", to_json(stage.grid())},
                      {"input", to_json(stage.input_extent())},
                      {"output", to_json(stage.output_extent())},
                      {"flops", stage.flops()},
                      {"recomputed_flops", stage.recomputed_flops()},
                      {"in_flight_bytes", in_flight(stage)},
                      {"layers", nlohmann::json::array()},
                      {"tiles", nlohmann::json::array()}};
  for (std::size_t l = 0; l < stage.layers().size(); ++l) {
    const LayerWork work = stage.work(l);
    json["layers"].push_back({{"name", stage.layers()[l].name},
                              {"computed_positions", work.computed},
                              {"distinct_positions", work.distinct},
                              {"recomputed_share", work.recomputed_share()}});
  }
  const Extent2 grid = stage.grid();
  for (std::int64_t row = 0; row < grid.height; ++row) {
    throw_if_stopped();
    for (std::int64_t column = 0; column < grid.width; ++column) {
      json["tiles"].push_back(tile_json(stage, number, row, column));
    }
  }
  return json;
}

std::string stage_names(const StagePlan& stage) {
  const auto& layers = stage.layers();
  return layers.size() == 1 ? layers.front().name : layers.front().name + ".." + layers.back().name;
}

void print_plan(const std::vector<StagePlan>& plan, const Network& network, std::string_view engine) {
  std::vector<std::vector<std::string>> rows{{"stage", "layers", "output", "tiles", "largest core",
                                              "halo t/l/b/r", "GFLOP", "recomputed", "output map",
                                              "between layers"}};
  double flops = 0;
  double recomputed = 0;
  for (std::size_t s = 0; s < plan.size(); ++s) {
    const StagePlan& stage = plan[s];
    const Extent2 grid = stage.grid();
    Extent2 core;
    Halo halo;
    for (std::int64_t row = 0; row < grid.height; ++row) {
      throw_if_stopped();
      for (std::int64_t column = 0; column < grid.width; ++column) {
        const Extent2 e = stage.core(row, column).extent();
        core = {std::max(core.height, e.height), std::max(core.width, e.width)};
        const Halo h = stage.halo(row, column);
        halo = {std::max(halo.top, h.top), std::max(halo.left, h.left), std::max(halo.bottom, h.bottom),
                std::max(halo.right, h.right)};
      }
    }
    flops += stage.flops();
    recomputed += stage.recomputed_flops();
    const auto output_bytes =
        static_cast<std::size_t>(bytes(stage, Rect::whole(stage.output_extent()), stage.layers().size()));
    rows.push_back({fmt::format("{}", s), stage_names(stage), to_string(stage.output_extent()),
                    to_string(grid), to_string(core),
                    fmt::format("{}/{}/{}/{}", halo.top, halo.left, halo.bottom, halo.right),
                    fmt::format("{:.3f}", 1e-9 * stage.flops()),
                    percent(stage.flops() > 0 ? stage.recomputed_flops() / stage.flops() : 0),
                    bytes_text(output_bytes), bytes_text(static_cast<std::size_t>(in_flight(stage)))});
  }
  print_text("{}: input {} x {} channels, engine {}\n\n{}\n", network.name, to_string(network.input.extent),
             network.input.channels, engine, table(rows));
  double behind = 0;
  for (const Layer& layer : network.layers) behind += layer.spatial ? 0 : layer.flops;
  print_text(
      "work of one image: {} in stages, of it {} recomputed because of halos; {} behind the feature maps\n",
      flops_text(flops), percent(flops > 0 ? recomputed / flops : 0), flops_text(behind));
  print_text("halo: largest reach beyond a core's own share of the stage's input, top/left/bottom/right\n");
  print_text(
      "output map: one image, f32; between layers: what one tile holds inside the stage, one image, f32\n");
}

Image first_image(const Experiment& experiment, const Network& network) {
  Preprocess preprocess = experiment.preprocess;
  if (preprocess.crop == Extent2{0, 0}) preprocess.crop = network.input.extent;
  if (const auto* images = std::get_if<ImageInput>(&experiment.input.source)) {
    return resize_and_crop(read_image(list_images(images->paths).front()), preprocess);
  }
  // No photograph to draw on: a grey one.
  const Extent2 e = network.input.extent;
  return {e.height, e.width, std::vector<std::uint8_t>(static_cast<std::size_t>(e.area() * 3), 96)};
}

void check_stage(std::int64_t stage, const std::vector<StagePlan>& plan) {
  const auto stages = static_cast<std::int64_t>(plan.size());
  if (stages == 0)
    throw ConfigError("--stage, --image: the network has no spatial layers, and the plan no stages to draw");
  if (stage < 0 || stage >= stages)
    throw ConfigError(fmt::format("--stage {}: the plan has stages 0 to {}", stage, stages - 1));
}

}  // namespace

void CommandPlan::set_up(Options& options) {
  add_json(options);
  arguments_.add_to(options);
  options.path("--image", image_, "Draw cores, halos and keys of one stage on the first image (PNG)");
  options.number("--stage", stage_, "The stage to draw");
}

int CommandPlan::run() {
  const Experiment experiment = arguments_.experiment();
  if (!image_.empty())
    refuse_to_replace(files_of_config(arguments_.config, experiment, image_), "--image", image_);
  const Network network = load_network(experiment);
  const EngineEntry& engine = *select_engine(experiment).entry;
  const std::vector<StagePlan> plan = make_plan(
      network.geometry(),
      make_stages(experiment, network, saved_layers(experiment, network), engine.supports(LrnMaxPool{})),
      experiment.patch);
  if (!image_.empty() || stage_ != 0) check_stage(stage_, plan);
  if (!image_.empty()) {
    draw_plan(plan[static_cast<std::size_t>(stage_)], stage_, first_image(experiment, network), image_);
  }
  if (as_json()) {
    nlohmann::json json{
        {"command", "plan"},
        {"network", network.name},
        {"engine", engine.name()},
        {"input", {{"channels", network.input.channels}, {"extent", to_json(network.input.extent)}}},
        {"stages", nlohmann::json::array()},
        {"config", to_json(experiment)}};
    for (std::size_t s = 0; s < plan.size(); ++s)
      json["stages"].push_back(stage_json(plan[s], static_cast<std::int64_t>(s)));
    print_json(json);
    return exit_fine;
  }
  print_plan(plan, network, engine.name());
  if (!image_.empty()) print_text("drawn: {}\n", image_.string());
  return exit_fine;
}

}  // namespace halotile
