// Monte Carlo dropout (Gal, Ghahramani, "Dropout as a Bayesian approximation", 2016): dropout layers that
// drop, as PyTorch's do in training mode, so that several forward passes tell how sure a network is.
//
// In sample s, element i of image n is kept by layer l when u >= p, and then scaled by 1 / (1 - p), both in
// float; otherwise it is 0. With RandomSequence of random.hpp,
//   u = (RandomSequence(RandomSequence(seed, name of l).bits(s), n).bits(i) >> 40) / 2^24,
// n is the image's number in the input (skipped ones counted; with ten crops, 10 times that plus the crop's),
// and i is the element's number in PyTorch's order (C, H, W). So masks depend on nothing else: not on
// patches, streams, batches or engines.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "pipeline/network/network.hpp"

namespace halotile {

/// Which masks a run draws. Operations keep a reference: change it only between runs.
struct DropoutSample {
  std::uint64_t seed = 0;
  std::int64_t sample = 0;
  std::vector<std::int64_t> images;  ///< numbers of the batch's images

  /// Chooses sample and images. Throws ShapeError unless there are as many images as before.
  void choose(std::int64_t new_sample, std::span<const std::int64_t> new_images);
};

/// Sample 0 of images 0 to batch - 1.
[[nodiscard]] DropoutSample first_sample(std::uint64_t seed, std::int64_t batch);

/// The operation of a dropout node that samples, on maps that lie in memory as `memory`. Throws
/// UnsupportedError for an engine whose maps are not in host memory.
[[nodiscard]] std::unique_ptr<Operation> make_dropout(const Node& node, const MapShape& memory,
                                                      const DropoutSample& sample, Engine& engine);

}  // namespace halotile
