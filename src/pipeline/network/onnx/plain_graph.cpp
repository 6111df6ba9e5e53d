#include "pipeline/network/onnx/plain_graph.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/onnx/constant_folding.hpp"
#include "pipeline/network/onnx/shapes.hpp"

namespace halotile {
namespace {

// Branches within branches and functions that call functions: more is damage, or never ends.
constexpr int most_depth = 64;
constexpr std::size_t most_nodes = 1U << 20;

std::string names_of(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (const std::string& name : names) shown.push_back(shown_name(name));
  return fmt::format("[{}]", fmt::join(shown, ", "));
}

}  // namespace

PlainGraph::PlainGraph(OnnxFile file, std::optional<Extent2> extent) : file_(std::move(file)) {
  read_constants(file_.graph);
  read_input(file_.graph, extent);
  walk(file_.graph.nodes, 0);
  for (const std::string& name : file_.graph.outputs) outputs.push_back(final_name(name));
  if (outputs.empty()) throw ConfigError("the network has no outputs");
  file_.graph = {};  // its weights are in `constants`, and go when nothing needs them any more
}

std::string PlainGraph::final_name(const std::string& value) const {
  const auto found = alias_.find(value);
  return found == alias_.end() ? value : found->second;
}

void PlainGraph::read_constants(const OnnxGraph& graph) {
  for (const auto& [name, tensor] : graph.initializers) {
    constants[name] = tensor;
    known_.insert(name);
  }
  for (const auto& [name, why] : graph.unreadable) {
    reasons[name] = why;
    known_.insert(name);
  }
}

void PlainGraph::read_input(const OnnxGraph& graph, std::optional<Extent2> extent) {
  std::vector<OnnxInput> inputs;
  std::vector<std::string> names;
  for (const OnnxInput& candidate : graph.inputs) {
    if (known_.contains(candidate.name)) continue;
    inputs.push_back(candidate);
    names.push_back(candidate.name);
  }
  if (inputs.size() != 1)
    throw ConfigError(fmt::format("the network has the inputs {}; one is needed", names_of(names)));
  input = inputs.front().name;
  OnnxShape dims = inputs.front().dims;
  const std::string place =
      fmt::format("the input {} has the shape [{}]", shown_name(input), fmt::join(dims, ", "));
  if (!inputs.front().tensor || (dims.size() != 2 && dims.size() != 4)) {
    throw ConfigError(
        fmt::format("{}; (batch, channels, height, width) or (batch, features) is needed", place));
  }
  if (dims.size() == 4 && extent) {
    dims[2] = extent->height;
    dims[3] = extent->width;
  }
  if (dims[1] < 0) {
    throw ConfigError(fmt::format("{} (-1: not fixed); the number of channels or features must be", place));
  }
  if (std::ranges::any_of(dims.begin() + 1, dims.end(), [](std::int64_t d) { return d < 0; })) {
    throw ConfigError(
        fmt::format("{} (-1: not fixed); give the size of the images, as in input.size: 224 or "
                    "preprocess.crop: 224, or export the network for one image size",
                    place));
  }
  constexpr std::int64_t largest = (std::int64_t{1} << 31) - 1;
  if (std::ranges::any_of(dims, [](std::int64_t d) { return d > largest; }))
    throw ConfigError(fmt::format("{}, which is too large", place));
  if (dims[0] < 0) dims[0] = free_batch;
  shapes[input] = dims;
  types[input] = inputs.front().type;
  known_.insert(input);
}

// -- the walk ---------------------------------------------------------------------------------------------

void PlainGraph::walk(const std::vector<OnnxNode>& list, int depth) {
  if (depth > most_depth) throw ConfigError("branches or functions lie too deep in each other");
  for (const OnnxNode& original : list) {
    OnnxNode node = original;
    for (std::string& name : node.inputs) name = final_name(name);
    if (nodes.size() > most_nodes) throw ConfigError("the network has too many nodes");
    visit(std::move(node), depth);
    for (const std::string& name : original.outputs) {
      if (!name.empty()) known_.insert(name);
    }
  }
}

void PlainGraph::visit(OnnxNode node, int depth) {
  for (const std::string& name : node.inputs) {
    if (name.empty() || known_.contains(name)) continue;
    return keep(std::move(node),
                fmt::format("{} needs {}, which nothing before it makes", label_of(node), shown_name(name)));
  }
  try {
    if (fold(node) || take_branch(node, depth) || call_function(node, depth) || pass_through(node)) return;
    infer(node);
  } catch (const NodeProblem& e) {
    const std::string reason = fmt::format("{} {}", label_of(node), e.what());
    keep(std::move(node), reason);
  }
}

void PlainGraph::keep(OnnxNode node, const std::string& reason) {
  if (!reason.empty()) {
    for (const std::string& name : node.outputs) reasons[name] = reason;
  }
  nodes.push_back(std::move(node));
}

// Works out a node that depends on constants or shapes alone.
bool PlainGraph::fold(const OnnxNode& node) {
  if (node.outputs.empty() || !node.domain.empty()) return false;
  if ((node.type == "Shape" || node.type == "Size") && !node.inputs.empty() &&
      shapes.contains(node.inputs.front())) {
    constants[node.outputs.front()] = measured_shape(rules(node), shapes.at(node.inputs.front()));
    return true;
  }
  std::vector<OnnxConstant> inputs;
  for (const std::string& name : node.inputs) {
    const auto found = constants.find(name);
    if (!name.empty() && found == constants.end()) return false;
    inputs.push_back(name.empty() ? nullptr : found->second);
  }
  if (node.type == "Shape" || node.type == "Size") {
    constants[node.outputs.front()] = measured_shape(rules(node), inputs.at(0)->shape);
    return true;
  }
  const std::vector<OnnxConstant> results = fold_node(rules(node), inputs);
  for (std::size_t i = 0; i < std::min(results.size(), node.outputs.size()); ++i) {
    if (!node.outputs[i].empty()) constants[node.outputs[i]] = results[i];
  }
  return !results.empty();
}

// An If whose condition is known becomes its branch.
bool PlainGraph::take_branch(const OnnxNode& node, int depth) {
  if (node.type != "If" || !node.domain.empty() || node.inputs.empty()) return false;
  const auto condition = constants.find(node.inputs.front());
  if (condition == constants.end() || condition->second->size() != 1) return false;
  const char* const wanted = condition->second->number(0) != 0 ? "then_branch" : "else_branch";
  const auto found = node.attributes.find(wanted);
  const bool whole = found != node.attributes.end() && found->second.graph != nullptr &&
                     found->second.graph->outputs.size() == node.outputs.size();
  if (!whole) throw NodeProblem(fmt::format("has no whole {}", wanted));
  const OnnxGraph& branch = *found->second.graph;
  read_constants(branch);
  walk(branch.nodes, depth + 1);
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    alias_[node.outputs[i]] = final_name(branch.outputs[i]);
  return true;
}

// The nodes of a function that the file brings, in place of the node that calls it.
bool PlainGraph::call_function(const OnnxNode& node, int depth) {
  const auto found = file_.functions.find(node.domain + "::" + node.type);
  if (found == file_.functions.end()) return false;
  const OnnxFunction& function = found->second;
  const std::string prefix = fmt::format("{}{}.", node.name.empty() ? node.type : node.name + ".", ++calls_);
  std::map<std::string, std::string> renamed{{"", ""}};
  for (std::size_t i = 0; i < function.inputs.size(); ++i)
    renamed[function.inputs[i]] = i < node.inputs.size() ? node.inputs[i] : "";
  const auto rename = [&](std::string& name) {
    const auto known = renamed.find(name);
    name = known == renamed.end() ? renamed[name] = prefix + name : known->second;
  };
  std::vector<OnnxNode> body = function.nodes;
  for (OnnxNode& inner : body) {
    for (std::string& name : inner.inputs) rename(name);
    for (std::string& name : inner.outputs) rename(name);
    inner.name = prefix + (inner.name.empty() ? inner.type : inner.name);
    std::map<std::string, OnnxAttribute> attributes;
    for (const auto& [name, attribute] : inner.attributes) {
      if (attribute.graph != nullptr)
        throw NodeProblem("is a function with branches, which are not supported yet");
      const std::string& from = attribute.reference;
      if (from.empty()) {
        attributes[name] = attribute;
      } else if (node.attributes.contains(from)) {
        attributes[name] = node.attributes.at(from);
      } else if (function.defaults.contains(from)) {
        attributes[name] = function.defaults.at(from);
      }
    }
    inner.attributes = std::move(attributes);
  }
  walk(body, depth + 1);
  for (std::size_t i = 0; i < std::min(function.outputs.size(), node.outputs.size()); ++i) {
    std::string inner = function.outputs[i];
    rename(inner);
    alias_[node.outputs[i]] = final_name(inner);
  }
  return true;
}

// Leaves out Identity, and casts from floating-point numbers to the type they have.
bool PlainGraph::pass_through(const OnnxNode& node) {
  if (!node.domain.empty() || node.inputs.empty() || node.outputs.size() != 1) return false;
  const std::string& source = node.inputs.front();
  const auto type = types.find(source);
  const bool same_type =
      node.type == "Cast" && type != types.end() && rules(node).integer("to", 0) == type->second;
  if (node.type != "Identity" && !same_type) return false;
  alias_[node.outputs.front()] = source;
  if (const auto why = reasons.find(source); why != reasons.end())
    reasons[node.outputs.front()] = why->second;
  return true;
}

// The shape and the type of what flows out of a node.
void PlainGraph::infer(OnnxNode node) {
  std::vector<OnnxShape> known;
  for (const std::string& name : node.inputs) {
    if (name.empty()) {
      known.emplace_back();
    } else if (const auto flows = shapes.find(name); flows != shapes.end()) {
      known.push_back(flows->second);
    } else if (const auto constant = constants.find(name); constant != constants.end()) {
      known.push_back(constant->second->shape);
    } else {
      const auto why = reasons.find(name);
      return keep(std::move(node), why == reasons.end() ? "" : why->second);
    }
  }
  const std::optional<OnnxShape> shape = output_shape(rules(node), known);
  if (shape && !node.outputs.empty()) {
    shapes[node.outputs.front()] = *shape;
    int type = 0;
    for (const std::string& name : node.inputs) {
      if (type == 0 && types.contains(name)) type = types.at(name);
    }
    if (node.type == "Cast") type = static_cast<int>(rules(node).integer("to", type));
    types[node.outputs.front()] = type;
  }
  keep(std::move(node));
}

// -- what the outputs need --------------------------------------------------------------------------------

std::vector<std::string> PlainGraph::data(const OnnxNode& node) const {
  std::vector<std::string> names;
  for (const std::string& name : node.inputs) {
    if (!name.empty() && !constants.contains(name)) names.push_back(name);
  }
  return names;
}

const OnnxNode* PlainGraph::made_by(const std::string& value, const std::set<std::string>& kinds) const {
  for (const OnnxNode& node : nodes) {
    if (std::ranges::find(node.outputs, value) == node.outputs.end()) continue;
    return node.domain.empty() && kinds.contains(node.type) ? &node : nullptr;
  }
  return nullptr;
}

std::size_t PlainGraph::readers(const std::string& value) const {
  auto count = static_cast<std::size_t>(std::ranges::count(outputs, value));
  for (const OnnxNode& node : nodes)
    count += static_cast<std::size_t>(std::ranges::count(node.inputs, value));
  return count;
}

void PlainGraph::keep_what_outputs_need() {
  std::set<std::string> wanted(outputs.begin(), outputs.end());
  std::set<std::string> made{input};
  std::vector<OnnxNode> needed;
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    const bool reads =
        std::ranges::any_of(node->outputs, [&](const std::string& name) { return wanted.contains(name); });
    if (!reads) continue;
    for (const std::string& name : data(*node)) wanted.insert(name);
    made.insert(node->outputs.begin(), node->outputs.end());
    needed.push_back(std::move(*node));
  }
  for (const std::string& name : wanted) {
    if (made.contains(name) || constants.contains(name)) continue;
    auto why = reasons.find(name);
    // Else the node says it that reads the value.
    if (why == reasons.end())
      why = std::ranges::find_if(reasons, [&](const auto& reason) { return wanted.contains(reason.first); });
    throw ConfigError(why != reasons.end()
                          ? why->second
                          : fmt::format("the output depends on {}, which nothing makes", shown_name(name)));
  }
  for (const std::string& output : outputs) {
    if (constants.contains(output))
      throw ConfigError(fmt::format("the output {} does not depend on the input", shown_name(output)));
  }
  std::ranges::reverse(needed);
  nodes = std::move(needed);
}

}  // namespace halotile
