// What the network must know of each operation, a row each: how a model file spells it, what shape it makes,
// what it reads, what it costs, which weights it has. Engines are not asked here (op.hpp, engine.hpp).
//
// Another operation takes a row in one of ops/*.cpp.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pipeline/network/network.hpp"
#include "pipeline/network/yaml_reader.hpp"

namespace halotile {

/// Weights that a node's operation holds.
struct ParameterSlot {
  std::string suffix;               ///< "weight": the tensor is <node's name>.weight
  std::vector<std::int64_t> shape;  ///< PyTorch's
  Parameter* values = nullptr;      ///< where the operation has them
  std::int64_t fan_in = 1;          ///< products that an output sums, for random weights
  /// (outputs, inputs) of a map that was flattened: rows go to the order of the map in memory.
  bool flattened_rows = false;
};

using Shapes = std::span<const MapShape>;

/// Functions that are null have the default named.
struct OpRow {
  std::string type;        ///< in model files
  std::size_t inputs = 1;  ///< fewest and most values that it reads
  std::size_t most = 1;
  bool needs_map = false;  ///< cannot stand behind flatten or fully_connected
  bool makes_vector = false;
  bool slides = false;  ///< a convolution or pool: `stages: per_conv` begins one with it
  /// An operation of this row with the keys of a model file's layer. No keys, and default values.
  void (*read)(YamlMap& map, Node& node, Shapes in) = nullptr;
  /// Completes what follows from the inputs. Nothing.
  void (*complete)(Node& node, Shapes in) = nullptr;
  /// Throws ShapeError. The first input's.
  MapShape (*shape)(const Node& node, Shapes in) = nullptr;
  /// What positions of the output are made of. The same position.
  PlaneMap (*reads)(const Node& node, std::size_t input, Shapes in) = nullptr;
  /// Per image; `out` is its shape(). None.
  double (*flops)(const Node& node, Shapes in, const MapShape& out) = nullptr;
  /// None.
  std::vector<ParameterSlot> (*parameters)(Node& node) = nullptr;
};

/// All rows.
[[nodiscard]] std::span<const OpRow> op_table();
/// The types of all rows, in order.
[[nodiscard]] const std::vector<std::string>& op_types();
/// The row of a type that there is.
[[nodiscard]] const OpRow& op_row(const std::string& type);

/// The node's weights; empty for most.
[[nodiscard]] std::vector<ParameterSlot> parameters_of(Node& node);
/// The same to look at: shapes, and the values where they are bound.
[[nodiscard]] std::int64_t parameter_count(const Node& node);

// The rows by family, for op_table().
[[nodiscard]] std::vector<OpRow> convolution_rows();
[[nodiscard]] std::vector<OpRow> join_rows();
[[nodiscard]] std::vector<OpRow> pool_rows();
[[nodiscard]] std::vector<OpRow> pointwise_rows();
[[nodiscard]] std::vector<OpRow> vector_rows();

}  // namespace halotile
