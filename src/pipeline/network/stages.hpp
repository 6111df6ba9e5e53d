// Stages: the parts of a network that tiles pass through before their cores are placed. First as groups of
// spatial nodes, then as what the plan takes.
#pragma once

#include <set>
#include <vector>

#include "pipeline/network/network.hpp"

namespace halotile {

/// Numbers of nodes, ascending. Groups cover a network's spatial nodes, and each reads only what groups
/// before it make.
using NodeGroup = std::vector<std::size_t>;
using NodeGroups = std::vector<NodeGroup>;

/// The groups of `stages: per_conv`: every convolution and pooling starts one, and so does what reads a whole
/// map (or gives one position to a whole map). Pointwise nodes are where the last of their inputs is made;
/// those that read the network's input alone start one.
[[nodiscard]] NodeGroups per_conv_groups(const Network& network);
/// The same with an LRN right before a max pool in the pool's group instead of the convolution's.
[[nodiscard]] NodeGroups lrn_with_pools(const Network& network, NodeGroups groups);
/// All spatial nodes in one group, or none.
[[nodiscard]] NodeGroups fused_groups(const Network& network);
/// Nodes [firsts[i], firsts[i + 1]) in group i, the last up to the end of the spatial nodes. `firsts` ascend
/// from 0.
[[nodiscard]] NodeGroups groups_from(const Network& network, const std::vector<std::size_t>& firsts);
/// Splits groups so that one ends behind each of these `nodes`.
[[nodiscard]] NodeGroups split_behind(NodeGroups groups, const std::set<std::size_t>& nodes);

/// The stages of these groups: parts that share no value, and parts that only a whole map joins, are stages
/// of their own. What later stages, vectors or users read is an output, and so is what is made by the nodes
/// `keep`; tiles are cut on the largest.
[[nodiscard]] std::vector<StageValues> stages_of(const Network& network, const NodeGroups& groups,
                                                 const std::set<std::size_t>& keep);

}  // namespace halotile
