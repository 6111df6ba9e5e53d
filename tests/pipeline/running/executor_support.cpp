#include "pipeline/running/executor_support.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "kernels/engines/cpu/pointwise.hpp"
#include "pipeline/network/random.hpp"

namespace halotile::support {

Model::Model(Network network, std::uint64_t seed)
    : network_(std::move(network)), weights_(Weights::random(network_, seed)) {
  weights_.bind(network_);
}

Model::Model(const std::string& model_text, std::uint64_t seed) : Model(network_of(model_text), seed) {}

std::set<std::size_t> Model::all_layers() const {
  std::set<std::size_t> layers;
  for (std::size_t l = 0; l < network_.nodes.size(); ++l) layers.insert(l);
  return layers;
}

std::int64_t Model::longest_sum() const {
  std::int64_t longest = 0;
  for (const Node& node : network_.nodes) {
    if (const auto* const conv = node.as<Conv2d>())
      longest = std::max(longest, conv->in_channels / conv->groups * conv->window.kernel.area());
  }
  return longest;
}

std::string to_string(const Way& way) {
  static const char* const kinds[] = {"whole", "size", "grid"};
  std::string stages;
  for (const NodeGroup& s : way.stages) stages += fmt::format(" [{}]", fmt::join(s, ","));
  std::string keep;
  for (const std::size_t k : way.settings.keep) keep += fmt::format(" {}", k);
  return fmt::format("patch {} {}, stages{}, streams {}, {}, batch {}, sub_batch {} behind {} others, keep{}",
                     kinds[static_cast<int>(way.patch.kind)], halotile::to_string(way.patch.value), stages,
                     way.settings.streams, way.settings.storage == Storage::view ? "view" : "packed",
                     way.settings.batch, way.settings.sub_batch, way.settings.first_sub_batches.size(), keep);
}

Way whole_way(const Network& network, std::int64_t batch, const std::set<std::size_t>& keep) {
  Way way;
  way.stages = per_conv_groups(network);
  way.settings.batch = batch;
  way.settings.keep = keep;
  return way;
}

namespace {

NodeGroups random_groups(Draw& draw, const Network& network) {
  std::vector<std::size_t> firsts;
  for (std::size_t first = 0, end = network.spatial_nodes(); first < end;) {
    firsts.push_back(first);
    first += static_cast<std::size_t>(draw.integer(1, static_cast<std::int64_t>(end - first)));
  }
  return groups_from(network, firsts);
}

}  // namespace

Way random_way(Draw& draw, const Network& network, std::int64_t batch, const std::set<std::size_t>& keep,
               int max_streams) {
  Way way;
  const auto edge = [&](std::int64_t high) { return draw.integer(1, high); };
  switch (draw.integer(0, 5)) {
    case 0:
      break;
    case 1:
    case 2:
      way.patch = {PatchSpec::Kind::size, {edge(12), edge(12)}};
      break;
    default:
      way.patch = {PatchSpec::Kind::grid, {edge(8), edge(8)}};
      break;
  }
  switch (draw.integer(0, 2)) {
    case 0:
      way.stages = per_conv_groups(network);
      break;
    case 1:
      way.stages = fused_groups(network);
      break;
    default:
      way.stages = random_groups(draw, network);
      break;
  }
  way.settings.batch = batch;
  way.settings.keep = keep;
  way.settings.streams = static_cast<int>(draw.integer(1, max_streams));
  way.settings.sub_batch = draw.integer(0, batch);
  if (draw.once_in(3)) way.settings.first_sub_batches = {draw.integer(1, batch)};
  way.settings.storage = draw.once_in(2) ? Storage::view : Storage::packed;
  way.settings.poison = true;
  return way;
}

std::unique_ptr<Executor> make_executor(const Model& model, Engine& engine, const Way& way) {
  const Network& network = model.network();
  const std::set<std::size_t>& keep = way.settings.keep;
  const std::vector<StageValues> stages = stages_of(network, split_behind(way.stages, keep), keep);
  return std::make_unique<Executor>(network, make_plan(network.geometry(), stages, way.patch), engine,
                                    way.settings);
}

void fill_input(const Executor& executor, std::uint64_t seed) {
  const MapView input = executor.input();
  const RandomSequence sequence(seed, "input");
  std::vector<float> values(static_cast<std::size_t>(input.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = sequence.uniform(i);
  copy_map({dense_geometry(DType::f32, input.images, input.channels, input.rect, input.whole), values.data()},
           input);
}

std::vector<Comparison> compare_kept(const Network& network, const Executor& a, const Executor& b,
                                     const std::set<std::size_t>& keep) {
  std::vector<Comparison> comparisons;
  std::set<std::size_t> nodes = keep;
  for (const std::size_t value : network.outputs) nodes.insert(value - 1);
  for (const std::size_t node : nodes) {
    MapOwner owner;
    for (const StagePlan& stage : b.plan()) {
      for (const std::size_t output : stage.outputs()) {
        if (stage.number_in_graph(output) == node + 1) owner = {&stage, output};
      }
    }
    comparisons.push_back(compare(a.output(node), b.output(node), owner, 0));
    comparisons.back().layer = network.nodes[node].name;
  }
  return comparisons;
}

bool all_equal(const std::vector<Comparison>& comparisons) {
  return std::all_of(comparisons.begin(), comparisons.end(),
                     [](const Comparison& c) { return c.equal_bits(); });
}

std::string differences(const std::vector<Comparison>& comparisons) {
  std::string text;
  for (const Comparison& c : comparisons) {
    if (c.equal_bits()) continue;
    const FirstDifference& f = *c.first;
    text += fmt::format(
        "{}: {} of {} differ, max abs {}, first at image {} ({}, {}, {}) of tile ({}): {} for {}\n", c.layer,
        c.different, c.elements, c.max_abs, f.tile.image, f.row, f.column, f.channel,
        halotile::to_string(f.tile), f.got, f.expected);
  }
  return text;
}

class HookedEngine::Hooked final : public Operation {
 public:
  Hooked(HookedEngine& engine, std::string_view kind, std::unique_ptr<Operation> operation)
      : engine_(engine), kind_(kind), operation_(std::move(operation)) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override {
    if (engine_.hook_(kind_, engine_.calls_++, out)) operation_->run(in, out, context);
  }
  [[nodiscard]] std::size_t scratch_bytes() const override { return operation_->scratch_bytes(); }

 private:
  HookedEngine& engine_;
  std::string_view kind_;
  std::unique_ptr<Operation> operation_;
};

HookedEngine::HookedEngine(std::unique_ptr<Engine> inner, Hook hook)
    : inner_(std::move(inner)), hook_(std::move(hook)) {}
HookedEngine::~HookedEngine() = default;

std::unique_ptr<Operation> HookedEngine::make(const Op& op, std::span<const MapGeometry> in,
                                              const MapGeometry& out) {
  return std::make_unique<Hooked>(*this, name_of(op), inner_->prepare(op, in, out));
}

}  // namespace halotile::support
