#include "pipeline/network/stages.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "pipeline/network/op_table.hpp"

namespace halotile {
namespace {

bool reads_all(const AxisMap& map) { return std::holds_alternative<AxisGlobal>(map); }

// Per spatial node, whether it reads an input as a whole.
std::vector<bool> global_reads(const Network& network) {
  std::vector<bool> global;
  for (const PlaneEdge& edge : network.geometry().edges) {
    global.resize(std::max(global.size(), edge.to));
    if (reads_all(edge.map.rows) || reads_all(edge.map.cols)) global[edge.to - 1] = true;
  }
  return global;
}

// Nodes that read a value under any of its names.
std::int64_t readers_of(const Network& network, std::size_t value) {
  return std::ranges::count_if(network.nodes, [&](const Node& node) {
    const auto reads = [&](std::size_t v) { return network.origin(v) == value; };
    return !node.identity() && std::ranges::any_of(node.inputs, reads);
  });
}

// The parts of a group that must be stages of their own.
class GroupParts {
 public:
  GroupParts(const NodeGroup& group, const GraphGeometry& geometry) : group_(group) {
    for (const std::size_t n : group) {
      part_[n] = n;
      level_[n] = 0;
    }
    for (const PlaneEdge& edge : geometry.edges) {
      const std::size_t to = edge.to - 1;
      if (edge.from == 0 || !part_.contains(to) || !part_.contains(edge.from - 1)) continue;
      const bool global = reads_all(edge.map.rows) || reads_all(edge.map.cols);
      level_[to] = std::max(level_[to], level_[edge.from - 1] + (global ? 1 : 0));
    }
    for (const PlaneEdge& edge : geometry.edges) {
      const std::size_t to = edge.to - 1;
      if (edge.from == 0 || !part_.contains(to) || !part_.contains(edge.from - 1)) continue;
      if (level_[to] == level_[edge.from - 1]) part_[root(to)] = root(edge.from - 1);
    }
  }

  [[nodiscard]] NodeGroups parts() {
    std::map<std::pair<int, std::size_t>, NodeGroup> by_level;  // and by the part's first node
    std::map<std::size_t, std::size_t> first;                   // of each root
    for (const std::size_t n : group_) {
      const std::size_t of = first.try_emplace(root(n), n).first->second;
      by_level[{level_[n], of}].push_back(n);
    }
    NodeGroups all;
    for (auto& [key, nodes] : by_level) all.push_back(std::move(nodes));
    return all;
  }

 private:
  std::size_t root(std::size_t n) {
    while (part_[n] != n) n = part_[n] = part_[part_[n]];
    return n;
  }

  const NodeGroup& group_;
  std::map<std::size_t, std::size_t> part_;
  std::map<std::size_t, int> level_;  // how many whole maps lie between it and what the group reads
};

StageValues values_of(const Network& network, const NodeGroup& nodes, const std::set<std::size_t>& keep) {
  StageValues stage;
  std::set<std::size_t> outputs;
  for (const std::size_t n : nodes) {
    stage.made.push_back(n + 1);
    if (keep.contains(n)) outputs.insert(n + 1);
  }
  const auto made = [&](std::size_t value) {
    return value > 0 && std::ranges::binary_search(nodes, value - 1);
  };
  for (std::size_t n = 0; n < network.nodes.size(); ++n) {
    if (std::ranges::binary_search(nodes, n)) continue;
    for (const std::size_t v : network.nodes[n].inputs) {
      if (made(v)) outputs.insert(v);
    }
  }
  for (const std::size_t v : network.outputs) {
    if (made(v)) outputs.insert(v);
  }
  stage.outputs.assign(outputs.begin(), outputs.end());
  const auto area = [&](std::size_t value) { return network.values[value].shape.extent.area(); };
  stage.tiling = stage.outputs.front();
  for (const std::size_t v : stage.outputs) {
    if (area(v) >= area(stage.tiling)) stage.tiling = v;
  }
  return stage;
}

}  // namespace

NodeGroups per_conv_groups(const Network& network) {
  NodeGroups groups;
  const std::vector<bool> global = global_reads(network);
  std::vector<std::size_t> group_of(network.spatial_nodes());
  for (std::size_t n = 0; n < group_of.size(); ++n) {
    const Node& node = network.nodes[n];
    std::optional<std::size_t> with;  // the group of the last input that is made
    for (const std::size_t v : node.inputs) {
      if (v > 0) with = std::max(with.value_or(0), group_of[v - 1]);
    }
    if (node.row->slides || global[n] || !with) {
      with = groups.size();
      groups.emplace_back();
    }
    group_of[n] = *with;
    groups[*with].push_back(n);
  }
  return groups;
}

NodeGroups lrn_with_pools(const Network& network, NodeGroups groups) {
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::size_t pool = groups[g].front();
    const auto* const op = network.nodes[pool].as<Pool2d>();
    if (op == nullptr || op->kind != PoolKind::max) continue;
    const std::size_t input = network.origin(network.nodes[pool].inputs.front());
    if (input == 0 || !network.nodes[input - 1].is<Lrn>()) continue;
    const std::size_t lrn = input - 1;
    const auto from = std::ranges::find_if(
        groups, [&](const NodeGroup& group) { return std::ranges::binary_search(group, lrn); });
    if (readers_of(network, input) != 1) continue;
    // What lies between the two are other names of the LRN's output.
    const auto first = std::ranges::find(*from, lrn);
    const auto moves = [&](std::size_t n) { return n >= lrn && network.origin(n + 1) == input; };
    if (first == from->begin() || !std::all_of(first, from->end(), moves)) continue;
    groups[g].insert(groups[g].begin(), first, from->end());
    from->erase(first, from->end());
  }
  return groups;
}

NodeGroups fused_groups(const Network& network) { return groups_from(network, {0}); }

NodeGroups groups_from(const Network& network, const std::vector<std::size_t>& firsts) {
  NodeGroups groups;
  const std::size_t end = network.spatial_nodes();
  for (std::size_t i = 0; i < firsts.size(); ++i) {
    const std::size_t last = i + 1 < firsts.size() ? firsts[i + 1] : end;
    if (firsts[i] >= last) continue;
    NodeGroup& group = groups.emplace_back(last - firsts[i]);
    std::iota(group.begin(), group.end(), firsts[i]);
  }
  return groups;
}

NodeGroups split_behind(NodeGroups groups, const std::set<std::size_t>& nodes) {
  for (const std::size_t node : nodes) {
    const auto group = std::ranges::find_if(
        groups, [&](const NodeGroup& g) { return std::ranges::binary_search(g, node) && g.back() != node; });
    if (group == groups.end()) continue;
    const auto behind = std::ranges::upper_bound(*group, node);
    NodeGroup rest(behind, group->end());
    group->erase(behind, group->end());
    groups.insert(group + 1, std::move(rest));
  }
  return groups;
}

std::vector<StageValues> stages_of(const Network& network, const NodeGroups& groups,
                                   const std::set<std::size_t>& keep) {
  const GraphGeometry geometry = network.geometry();
  std::vector<StageValues> stages;
  for (const NodeGroup& group : groups) {
    for (const NodeGroup& part : GroupParts(group, geometry).parts())
      stages.push_back(values_of(network, part, keep));
  }
  return stages;
}

}  // namespace halotile
