#include "pipeline/experiment/harvest.hpp"

#include <algorithm>
#include <span>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/pointwise.hpp"

namespace halotile {
namespace {

// Positions of a map behind which its copying looks whether it shall stop.
constexpr std::int64_t positions_between_looks = 4096;

// The map as float32 in PyTorch's order (N, C, H, W), behind what `values` holds.
void append_nchw(const ConstMapView& map, const MapShape& memory, std::vector<float>& values) {
  const std::int64_t area = memory.extent.area();
  const std::int64_t per_image = memory.elements();
  const std::size_t begin = values.size();
  values.resize(begin + static_cast<std::size_t>(map.images * per_image));
  std::vector<float> image(static_cast<std::size_t>(per_image));
  for (std::int64_t n = 0; n < map.images; ++n) {
    copy_map(subview(map, {n, n + 1}, map.rect),
             {dense_geometry(DType::f32, 1, map.channels, map.rect, map.whole), image.data()});
    float* const out = values.data() + begin + static_cast<std::size_t>(n * per_image);
    for (std::int64_t p = 0; p < area; ++p) {
      if (p % positions_between_looks == 0) throw_if_stopped();
      for (std::int64_t c = 0; c < memory.channels; ++c)
        out[c * area + p] = image[static_cast<std::size_t>(p * memory.channels + c)];
    }
  }
}

}  // namespace

Harvest::Harvest(const Session& session, Predictions& predictions)
    : session_(session),
      network_(session.network()),
      predictions_(predictions),
      logits_(collected(network_.logits())) {
  for (const auto& [name, file] : session.experiment().output.save) {
    const std::size_t index = saved_layer(network_, name);
    const Value& made = network_.out(index);
    saved_.push_back(collected(index));
    outputs_.push_back({name, {0, made.shape.channels}, {}});
    const Extent2 e = made.shape.extent;
    if (made.spatial) outputs_.back().shape.insert(outputs_.back().shape.end(), {e.height, e.width});
  }
}

Harvest::Collected Harvest::collected(std::size_t layer) const {
  return {layer, network_.out(layer).shape.elements(), {}};
}

void Harvest::collect(Executor& executor, Collected& collected) const {
  append_nchw(executor.output(collected.layer), network_.out(collected.layer).memory, collected.values);
}

void Harvest::take(Executor& executor) {
  ++samples_;
  for (Collected& s : saved_) collect(executor, s);
  if (predictions_.wanted()) collect(executor, logits_);
}

std::vector<float> Harvest::maps_first(const Collected& collected, std::int64_t maps) {
  const auto samples = static_cast<std::int64_t>(collected.values.size()) / (maps * collected.elements);
  std::vector<float> ordered;
  ordered.reserve(collected.values.size());
  for (std::int64_t m = 0; m < maps; ++m) {
    for (std::int64_t s = 0; s < samples; ++s) {
      const auto begin = collected.values.begin() + (s * maps + m) * collected.elements;
      ordered.insert(ordered.end(), begin, begin + collected.elements);
    }
  }
  return ordered;
}

void Harvest::predict(std::span<const std::int64_t> maps) {
  const auto count = static_cast<std::int64_t>(maps.size());
  const std::int64_t views = session_.input().views();
  for (std::int64_t m = 0; m < count; m += views) {
    std::vector<float> logits;  // (samples, views, classes)
    for (std::int64_t s = 0; s < samples_; ++s) {
      const auto begin = logits_.values.begin() + (s * count + m) * logits_.elements;
      logits.insert(logits.end(), begin, begin + views * logits_.elements);
    }
    predictions_.add(session_.input().name(maps[static_cast<std::size_t>(m)]), logits, samples_, views);
  }
}

void Harvest::finish_batch(std::span<const std::int64_t> maps) {
  const auto count = static_cast<std::int64_t>(maps.size());
  for (std::size_t i = 0; i < saved_.size(); ++i) {
    std::vector<float>& values = saved_[i].values;
    outputs_[i].shape[0] = count * samples_;
    outputs_[i].values = samples_ == 1 ? std::move(values) : maps_first(saved_[i], count);
    values.clear();
  }
  if (predictions_.wanted()) predict(maps);
  logits_.values.clear();
  images_ += count / session_.input().views();
  samples_ = 0;
}

}  // namespace halotile
