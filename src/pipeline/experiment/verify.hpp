// Verification: the patched pipeline against the unpatched one, stage by stage, bit by bit.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pipeline/experiment/session.hpp"

namespace halotile {

/// Where two maps first differ, in the order image, row, column, channel.
struct FirstDifference {
  TileKey tile;  ///< the tile that owns it; behind the feature maps stage -1
  std::int64_t row = 0;
  std::int64_t column = 0;
  std::int64_t channel = 0;
  double expected = 0;
  double got = 0;
};

/// How two maps of equal shape and type differ.
struct Comparison {
  std::string layer;        ///< whose output
  std::int64_t stage = -1;  ///< that makes it; behind the feature maps -1
  std::int64_t elements = 0;
  std::int64_t different = 0;  ///< elements whose bits differ; any NaN that was written equals any other
  double max_abs = 0;          ///< infinite where one side is NaN or infinite and the other is not the same
  double max_rel = 0;          ///< |difference| / |expected|
  std::uint64_t max_ulp = 0;   ///< steps between neighbouring values of the element type
  std::optional<FirstDifference> first;

  [[nodiscard]] bool equal_bits() const { return different == 0; }
  /// Adds what a further batch of the same map gave.
  void merge(const Comparison& other);
};

/// Whose tiles own the elements of a map: an output of a stage; none behind the feature maps.
struct MapOwner {
  const StagePlan* stage = nullptr;
  std::size_t output = 0;  ///< its number in the stage
};

/// `first_image` numbers images.
[[nodiscard]] Comparison compare(const ConstMapView& expected, const ConstMapView& got, const MapOwner& owner,
                                 std::int64_t first_image);

struct Verification {
  std::vector<Comparison> stages;  ///< every stage's rebuilt maps
  Comparison logits;               ///< the network's first output, before softmax
  std::int64_t images = 0;
  std::string logits_hash;  ///< of the patched run's: equal for equal bits

  [[nodiscard]] bool equal_bits() const;
  /// Over all stages and the logits.
  [[nodiscard]] std::int64_t elements() const;
  [[nodiscard]] std::int64_t different() const;
};

/// Runs the whole input through both pipelines. Maps are poisoned with NaN first, so that an element nobody
/// wrote shows.
[[nodiscard]] Verification verify(const Session& session);

}  // namespace halotile
