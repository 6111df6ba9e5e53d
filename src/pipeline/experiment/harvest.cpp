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

Harvest::Harvest(const Session& session)
    : session_(session), network_(session.network()), predictions_(session) {
  const auto collected = [this](std::size_t layer) {
    return Collected{layer, network_.out(layer).shape.elements(), {}};
  };
  logits_ = collected(network_.logits());
  for (const auto& [name, file] : session.experiment().output.save) {
    const std::size_t index = name == "logits" ? logits_.layer : network_.index_of(name);
    const Value& value = network_.out(index);
    std::vector<std::int64_t> shape{value.shape.channels};
    if (value.spatial) shape.insert(shape.end(), {value.shape.extent.height, value.shape.extent.width});
    saved_.push_back({collected(index), NpyWriter(session.experiment().output.directory / file, shape)});
  }
}

void Harvest::collect(Executor& executor, Collected& collected) const {
  append_nchw(executor.output(collected.layer), network_.out(collected.layer).memory, collected.values);
}

void Harvest::take(Executor& executor) {
  ++samples_;
  for (Saved& s : saved_) collect(executor, s.collected);
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

void Harvest::finish_batch(std::span<const std::int64_t> maps) {
  const auto count = static_cast<std::int64_t>(maps.size());
  const std::int64_t views = session_.input().views();
  for (Saved& s : saved_) {
    s.file.append(samples_ == 1 ? s.collected.values : maps_first(s.collected, count));
    s.collected.values.clear();
  }
  for (std::int64_t m = 0; m < count && predictions_.wanted(); m += views) {
    std::vector<float> logits;  // (samples, views, classes)
    for (std::int64_t s = 0; s < samples_; ++s) {
      const auto begin = logits_.values.begin() + (s * count + m) * logits_.elements;
      logits.insert(logits.end(), begin, begin + views * logits_.elements);
    }
    predictions_.add(session_.input().name(maps[static_cast<std::size_t>(m)]), logits, samples_, views);
  }
  logits_.values.clear();
  images_ += count / views;
  samples_ = 0;
}

void Harvest::finish() {
  for (Saved& s : saved_) s.file.finish();
}

std::vector<std::string> Harvest::commit() {
  std::vector<std::string> paths;
  for (Saved& s : saved_) paths.push_back(s.file.commit());
  return paths;
}

}  // namespace halotile
