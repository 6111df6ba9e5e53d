#include "pipeline/network/steps.hpp"

#include <algorithm>

namespace halotile {

std::vector<Step> lower(const Network& network, std::size_t first, std::size_t last,
                        const std::set<std::size_t>& keep, bool lrn_and_pool) {
  std::vector<Step> steps;
  std::size_t begin = first;  // identity layers so far belong to the next step
  for (std::size_t i = first; i < last; ++i) {
    const Layer& layer = network.layers[i];
    if (layer.identity()) {
      if (!steps.empty()) steps.back().last = begin = i + 1;
      continue;
    }
    // Kept from the step's layer on: through the identity layers between, all these outputs are the same.
    if (!steps.empty() && keep.lower_bound(steps.back().layer) == keep.lower_bound(i)) {
      const LayerKind before = network.layers[steps.back().layer].kind;
      const bool relu = layer.kind == LayerKind::relu && !steps.back().relu;
      if (lrn_and_pool && layer.kind == LayerKind::max_pool && before == LayerKind::lrn) {
        const Step lrn = steps.back();
        steps.back() = {i, lrn.first, i + 1, false, false, lrn.layer};
        begin = i + 1;
        continue;
      }
      if (relu && (before == LayerKind::conv || before == LayerKind::fully_connected)) {
        steps.back().relu = true;
        steps.back().last = begin = i + 1;
        continue;
      }
    }
    steps.push_back({i, begin, i + 1, false, false, {}});
    begin = i + 1;
  }
  if (steps.empty() && first < last) steps.push_back({last - 1, first, last, false, true, {}});
  return steps;
}

std::size_t value_end(const Network& network, const Step& step) {
  std::size_t end = step.last;
  while (end > step.layer + 1 && network.layers[end - 1].identity()) --end;
  return end;
}

DType output_type(const Network& network, std::size_t layer, DType map_type) {
  if (layer < network.spatial_layers()) return map_type;
  const auto behind = network.layers.begin() + static_cast<std::ptrdiff_t>(layer) + 1;
  const bool feeds = std::any_of(behind, network.layers.end(),
                                 [](const Layer& next) { return next.kind == LayerKind::fully_connected; });
  return feeds ? map_type : DType::f32;
}

std::vector<StageRange> per_conv_stages(const Network& network) {
  std::vector<StageRange> stages;
  const std::size_t end = network.spatial_layers();
  for (std::size_t i = 0; i < end; ++i) {
    const LayerKind kind = network.layers[i].kind;
    const bool starts = kind == LayerKind::conv || kind == LayerKind::max_pool ||
                        kind == LayerKind::avg_pool || kind == LayerKind::adaptive_avg_pool;
    if (stages.empty() || starts) {
      stages.push_back({i, i + 1});
    } else {
      stages.back().last = i + 1;
    }
  }
  return stages;
}

std::vector<StageRange> lrn_with_pools(const Network& network, std::vector<StageRange> stages) {
  for (std::size_t s = 0; s + 1 < stages.size(); ++s) {
    if (network.layers[stages[s + 1].first].kind != LayerKind::max_pool) continue;
    std::size_t lrn = stages[s].last - 1;
    while (lrn > stages[s].first && network.layers[lrn].identity()) --lrn;
    if (lrn == stages[s].first || network.layers[lrn].kind != LayerKind::lrn) continue;
    stages[s].last = stages[s + 1].first = lrn;
  }
  return stages;
}

std::vector<StageRange> fused_stages(const Network& network) {
  const std::size_t end = network.spatial_layers();
  if (end == 0) return {};
  return {{0, end}};
}

std::vector<StageRange> split_behind(std::vector<StageRange> stages, const std::vector<std::size_t>& layers) {
  for (const std::size_t layer : layers) {
    const auto stage = std::find_if(stages.begin(), stages.end(),
                                    [layer](StageRange s) { return s.first <= layer && layer + 1 < s.last; });
    if (stage == stages.end()) continue;
    const StageRange behind{layer + 1, stage->last};
    stage->last = layer + 1;
    stages.insert(stage + 1, behind);
  }
  return stages;
}

}  // namespace halotile
