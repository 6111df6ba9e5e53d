#include "pipeline/running/executor_support.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/engines/cpu/pointwise.hpp"
#include "pipeline/network/random.hpp"
#include "pipeline/network/steps.hpp"

namespace halotile::support {

Model::Model(Network network, std::uint64_t seed)
    : network_(std::move(network)), weights_(Weights::random(network_, seed)) {
  weights_.bind(network_);
}

Model::Model(const std::string& model_text, std::uint64_t seed) : Model(network_of(model_text), seed) {}

std::set<std::size_t> Model::all_layers() const {
  std::set<std::size_t> layers;
  for (std::size_t l = 0; l < network_.layers.size(); ++l) layers.insert(l);
  return layers;
}

std::int64_t Model::longest_sum() const {
  std::int64_t longest = 0;
  for (const Layer& l : network_.layers) {
    if (l.kind == LayerKind::conv)
      longest = std::max(longest, l.conv.in_channels / l.conv.groups * l.window.kernel.area());
  }
  return longest;
}

std::string to_string(const Way& way) {
  static const char* const kinds[] = {"whole", "size", "grid"};
  std::string stages;
  for (const StageRange& s : way.stages) stages += fmt::format(" [{}, {})", s.first, s.last);
  std::string keep;
  for (const std::size_t k : way.settings.keep) keep += fmt::format(" {}", k);
  return fmt::format("patch {} {}, stages{}, streams {}, {}, batch {}, sub_batch {} behind {} others, keep{}",
                     kinds[static_cast<int>(way.patch.kind)], halotile::to_string(way.patch.value), stages,
                     way.settings.streams, way.settings.storage == Storage::view ? "view" : "packed",
                     way.settings.batch, way.settings.sub_batch, way.settings.first_sub_batches.size(), keep);
}

Way whole_way(const Network& network, std::int64_t batch, const std::set<std::size_t>& keep) {
  Way way;
  way.stages = per_conv_stages(network);
  way.settings.batch = batch;
  way.settings.keep = keep;
  return way;
}

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
      way.stages = per_conv_stages(network);
      break;
    case 1:
      way.stages = fused_stages(network);
      break;
    default:
      for (std::size_t first = 0, end = network.spatial_layers(); first < end;) {
        const auto last =
            first + static_cast<std::size_t>(draw.integer(1, static_cast<std::int64_t>(end - first)));
        way.stages.push_back({first, last});
        first = last;
      }
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
  const std::vector<std::size_t> ends(way.settings.keep.begin(), way.settings.keep.end());
  return std::make_unique<Executor>(network,
                                    make_plan(network.geometry(), split_behind(way.stages, ends), way.patch),
                                    engine, way.settings);
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
  std::set<std::size_t> layers = keep;
  layers.insert(network.layers.size() - 1);
  for (const std::size_t layer : layers) {
    const StagePlan* owner = nullptr;
    std::int64_t number = -1;
    for (std::size_t s = 0; s < b.plan().size(); ++s) {
      if (b.plan()[s].range().last != layer + 1) continue;
      owner = &b.plan()[s];
      number = static_cast<std::int64_t>(s);
    }
    comparisons.push_back(compare(a.output(layer), b.output(layer), owner, number, 0));
    comparisons.back().layer = network.layers[layer].name;
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
