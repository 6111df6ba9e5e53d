// What runs leave behind, batch by batch: predictions, and maps saved to .npy files that grow with the
// batches.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "formats/npy.hpp"
#include "pipeline/experiment/predictions.hpp"
#include "pipeline/experiment/session.hpp"
#include "pipeline/running/executor.hpp"

namespace halotile {

class Harvest {
 public:
  /// Opens the files of output.save under temporary names.
  explicit Harvest(const Session& session);

  /// Layers that the executor must keep.
  [[nodiscard]] std::set<std::size_t> keep() const { return {logits_.layer}; }
  /// Takes the outputs of one run of a batch of `maps` maps; with dropout, one sample after the other.
  void take(Executor& executor);
  /// Ends a batch: all samples of the maps of these numbers were taken.
  void finish_batch(std::span<const std::int64_t> maps);
  /// Forces the saved maps to the disk: the long part of commit(). Nothing is taken behind.
  void finish();
  /// Gives the saved maps their names; returns their paths.
  [[nodiscard]] std::vector<std::string> commit();

  /// Photographs (or random images, or arrays) so far.
  [[nodiscard]] std::int64_t images() const { return images_; }
  [[nodiscard]] const Predictions& predictions() const { return predictions_; }

 private:
  // A layer's outputs of the batch in work, (samples, maps, elements) in PyTorch's order.
  struct Collected {
    std::size_t layer = 0;
    std::int64_t elements = 0;  // per map
    std::vector<float> values;
  };
  struct Saved {
    Collected collected;
    NpyWriter file;
  };

  // The batch as (maps, samples, elements).
  [[nodiscard]] static std::vector<float> maps_first(const Collected& collected, std::int64_t maps);
  void collect(Executor& executor, Collected& collected) const;

  const Session& session_;
  const Network& network_;
  Collected logits_;
  std::vector<Saved> saved_;
  Predictions predictions_;
  std::int64_t samples_ = 0;  // of the batch in work
  std::int64_t images_ = 0;
};

}  // namespace halotile
