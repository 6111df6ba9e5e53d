#include "pipeline/running/traffic.hpp"

#include "pipeline/network/steps.hpp"

namespace halotile {
namespace {

double area(Rect rect) { return static_cast<double>(rect.extent().area()); }

double parameters(const Layer& layer) {
  if (layer.kind == LayerKind::conv)
    return static_cast<double>(layer.conv.weight.size() + layer.conv.bias.size());
  if (layer.kind == LayerKind::fully_connected)
    return static_cast<double>(layer.fully_connected.weight.size() + layer.fully_connected.bias.size());
  return 0;
}

// Values that a step's tiles read and write for one image.
double values_moved(const StagePlan& stage, const Step& step) {
  const std::size_t first = step.first - stage.range().first;
  const std::size_t last = step.last - stage.range().first;
  const auto in = static_cast<double>(stage.layers()[first].in_channels);
  const auto out = static_cast<double>(stage.layers()[last - 1].out_channels);
  double values = 0;
  for (std::int64_t r = 0; r < stage.grid().height; ++r) {
    for (std::int64_t c = 0; c < stage.grid().width; ++c)
      values += in * area(stage.needed(r, c, first)) + out * area(stage.needed(r, c, last));
  }
  return values;
}

}  // namespace

std::map<std::string, double> least_bytes(const Network& network, std::span<const StagePlan> plan,
                                          const Engine& engine, std::int64_t batch,
                                          const std::set<std::size_t>& keep) {
  const auto images = static_cast<double>(batch);
  const auto element = static_cast<double>(size_of(engine.map_type()));
  std::map<std::string, double> bytes;
  for (const StagePlan& stage : plan) {
    for (const Step& step :
         lower(network, stage.range().first, stage.range().last, keep, engine.supports(LrnMaxPool{}))) {
      const Layer& layer = network.layers[step.layer];
      const std::string name = step.lrn ? network.layers[*step.lrn].name + "+" + layer.name : layer.name;
      bytes[name] = element * (images * values_moved(stage, step) + parameters(layer));
    }
  }
  for (std::size_t l = network.spatial_layers(); l < network.layers.size(); ++l) {
    const Layer& layer = network.layers[l];
    const auto values = static_cast<double>(layer.in.channels * layer.in.extent.area() + layer.out.channels);
    bytes[layer.name] = element * (images * values + parameters(layer));
  }
  return bytes;
}

}  // namespace halotile
