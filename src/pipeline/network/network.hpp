// A network: a directed acyclic graph of values (maps) and the nodes that make them, with all shapes worked
// out. A chain of layers is the graph in which each node reads the value before it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"
#include "patching/plan.hpp"

namespace halotile {

struct OpRow;

/// The map as a vector, in PyTorch's order (C, H, W).
struct Flatten {};

/// Drops elements, or (unless sampled) passes everything on.
struct Dropout {
  float probability = 0.5F;  ///< of an element to become 0
  bool sampled = false;
};

/// The inputs' channels one behind the other.
struct Concat {};

template <typename Variant, typename... More>
struct AppendedVariant;
template <typename... Types, typename... More>
struct AppendedVariant<std::variant<Types...>, More...> {
  using type = std::variant<Types..., More...>;
};
/// What a node does: an operation of engines, or something of the network's own.
using NodeOp = AppendedVariant<Op, Flatten, Dropout, Concat>::type;

/// A map of the network.
struct Value {
  MapShape shape;
  MapShape memory;      ///< as it lies in memory: `shape`, or behind flatten the map that was flattened
  bool spatial = true;  ///< false from flatten and fully connected layers on
};

/// Makes one value of others.
struct Node {
  std::string name;            ///< unique; given, or type and number ("relu3")
  const OpRow* row = nullptr;  ///< of the op table
  NodeOp op;
  std::vector<std::size_t> inputs;  ///< values
  bool has_bias = true;             ///< of nodes that may have one
  double flops = 0;                 ///< per image; a multiply-add counts as two

  /// Its operation if it is of this type, else null.
  template <typename Type>
  [[nodiscard]] const Type* as() const {
    return std::get_if<Type>(&op);
  }
  template <typename Type>
  [[nodiscard]] bool is() const {
    return as<Type>() != nullptr;
  }
  /// Its output is its input under another name.
  [[nodiscard]] bool identity() const;
  /// The layer's type in model files.
  [[nodiscard]] const std::string& type() const;
};

struct Network {
  std::string name;
  std::vector<Value> values{Value{}};  ///< value 0 is the input, value n + 1 what node n makes
  std::vector<Node> nodes;             ///< in topological order, those that make maps (not vectors) first
  std::vector<std::size_t> outputs;    ///< values, the first the one that classes are told from
  std::map<std::string, std::string> rename;  ///< names of layers in weight files -> names here
  std::filesystem::path class_names;          ///< file with a name a line; empty: none
  std::set<std::string> cut;                  ///< names of layers left out behind `until`

  [[nodiscard]] const MapShape& input() const { return values.front().shape; }
  [[nodiscard]] const Value& in(std::size_t node, std::size_t input = 0) const {
    return values[nodes[node].inputs[input]];
  }
  [[nodiscard]] const Value& out(std::size_t node) const { return values[node + 1]; }

  /// The value that `value` is another name of: what lies before identity nodes.
  [[nodiscard]] std::size_t origin(std::size_t value) const;
  /// Nodes that make maps; those behind them make vectors.
  [[nodiscard]] std::size_t spatial_nodes() const;
  /// Number of the node of this name. Throws ConfigError with the nearest name.
  [[nodiscard]] std::size_t index_of(const std::string& node_name) const;
  /// The node of the first output but for softmax (and dropout that does not sample): what classes are told
  /// from.
  [[nodiscard]] std::size_t logits() const;
  /// Geometry of the maps, for the plan: values by their numbers.
  [[nodiscard]] GraphGeometry geometry() const;
  [[nodiscard]] double flops() const;

  /// Sets the input. Throws ShapeError for a map of more bytes than there can be.
  void set_input(const MapShape& shape);
  /// Adds a node whose name, row, op and inputs are set, works out the rest, and returns its value. Throws
  /// ShapeError when it cannot take these inputs.
  std::size_t add(Node node);
  /// The same in code: an op of the table's row `type` on `inputs`, or without them on the value made last.
  std::size_t add(const std::string& type, std::string node_name, NodeOp op,
                  std::vector<std::size_t> inputs = {});
  /// When all nodes are there: brings them in order, and leaves out those that no output needs. Without
  /// outputs so far, what no node reads is one.
  void finish();
  /// Keeps the nodes that `node` is made of, and it alone as output.
  void end_at(std::size_t node);

 private:
  void keep_what_outputs_need();
  void renumber(const std::vector<std::size_t>& order);
};

/// Reads a model file, YAML or (by the ending .onnx) ONNX. `input_override` replaces the file's input height
/// and width; `until` (unless empty) names the last layer to keep. Throws ConfigError with every problem
/// found, places included; for ONNX also FormatError or UnsupportedError (onnx/onnx_reader.hpp).
[[nodiscard]] Network read_network(const std::filesystem::path& file, std::optional<Extent2> input_override,
                                   const std::string& until);

}  // namespace halotile
