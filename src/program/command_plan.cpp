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

// Bytes of one image's rectangle of a value, in f32.
std::int64_t bytes(const StagePlan& stage, const Rect& rect, std::size_t value) {
  return 4 * rect.area() * stage.graph().values[value].channels;
}

// When each value that a tile holds inside the stage is of no more use: of outputs at once, since they are
// placed; of others when the last value that reads them is there.
std::vector<std::size_t> last_readers(const StagePlan& stage) {
  std::vector<std::size_t> last(stage.graph().values.size(), 0);
  for (const PlaneEdge& edge : stage.graph().edges) last[edge.from] = std::max(last[edge.from], edge.to);
  for (const std::size_t input : stage.inputs()) last[input] = 0;
  return last;
}

// The largest rectangles that a tile holds between layers, one image, f32: while a value is made, it and all
// that is still to be read. What the last layer makes lies in the map.
std::int64_t in_flight(const StagePlan& stage) {
  std::int64_t largest = 0;
  const Extent2 grid = stage.grid();
  const std::vector<std::size_t> last = last_readers(stage);
  for (std::int64_t row = 0; row < grid.height; ++row) {
    throw_if_stopped();
    for (std::int64_t column = 0; column < grid.width; ++column) {
      const auto held = [&](std::size_t value) {
        return bytes(stage, stage.needed(row, column, value), value);
      };
      for (const std::size_t now : stage.made()) {
        std::int64_t sum = 0;
        for (const std::size_t v : stage.made()) {
          if (v < now && last[v] >= now) sum += held(v);
        }
        if (sum > 0) largest = std::max(largest, sum + held(now));
      }
    }
  }
  return largest;
}

std::int64_t bytes_read(const StagePlan& stage, std::int64_t row, std::int64_t column) {
  std::int64_t sum = 0;
  for (const std::size_t v : stage.inputs()) sum += bytes(stage, stage.needed(row, column, v), v);
  return sum;
}

std::int64_t bytes_written(const StagePlan& stage, std::int64_t row, std::int64_t column) {
  std::int64_t sum = 0;
  for (const std::size_t v : stage.outputs()) sum += bytes(stage, stage.core(row, column, v), v);
  return sum;
}

// Over all inputs.
Halo halo_of(const StagePlan& stage, std::int64_t row, std::int64_t column) {
  Halo halo;
  for (const std::size_t v : stage.inputs()) {
    const Halo h = stage.halo(row, column, v);
    halo = {std::max(halo.top, h.top), std::max(halo.left, h.left), std::max(halo.bottom, h.bottom),
            std::max(halo.right, h.right)};
  }
  return halo;
}

// What a tile needs of each value that `value` is made of: an object, or of joins a list.
nlohmann::json of_inputs(const StagePlan& stage, std::size_t value, const auto& of_edge) {
  nlohmann::json all = nlohmann::json::array();
  for (std::size_t e = 0; e < stage.graph().edges.size(); ++e) {
    if (stage.graph().edges[e].to == value) all.push_back(of_edge(e));
  }
  return all.size() == 1 ? all.front() : all;
}

nlohmann::json tile_json(const StagePlan& stage, std::int64_t number, std::int64_t row, std::int64_t column) {
  nlohmann::json json{{"key", {{"stage", number}, {"row", row}, {"column", column}}},
                      {"packed_key", TileKey{0, number, row, column}.pack()},
                      {"core", to_json(stage.core(row, column))},
                      {"halo", to_json(halo_of(stage, row, column))},
                      {"flops", stage.flops(row, column)},
                      {"bytes_read", bytes_read(stage, row, column)},
                      {"bytes_written", bytes_written(stage, row, column)},
                      {"layers", nlohmann::json::array()}};
  for (const std::size_t v : stage.made()) {
    const auto needs = [&](std::size_t e) {
      return to_json(stage.needed(row, column, stage.graph().edges[e].from));
    };
    const auto outside = [&](std::size_t e) { return to_json(stage.outside(row, column, e)); };
    json["layers"].push_back({{"layer", stage.graph().values[v].name},
                              {"needs", of_inputs(stage, v, needs)},
                              {"computes", to_json(stage.needed(row, column, v))},
                              {"outside_image", of_inputs(stage, v, outside)}});
  }
  return json;
}

nlohmann::json stage_json(const StagePlan& stage, std::int64_t number) {
  nlohmann::json json{{"stage", number},
                      {"grid", to_json(stage.grid())},
                      {"input", to_json(stage.graph().values[stage.inputs().front()].extent)},
                      {"output", to_json(stage.graph().values[stage.tiling()].extent)},
                      {"flops", stage.flops()},
                      {"recomputed_flops", stage.recomputed_flops()},
                      {"in_flight_bytes", in_flight(stage)},
                      {"layers", nlohmann::json::array()},
                      {"tiles", nlohmann::json::array()}};
  for (const std::size_t v : stage.made()) {
    const LayerWork work = stage.value_work(v);
    json["layers"].push_back({{"name", stage.graph().values[v].name},
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
        const Halo h = halo_of(stage, row, column);
        halo = {std::max(halo.top, h.top), std::max(halo.left, h.left), std::max(halo.bottom, h.bottom),
                std::max(halo.right, h.right)};
      }
    }
    flops += stage.flops();
    recomputed += stage.recomputed_flops();
    const Extent2 output = stage.graph().values[stage.tiling()].extent;
    std::int64_t output_bytes = 0;
    for (const std::size_t v : stage.outputs())
      output_bytes += bytes(stage, Rect::whole(stage.graph().values[v].extent), v);
    rows.push_back({fmt::format("{}", s), stage.name(), to_string(output), to_string(grid), to_string(core),
                    fmt::format("{}/{}/{}/{}", halo.top, halo.left, halo.bottom, halo.right),
                    fmt::format("{:.3f}", 1e-9 * stage.flops()),
                    percent(stage.flops() > 0 ? stage.recomputed_flops() / stage.flops() : 0),
                    bytes_text(static_cast<std::size_t>(output_bytes)),
                    bytes_text(static_cast<std::size_t>(in_flight(stage)))});
  }
  print_text("{}: input {} x {} channels, engine {}\n\n{}\n", network.name, to_string(network.input().extent),
             network.input().channels, engine, table(rows));
  double behind = 0;
  for (std::size_t n = network.spatial_nodes(); n < network.nodes.size(); ++n)
    behind += network.nodes[n].flops;
  print_text(
      "work of one image: {} in stages, of it {} recomputed because of halos; {} behind the feature maps\n",
      flops_text(flops), percent(flops > 0 ? recomputed / flops : 0), flops_text(behind));
  print_text("halo: largest reach beyond a core's own share of the stage's input, top/left/bottom/right\n");
  print_text(
      "output map: one image, f32; between layers: what one tile holds inside the stage, one image, f32\n");
}

Image first_image(const Experiment& experiment, const Network& network) {
  Preprocess preprocess = experiment.preprocess;
  if (preprocess.crop == Extent2{0, 0}) preprocess.crop = network.input().extent;
  if (const auto* images = std::get_if<ImageInput>(&experiment.input.source)) {
    return resize_and_crop(read_image(list_images(images->paths).front()), preprocess);
  }
  // No photograph to draw on: a grey one.
  const Extent2 e = network.input().extent;
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
        {"input", {{"channels", network.input().channels}, {"extent", to_json(network.input().extent)}}},
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
