// A network: a chain of layers with all shapes worked out, and the model file it is read from.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"
#include "patching/plan.hpp"

namespace halotile {

enum class LayerKind : std::uint8_t {
  conv,
  relu,
  lrn,
  max_pool,
  avg_pool,
  adaptive_avg_pool,
  flatten,
  dropout,
  fully_connected,
  softmax
};

/// The layer types of model files, in the order of LayerKind.
[[nodiscard]] std::span<const std::string> layer_type_names();
[[nodiscard]] const std::string& to_string(LayerKind kind);

struct Layer {
  LayerKind kind = LayerKind::relu;
  std::string name;  ///< unique; given, or type and number ("relu3")
  MapShape in;
  MapShape out;
  MapShape memory;  ///< the output as it lies in memory: `out`, or behind flatten the map that was flattened
  Window window;    ///< pointwise unless convolution or pooling
  Conv2d conv;
  FullyConnected fully_connected;
  Pool2d pool;
  Lrn lrn;
  float drop = 0;        ///< dropout: probability that an element becomes 0
  bool sampled = false;  ///< dropout: drops; otherwise it passes everything on
  bool bias = true;      ///< convolution and fully connected layers
  bool spatial = true;   ///< false from the first flatten on
  double flops = 0;      ///< per image; a multiply-add counts as two
  bool identity() const { return kind == LayerKind::flatten || (kind == LayerKind::dropout && !sampled); }
};

struct Network {
  std::string name;
  MapShape input;
  std::vector<Layer> layers;
  std::map<std::string, std::string> rename;  ///< names of layers in weight files -> names here
  std::filesystem::path class_names;          ///< file with a name a line; empty: none
  std::set<std::string> cut;                  ///< names of layers left out behind `until`

  /// Layers before the first that is not spatial.
  [[nodiscard]] std::size_t spatial_layers() const;
  /// Index of the layer of this name. Throws ConfigError with the nearest name.
  [[nodiscard]] std::size_t index_of(const std::string& layer_name) const;
  /// The last layer but for softmax (and dropout that does not sample): what classes are told from.
  [[nodiscard]] std::size_t logits_layer() const;
  /// Geometry of the spatial layers, for the plan.
  [[nodiscard]] std::vector<LayerGeometry> geometry() const;
  [[nodiscard]] double flops() const;
};

/// Reads a model file. `input_override` replaces the file's input height and width; `until` (unless empty)
/// names the last layer to keep. Throws ConfigError with every problem found, places included.
[[nodiscard]] Network read_network(const std::filesystem::path& file, std::optional<Extent2> input_override,
                                   const std::string& until);

}  // namespace halotile
