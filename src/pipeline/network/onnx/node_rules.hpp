// What may be asked of a node: attributes, and numbers that older operator sets have as attributes and newer
// ones as constant inputs; axes; windows.
#pragma once

#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "patching/window.hpp"
#include "pipeline/network/onnx/onnx_file.hpp"

namespace halotile {

/// Stands for a free batch: a prime above the largest size of a map (2^31 - 1), so that no product of sizes
/// can be taken for it, and what is computed from it can be told.
inline constexpr std::int64_t free_batch = 2147483659;

/// Why a node cannot be expressed, or breaks ONNX's rules. Whoever reads the node adds which one it is.
struct NodeProblem : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// "node 'conv1' (Conv)".
[[nodiscard]] std::string label_of(const OnnxNode& node);
/// "[batch, 3, 224, 224]".
[[nodiscard]] std::string shown_shape(const OnnxShape& shape);
/// The number of elements. Throws NodeProblem for more than 64 bits hold.
[[nodiscard]] std::int64_t product(const OnnxShape& shape);

using OnnxConstants = std::map<std::string, OnnxConstant>;

class NodeRules {
 public:
  NodeRules(const OnnxNode& node, int version, const OnnxConstants& constants)
      : opset(version), node_(node), constants_(constants) {}

  const int opset;

  [[nodiscard]] bool has(const std::string& attribute) const { return node_.attributes.contains(attribute); }
  [[nodiscard]] std::int64_t integer(const std::string& attribute, std::int64_t otherwise) const;
  [[nodiscard]] double number(const std::string& attribute, double otherwise) const;
  [[nodiscard]] std::string word(const std::string& attribute, const std::string& otherwise) const;
  [[nodiscard]] std::optional<OnnxShape> integers(const std::string& attribute) const;
  /// The attribute, or else the constant input at `place`; nothing where neither is.
  [[nodiscard]] std::optional<OnnxShape> integers(const std::string& name, std::size_t place) const;
  [[nodiscard]] std::optional<double> number_at(const std::string& name, std::size_t place) const;
  /// The input at this place, which must be a constant; null where there is none. `what` is its name in
  /// errors.
  [[nodiscard]] OnnxConstant constant(std::size_t place, const std::string& what) const;
  /// The same, but there must be one.
  [[nodiscard]] OnnxConstant needed(std::size_t place, const std::string& what) const;
  [[nodiscard]] bool has_input(std::size_t place) const {
    return place < node_.inputs.size() && !node_.inputs[place].empty();
  }
  [[nodiscard]] const OnnxNode& node() const { return node_; }

 private:
  [[nodiscard]] const OnnxAttribute* find(const std::string& attribute) const;

  const OnnxNode& node_;
  const OnnxConstants& constants_;
};

/// `axis` counted from the front. Throws NodeProblem when there is none such.
[[nodiscard]] std::size_t axis_of(std::int64_t axis, std::size_t rank);
[[nodiscard]] std::set<std::size_t> axes_of(const OnnxShape& axes, std::size_t rank);

/// The axes that a Reduce node takes together.
[[nodiscard]] std::set<std::size_t> reduced_axes(const NodeRules& rules, std::size_t rank);

/// Zeros (or other numbers) before and behind each axis of a Pad node; negative ones cut.
[[nodiscard]] std::vector<AxisPadding> pads_by_axis(const NodeRules& rules, std::size_t rank);

struct SliceRange {
  std::int64_t start = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;
};
/// What a Slice node takes of each axis of a value of this shape.
[[nodiscard]] std::vector<SliceRange> slice_ranges(const NodeRules& rules, const OnnxShape& shape);

/// The windows of a convolution or pool over axes of the sizes given, with auto_pad worked out for them.
struct OnnxWindows {
  OnnxWindows(const NodeRules& rules, OnnxShape over, OnnxShape window_kernel);

  OnnxShape sizes;
  OnnxShape kernel;
  OnnxShape strides;
  OnnxShape dilations;
  OnnxShape before;
  OnnxShape behind;
  bool ceil_mode = false;

  /// Number of windows along each axis. Throws NodeProblem where one does not fit.
  [[nodiscard]] OnnxShape outputs() const;
};

}  // namespace halotile
