// What runs leave behind, batch by batch: predictions, and outputs of the layers that the experiment saves.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "pipeline/experiment/predictions.hpp"
#include "pipeline/experiment/session.hpp"
#include "pipeline/running/executor.hpp"

namespace halotile {

/// Outputs of one layer as float32 in PyTorch's order: (maps, channels, height, width), behind flatten (maps,
/// features). Of several dropout samples those of one map follow each other, and count as maps.
struct LayerOutput {
  std::string layer;  ///< as output.save calls it
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

class Harvest {
 public:
  /// Adds to `predictions`. Keeps references to both.
  Harvest(const Session& session, Predictions& predictions);

  /// Layers that the executor must keep besides those that are saved.
  [[nodiscard]] std::set<std::size_t> keep() const { return {logits_.layer}; }
  /// The layers of output.save, with the outputs that the last batch left there; none before the first.
  [[nodiscard]] std::span<const LayerOutput> outputs() const { return outputs_; }
  /// Takes the outputs of one run of a batch; with dropout, one sample after the other.
  void take(Executor& executor);
  /// Ends a batch: all samples of the maps of these numbers were taken.
  void finish_batch(std::span<const std::int64_t> maps);

  /// Photographs (or random images, or arrays) so far.
  [[nodiscard]] std::int64_t images() const { return images_; }

 private:
  // A layer's outputs of the batch in work, (samples, maps, elements) in PyTorch's order.
  struct Collected {
    std::size_t layer = 0;
    std::int64_t elements = 0;  // per map
    std::vector<float> values;
  };

  [[nodiscard]] Collected collected(std::size_t layer) const;
  // The batch as (maps, samples, elements).
  [[nodiscard]] static std::vector<float> maps_first(const Collected& collected, std::int64_t maps);
  void collect(Executor& executor, Collected& collected) const;
  void predict(std::span<const std::int64_t> maps);

  const Session& session_;
  const Network& network_;
  Predictions& predictions_;
  Collected logits_;
  std::vector<Collected> saved_;
  std::vector<LayerOutput> outputs_;  // of saved_, in the same order
  std::int64_t samples_ = 0;          // of the batch in work
  std::int64_t images_ = 0;
};

}  // namespace halotile
