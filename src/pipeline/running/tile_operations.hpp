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

/// The operation of a step on feature maps. Keeps a reference to `dropout` for a layer that samples. Throws
/// UnsupportedError for layers that cannot run on one.
[[nodiscard]] std::unique_ptr<Operation> make_map_operation(const Network& network, Engine& engine,
                                                            const Step& step, const MapGeometry& in,
                                                            const MapGeometry& out,
                                                            const DropoutSample& dropout);
/// The operation of a step behind the feature maps; `features` are the outputs of a fully connected layer's
/// block.
[[nodiscard]] std::unique_ptr<Operation> make_vector_operation(const Network& network, Engine& engine,
                                                               const Step& step, Interval features,
                                                               const MapGeometry& in, const MapGeometry& out,
                                                               const DropoutSample& dropout);

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
  [[nodiscard]] Operation* on_map(const Caller& caller, const Step& step, const MapGeometry& in,
                                  const MapGeometry& out);
  [[nodiscard]] Operation* on_vectors(const Caller& caller, const Step& step, Interval features,
                                      const MapGeometry& in, const MapGeometry& out);

 private:
  using Key = std::array<std::int64_t, 14>;

  [[nodiscard]] static Key key_of(const Caller& caller, const MapGeometry& in, const MapGeometry& out);

  const Network& network_;
  Engine& engine_;
  const DropoutSample& dropout_;
  std::map<Key, std::unique_ptr<Operation>> by_key_;
};

}  // namespace halotile
