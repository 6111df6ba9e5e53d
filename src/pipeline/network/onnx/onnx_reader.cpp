#include "pipeline/network/onnx/onnx_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "formats/memory_tensors.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/onnx/operators.hpp"
#include "pipeline/network/onnx/patterns.hpp"

namespace halotile {
namespace {

class Reader {
 public:
  Reader(OnnxFile file, std::optional<Extent2> extent) : graph_(std::move(file), extent) {
    join_patterns(graph_);
    graph_.keep_what_outputs_need();
    for (const OnnxNode& node : graph_.nodes) {
      for (const std::string& name : node.inputs) ++readers_[name];
    }
    for (const std::string& name : graph_.outputs) ++readers_[name];
  }

  OnnxLayers read() {
    begin();
    for (const OnnxNode& node : graph_.nodes) {
      guarded(node, [&] { read_node(node); });
      release_constants(node);
    }
    end();
    return std::move(layers_);
  }

 private:
  // Problems of a node get its name.
  template <typename Action>
  static void guarded(const OnnxNode& node, const Action& action) {
    try {
      action();
    } catch (const NodeProblem& e) {
      throw ConfigError(fmt::format("{} {}", label_of(node), e.what()));
    } catch (const ShapeError& e) {
      throw ConfigError(fmt::format("{}: {}", label_of(node), e.what()));
    } catch (const std::out_of_range&) {
      throw ConfigError(fmt::format("{} breaks ONNX's rules for its kind: it lacks inputs, or axes of them",
                                    label_of(node)));
    }
  }

  // Features are channels of a map of one pixel.
  void begin() {
    const OnnxShape& shape = graph_.shapes.at(graph_.input);
    const bool map = shape.size() == 4;
    try {
      layers_.network.set_input({shape[1], map ? Extent2{shape[2], shape[3]} : Extent2{1, 1}});
    } catch (const ShapeError& e) {
      throw ConfigError(fmt::format("the input is too large: {}", e.what()));
    }
    flows_[graph_.input] = {0, shape};
  }

  void read_node(const OnnxNode& node) {
    const OnnxOperator& op = operator_of(node);
    if (op.refusal != nullptr) throw NodeProblem(op.refusal);
    const std::vector<std::string> data = graph_.data(node);
    if (data.empty()) throw NodeProblem("has no input that depends on the network's");
    if (data.size() > 1 && !op.joins)
      throw NodeProblem(fmt::format("joins {}, which no layer does", listed(data)));
    for (const std::string& name : data) {
      if (!flows_.contains(name))
        throw NodeProblem(
            fmt::format("reads {}, which is not the first output of its node", shown_name(name)));
      prepare(name, op);
    }
    const std::string& output = node.outputs.at(0);
    if (!graph_.shapes.contains(output)) {
      const auto why = graph_.reasons.find(output);
      if (why != graph_.reasons.end()) throw ConfigError(why->second);
      throw NodeProblem("makes a value whose shape is not known");
    }
    OnnxStep step{node, graph_.rules(node), layers_, {}, graph_.shapes.at(output)};
    for (const std::string& name : data) step.in.push_back(flows_.at(name));
    OnnxFlow flow = op.read(step);
    const std::int64_t batch = graph_.shapes.at(graph_.input).front();
    if (step.shape.empty() || step.shape.front() != batch)
      throw NodeProblem(
          fmt::format("makes {}, in which the batch does not stand first", shown_shape(step.shape)));
    flow.shape = step.shape;
    const bool own_value = flow.value != step.x().value;
    flow.sole = readers_[output] == 1 && (own_value || step.x().sole);
    flows_[output] = std::move(flow);
  }

  static const OnnxOperator& operator_of(const OnnxNode& node) {
    const auto found = onnx_operators().find(node.type);
    const bool known = node.domain.empty() || node.domain == joined_domain;
    if (found == onnx_operators().end() || !known)
      throw NodeProblem("is of a kind that halotile has no layer for");
    return found->second;
  }

  // Writes what waits before a node that cannot take it in.
  void prepare(const std::string& name, const OnnxOperator& op) {
    OnnxFlow& flow = flows_.at(name);
    const int type = graph_.types.contains(name) ? graph_.types.at(name) : onnx_type::f32;
    if (!op.any_type && type != 0 && !is_floating(type))
      throw NodeProblem("computes with integers; halotile computes with floating-point numbers");
    if (flow.padding != Padding{} && !op.takes_padding)
      throw NodeProblem("follows a Pad; only Conv and AveragePool can take its zeros in");
    if (!op.takes_affine) layers_.settle(flow);
  }

  // Weights that nothing reads any more: they may be most of the memory.
  void release_constants(const OnnxNode& node) {
    for (const std::string& name : node.inputs) {
      if (graph_.constants.contains(name) && --readers_[name] == 0) graph_.constants.erase(name);
    }
  }

  void end() {
    for (const std::string& name : graph_.outputs) {
      if (!flows_.contains(name))
        throw ConfigError(fmt::format("the output {} is not the first output of its node", shown_name(name)));
      OnnxFlow& flow = flows_.at(name);
      const OnnxNode* const maker = maker_of(name);
      if (maker == nullptr)
        throw ConfigError(
            fmt::format("the output {} is the input; the network has no layers", shown_name(name)));
      guarded(*maker, [&] {
        if (flow.padding != Padding{}) throw NodeProblem("ends the network with padding");
        layers_.settle(flow);
        if (flow.shape.size() == 2) flow.value = layers_.flatten(flow.value);
        if (flow.value == 0) throw NodeProblem("changes nothing; the network has no layers");
      });
      std::vector<std::size_t>& outputs = layers_.network.outputs;
      if (std::ranges::find(outputs, flow.value) == outputs.end()) outputs.push_back(flow.value);
    }
    layers_.network.finish();
  }

  [[nodiscard]] const OnnxNode* maker_of(const std::string& name) const {
    for (const OnnxNode& node : graph_.nodes) {
      if (std::ranges::find(node.outputs, name) != node.outputs.end()) return &node;
    }
    return nullptr;
  }

  static std::string listed(const std::vector<std::string>& names) {
    std::vector<std::string> shown;
    for (const std::string& name : names) shown.push_back(shown_name(name));
    return fmt::format("{}", fmt::join(shown, " and "));
  }

  PlainGraph graph_;
  OnnxLayers layers_;
  std::map<std::string, OnnxFlow> flows_;
  std::map<std::string, std::size_t> readers_;
};

}  // namespace

// -- what operators ask -----------------------------------------------------------------------------------

OnnxShape without_batch(const OnnxShape& shape) {
  return {shape.begin() + (shape.empty() ? 0 : 1), shape.end()};
}

OnnxFlow OnnxStep::same() const {
  OnnxFlow flow = x();
  flow.shape = shape;
  return flow;
}

OnnxFlow OnnxStep::layer(const std::string& type, NodeOp op) const {
  return made(layers.add(type, node.name, std::move(op), {x().value}));
}

std::string OnnxStep::shown() const {
  const OnnxShape own = layers.own_shape(x().value);
  const OnnxShape seen = without_batch(x().shape);
  const std::string came = seen == own ? "" : fmt::format(" that came from ({})", fmt::join(own, ", "));
  return fmt::format("({}){}", fmt::join(seen, ", "), came);
}

OnnxShape OnnxStep::need_map() const {
  OnnxShape own = layers.own_shape(x().value);
  if (own.size() == 3) {
    own[1] += x().padding.begin.height + x().padding.end.height;
    own[2] += x().padding.begin.width + x().padding.end.width;
  }
  if (own.size() != 3 || without_batch(x().shape) != own)
    throw NodeProblem(fmt::format("needs a map of channels, height and width, not {}", shown()));
  return own;
}

std::optional<std::vector<std::vector<std::size_t>>> grouped_axes(const OnnxShape& own,
                                                                  const OnnxShape& shape) {
  std::vector<std::vector<std::size_t>> groups;
  std::size_t next = 0;
  const auto skip_ones = [&] {
    while (next < own.size() && own[next] == 1) ++next;
  };
  for (const std::int64_t size : shape) {
    std::vector<std::size_t>& group = groups.emplace_back();
    std::int64_t taken = 1;
    skip_ones();
    while (taken < size && next < own.size()) {
      taken *= own[next];
      group.push_back(next++);
      skip_ones();
    }
    if (taken != size) return std::nullopt;
  }
  return next == own.size() ? std::optional(groups) : std::nullopt;
}

double shortest(double value) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), static_cast<float>(value)).ptr;
  double number = value;
  std::from_chars(text.data(), end, number);
  return number;
}

const OnnxOperators& onnx_operators() {
  static const OnnxOperators table = [] {
    OnnxOperators operators;
    add_arithmetic_operators(operators);
    add_pointwise_operators(operators);
    add_view_operators(operators);
    add_weight_operators(operators);
    add_window_operators(operators);
    return operators;
  }();
  return table;
}

bool is_onnx(const std::filesystem::path& file) { return file.extension() == ".onnx"; }

ModelFile read_onnx(const std::filesystem::path& file, std::optional<Extent2> extent) {
  OnnxFile contents = read_onnx_file(file);
  try {
    OnnxLayers layers = Reader(std::move(contents), extent).read();
    layers.network.name = file.stem().string();
    return {std::move(layers.network), tensors_in_memory(layers.take_weights(), file.string())};
  } catch (const ConfigError& e) {
    throw ConfigError(fmt::format("{}: {}", shown_path(file), e.what()));
  } catch (const NodeProblem& e) {
    throw ConfigError(fmt::format("{}: {}", shown_path(file), e.what()));
  }
}

}  // namespace halotile
