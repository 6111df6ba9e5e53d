#include "pipeline/network/steps.hpp"

#include <algorithm>
#include <type_traits>

#include "patching/error.hpp"

namespace halotile {
namespace {

template <typename Type, typename Variant>
struct IsOneOf;
template <typename Type, typename... Types>
struct IsOneOf<Type, std::variant<Types...>> : std::disjunction<std::is_same<Type, Types>...> {};

// How often each value is read, under any of its names: of origins.
std::vector<int> readers_of(const Network& network, const std::set<std::size_t>& kept) {
  std::vector<int> readers(network.values.size());
  for (const Node& node : network.nodes) {
    if (node.identity()) continue;
    for (const std::size_t v : node.inputs) ++readers[network.origin(v)];
  }
  // One more, who must find the value itself.
  for (const std::size_t v : kept) readers[network.origin(v)] += 2;
  return readers;
}

class StepMaker {
 public:
  StepMaker(const Network& network, std::span<const std::size_t> nodes, const std::set<std::size_t>& kept,
            bool lrn_and_pool)
      : network_(network), nodes_(nodes), readers_(readers_of(network, kept)), lrn_and_pool_(lrn_and_pool) {}

  void add(std::size_t number) {
    const Node& node = network_.nodes[number];
    if (node.is<Concat>()) return add_parts(number, node);
    if (node.identity() || fuse(number, node)) return;
    Step step{number, {number}, {}, number + 1};
    for (const std::size_t v : node.inputs) step.inputs.push_back(origin(v));
    steps_.push_back(std::move(step));
  }

  // A copy for each input of a concatenation.
  void add_parts(std::size_t number, const Node& node) {
    std::int64_t channel = 0;
    for (const std::size_t v : node.inputs) {
      Step step{number, {}, {origin(v)}, number + 1, false, true, {}};
      step.channels = Interval{channel, channel + network_.values[v].shape.channels};
      channel = step.channels->end;
      steps_.push_back(std::move(step));
    }
  }

  // Of a value that is another name of one made elsewhere.
  void add_copy_if_made_elsewhere(std::size_t value) {
    const std::size_t from = origin(value);
    if (!made_here(from)) steps_.push_back({value - 1, {}, {from}, value, false, true, {}});
  }

  [[nodiscard]] std::vector<Step> take() { return std::move(steps_); }

 private:
  [[nodiscard]] bool made_here(std::size_t value) const {
    return value > 0 && std::ranges::binary_search(nodes_, value - 1);
  }

  // Before the identity nodes that are here.
  [[nodiscard]] std::size_t origin(std::size_t value) const {
    while (made_here(value) && network_.nodes[value - 1].identity())
      value = network_.nodes[value - 1].inputs.front();
    return value;
  }

  bool fuse(std::size_t number, const Node& node) {
    const std::size_t input = origin(node.inputs.front());
    const auto before = std::ranges::find(steps_, input, &Step::output);
    if (before == steps_.end() || before->copy || readers_[input] != 1) return false;
    const Node& made = network_.nodes[before->node];
    const bool takes_relu = made.is<Conv2d>() || made.is<FullyConnected>() || made.is<Binary>();
    if (node.is<Relu>() && !before->relu && takes_relu) {
      before->relu = true;
      before->output = number + 1;
      before->nodes.push_back(number);
      return true;
    }
    const auto* const pool = node.as<Pool2d>();
    if (lrn_and_pool_ && made.is<Lrn>() && pool != nullptr && pool->kind == PoolKind::max) {
      Step both{number, {before->node, number}, before->inputs, number + 1};
      both.lrn = before->node;
      steps_.erase(before);
      steps_.push_back(std::move(both));
      return true;
    }
    return false;
  }

  const Network& network_;
  const std::span<const std::size_t> nodes_;
  const std::vector<int> readers_;
  const bool lrn_and_pool_;
  std::vector<Step> steps_;
};

}  // namespace

std::vector<Step> lower(const Network& network, std::span<const std::size_t> nodes,
                        const std::set<std::size_t>& kept, bool lrn_and_pool) {
  StepMaker maker(network, nodes, kept, lrn_and_pool);
  for (const std::size_t n : nodes) {
    maker.add(n);
    if (kept.contains(n + 1) && network.values[n + 1].spatial) maker.add_copy_if_made_elsewhere(n + 1);
  }
  return maker.take();
}

Op op_of(const Network& network, const Step& step) {
  const Node& node = network.nodes[step.node];
  if (step.lrn) return LrnMaxPool{*network.nodes[*step.lrn].as<Lrn>(), *node.as<Pool2d>()};
  std::optional<Op> op;
  const auto take = [&op](const auto& of_node) {
    if constexpr (IsOneOf<std::decay_t<decltype(of_node)>, Op>::value) op = of_node;
  };
  std::visit(take, node.op);
  if (!op) throw UnsupportedError("layer " + node.name + " is no operation of an engine");
  if (auto* const conv = std::get_if<Conv2d>(&*op)) conv->relu = step.relu;
  if (auto* const fc = std::get_if<FullyConnected>(&*op)) fc->relu = step.relu;
  if (auto* const join = std::get_if<Binary>(&*op)) join->relu = step.relu;
  return *op;
}

std::string name_of(const Network& network, const Step& step) {
  const std::string& name = network.nodes[step.node].name;
  return step.lrn ? network.nodes[*step.lrn].name + "+" + name : name;
}

DType output_type(const Network& network, std::size_t value, DType map_type) {
  if (network.values[value].spatial) return map_type;
  // Whether a fully connected layer is made of it.
  std::vector<bool> of_it(network.values.size());
  of_it[value] = true;
  for (std::size_t n = 0; n < network.nodes.size(); ++n) {
    const Node& node = network.nodes[n];
    if (std::ranges::none_of(node.inputs, [&](std::size_t v) { return of_it[v]; })) continue;
    if (node.is<FullyConnected>()) return map_type;
    of_it[n + 1] = true;
  }
  return DType::f32;
}

}  // namespace halotile
