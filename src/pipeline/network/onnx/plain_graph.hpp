// An ONNX graph made plain: constants worked out, branches taken, functions put in their place, no-ops left
// out, the shape of every value. What is left are the nodes through which data flows.
#pragma once

#include "patching/geometry.hpp"
#include "pipeline/network/onnx/node_rules.hpp"

namespace halotile {

class PlainGraph {
 public:
  /// Height and width of the input are `extent` if given, else the file's. Throws ConfigError where the
  /// network has several inputs, or one that is no map of numbers.
  PlainGraph(OnnxFile file, std::optional<Extent2> extent);

  [[nodiscard]] int opset() const { return file_.opset; }
  [[nodiscard]] NodeRules rules(const OnnxNode& node) const { return {node, file_.opset, constants}; }
  /// The inputs of a node through which data flows.
  [[nodiscard]] std::vector<std::string> data(const OnnxNode& node) const;
  /// The node that makes this value if it is one of ONNX's own operators `types`, else null.
  [[nodiscard]] const OnnxNode* made_by(const std::string& value, const std::set<std::string>& types) const;
  /// Leaves the nodes that the outputs depend on. Throws ConfigError where something is missing.
  void keep_what_outputs_need();
  /// How many nodes and outputs read this value.
  [[nodiscard]] std::size_t readers(const std::string& value) const;

  std::vector<OnnxNode> nodes;  ///< in order, with constants and values by their final names
  OnnxConstants constants;
  std::map<std::string, OnnxShape> shapes;  ///< of what flows
  std::map<std::string, int> types;         ///< of its elements
  std::string input;
  std::vector<std::string> outputs;
  std::map<std::string, std::string> reasons;  ///< why a value has no shape

 private:
  void read_constants(const OnnxGraph& graph);
  void read_input(const OnnxGraph& graph, std::optional<Extent2> extent);
  void walk(const std::vector<OnnxNode>& list, int depth);
  void visit(OnnxNode node, int depth);
  void keep(OnnxNode node, const std::string& reason = {});
  [[nodiscard]] bool fold(const OnnxNode& node);
  [[nodiscard]] bool take_branch(const OnnxNode& node, int depth);
  [[nodiscard]] bool call_function(const OnnxNode& node, int depth);
  [[nodiscard]] bool pass_through(const OnnxNode& node);
  void infer(OnnxNode node);
  [[nodiscard]] std::string final_name(const std::string& value) const;

  OnnxFile file_;
  std::map<std::string, std::string> alias_;
  std::set<std::string> known_;
  std::size_t calls_ = 0;  // of functions so far
};

}  // namespace halotile
