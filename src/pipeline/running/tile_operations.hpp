// From steps to an engine's operations, prepared once for the geometry of tiles.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/dropout.hpp"

namespace halotile {

/// Operations of tiles; those that agree in stream, place in the stage and geometry are the same.
class TileOperations {
 public:
  /// Who calls: an operation belongs to one stream.
  struct Caller {
    std::int64_t stream = 0;
    std::int64_t stage = 0;
    std::int64_t call = 0;  ///< in the order of a tile's work; behind the feature maps the block
  };

  /// Keeps references to all three.
  TileOperations(const Network& network, Engine& engine, const DropoutSample& dropout)
      : network_(network), engine_(engine), dropout_(dropout) {}
  /// On feature maps.
  [[nodiscard]] Operation* on_map(const Caller& caller, const Step& step, std::span<const MapGeometry> in,
                                  const MapGeometry& out);
  /// Behind them; `features` are the outputs of a fully connected layer's block.
  [[nodiscard]] Operation* on_vectors(const Caller& caller, const Step& step, Interval features,
                                      std::span<const MapGeometry> in, const MapGeometry& out);
  /// What positions of its output a node makes of each of its inputs.
  [[nodiscard]] const std::vector<PlaneMap>& reads_of(std::size_t node);
  /// A copy.
  [[nodiscard]] Operation* copying(const Caller& caller, const MapGeometry& in, const MapGeometry& out);

 private:
  // Caller, images, and of each map four numbers; of each input where it lies to the output.
  using Key = std::array<std::int64_t, 8 + 8 * InputViews::capacity>;

  [[nodiscard]] static Key key_of(const Caller& caller, std::span<const MapGeometry> in,
                                  const MapGeometry& out);
  [[nodiscard]] std::unique_ptr<Operation> make(const Step& step, std::optional<Interval> features,
                                                std::span<const MapGeometry> in, const MapGeometry& out);

  const Network& network_;
  Engine& engine_;
  const DropoutSample& dropout_;
  std::map<Key, std::unique_ptr<Operation>> by_key_;
  std::map<std::size_t, std::vector<PlaneMap>> reads_;  // by node, per input
};

}  // namespace halotile
