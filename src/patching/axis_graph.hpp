// What the values of a graph need of each other along one axis.
//
// A value is a map; an edge says how one value depends on another. Several edges may lead into a value (joins
// read several values) and several out of it (skips). A chain of layers is the graph with one edge from each
// value to the next.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "patching/axis_map.hpp"

namespace halotile {

/// Value `to` is made of value `from`.
struct AxisEdge {
  AxisMap map;
  std::size_t from = 0;
  std::size_t to = 0;
};

class AxisGraph {
 public:
  /// Value v has sizes[v] positions. Values are numbered in topological order: each edge leads from a smaller
  /// number to a larger one; edges are listed in ascending order of `to`. Throws ShapeError when they are
  /// not, or name a value that there is not.
  AxisGraph(std::vector<std::int64_t> sizes, std::vector<AxisEdge> edges);

  [[nodiscard]] std::size_t values() const { return sizes_.size(); }
  [[nodiscard]] std::int64_t size(std::size_t value) const { return sizes_.at(value); }
  [[nodiscard]] const std::vector<AxisEdge>& edges() const { return edges_; }
  /// The edges that lead into a value: none for a source.
  [[nodiscard]] std::span<const AxisEdge> into(std::size_t value) const;

 private:
  std::vector<std::int64_t> sizes_;
  std::vector<AxisEdge> edges_;
  std::vector<std::size_t> first_;  // per value, and one behind: its first edge
};

/// Throws ShapeError naming the first edge whose map does not make its value's size.
void check_sizes(const AxisGraph& graph);

/// Positions asked of a value.
struct AxisCore {
  std::size_t value = 0;
  Interval positions;
};

/// Walks from `cores` back to the sources: element v of the result bounds the positions of value v that the
/// cores depend on, those asked of v itself among them.
///
/// The dependence is that of read_positions, exact but for its bounds: positions that exist only as padding
/// do not count, nor do positions that are stepped over (unless they lie between two that count). Where
/// nothing inside a map is read, its interval is empty.
[[nodiscard]] std::vector<Interval> needed(const AxisGraph& graph, std::span<const AxisCore> cores);

/// The same without ends: reaches of reaches, through what lies outside the maps. `positions` of `value`.
[[nodiscard]] std::vector<Interval> unclipped(const AxisGraph& graph, const AxisCore& core);

/// Per value, how many positions of the graph's sources stand for one of its own: sources have what `sources`
/// gives them by their number among the values (1 where it gives nothing; others' are not read), every other
/// value the product along the way to it. Where ways meet that disagree (a strided convolution's map added to
/// one that lost as much to its borders), the smallest counts; but ratios of sizes (AxisScale::by_sizes) are
/// estimates and give way to what is not.
[[nodiscard]] std::vector<Ratio> strides(const AxisGraph& graph, std::span<const Ratio> sources = {});

/// How much of one source an output of a value sees, at most, if neither map had ends.
struct ReceptiveField {
  std::int64_t size = 0;
  /// Positions seen before and behind the share [floor(o*stride), floor((o+1)*stride)) of the source that
  /// output o stands on: the halo.
  std::int64_t before = 0;
  std::int64_t behind = 0;

  bool operator==(const ReceptiveField&) const = default;
};
/// Looks at each position of `value`; `stride` is its stride to `source`. All 0 where it sees nothing.
[[nodiscard]] ReceptiveField receptive_field(const AxisGraph& graph, std::size_t source, std::size_t value,
                                             Ratio stride);

/// One layer of a chain along one axis.
struct AxisLayer {
  AxisMap window;
  std::int64_t input = 0;   ///< positions of the layer's whole input map
  std::int64_t output = 0;  ///< positions of its whole output map
};

/// The graph of a chain: value l is the map before layer l, the last value the chain's output.
[[nodiscard]] AxisGraph chain_graph(std::span<const AxisLayer> chain);

/// What the outputs `core` of the last layer need: element l of the result (size chain + 1) of the map before
/// layer l, the last element is `core`.
[[nodiscard]] std::vector<Interval> needed_intervals(std::span<const AxisLayer> chain, Interval core);

}  // namespace halotile
