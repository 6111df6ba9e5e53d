#include "patching/axis_graph.hpp"

#include <optional>
#include <string>

#include "patching/error.hpp"

namespace halotile {
namespace {

std::string name(std::size_t value) { return "value " + std::to_string(value); }

// A way's product, and whether it is an estimate.
struct Way {
  Ratio stride;
  bool by_sizes = false;
};

// What counts of two ways that meet.
Way met(const Way& a, const Way& b) {
  if (a.by_sizes != b.by_sizes) return a.by_sizes ? b : a;
  return less(b.stride, a.stride) ? b : a;
}

}  // namespace

AxisGraph::AxisGraph(std::vector<std::int64_t> sizes, std::vector<AxisEdge> edges)
    : sizes_(std::move(sizes)), edges_(std::move(edges)), first_(sizes_.size() + 1) {
  std::size_t last = 0;
  for (const AxisEdge& e : edges_) {
    if (e.to >= sizes_.size() || e.from >= e.to || e.to < last) {
      throw ShapeError("an edge from " + name(e.from) + " to " + name(e.to) + " of " +
                       std::to_string(sizes_.size()) +
                       " values: edges must lead to larger numbers, and be listed in their order");
    }
    last = e.to;
    ++first_[e.to + 1];
  }
  for (std::size_t v = 0; v < sizes_.size(); ++v) first_[v + 1] += first_[v];
}

std::span<const AxisEdge> AxisGraph::into(std::size_t value) const {
  return std::span(edges_).subspan(first_.at(value), first_.at(value + 1) - first_.at(value));
}

void check_sizes(const AxisGraph& graph) {
  for (const AxisEdge& e : graph.edges()) {
    const std::int64_t made = output_size(e.map, graph.size(e.from));
    if (made == graph.size(e.to)) continue;
    throw ShapeError(name(e.to) + " has " + std::to_string(graph.size(e.to)) + " positions, but " +
                     std::to_string(made) + " are made of the " + std::to_string(graph.size(e.from)) +
                     " of " + name(e.from));
  }
}

std::vector<Interval> needed(const AxisGraph& graph, std::span<const AxisCore> cores) {
  std::vector<Runs> runs(graph.values());
  for (const AxisCore& core : cores) {
    if (!core.positions.empty()) runs.at(core.value).push_back(core.positions);
  }
  std::vector<Interval> needed(graph.values());
  for (std::size_t v = graph.values(); v-- > 0;) {
    merge(runs[v]);
    needed[v] = bounds(runs[v]);
    for (const AxisEdge& e : graph.into(v)) {
      const Runs read = read_positions(e.map, graph.size(e.from), runs[v]);
      runs[e.from].insert(runs[e.from].end(), read.begin(), read.end());
    }
    runs[v] = {};
  }
  return needed;
}

std::vector<Interval> unclipped(const AxisGraph& graph, const AxisCore& core) {
  std::vector<Interval> reached(graph.values());
  reached.at(core.value) = core.positions;
  for (std::size_t v = core.value + 1; v-- > 0;) {
    for (const AxisEdge& e : graph.into(v))
      reached[e.from] = hull(reached[e.from], reach(e.map, graph.size(e.from), reached[v]));
  }
  return reached;
}

std::vector<Ratio> strides(const AxisGraph& graph, std::span<const Ratio> sources) {
  std::vector<Way> ways(graph.values());
  for (std::size_t v = 0; v < graph.values(); ++v) {
    if (v < sources.size()) ways[v].stride = sources[v];
    std::optional<Way> way;
    for (const AxisEdge& e : graph.into(v)) {
      const AxisScale scale = scale_of(e.map, graph.size(e.from));
      const Way before = ways[e.from];
      const Way next{multiply(before.stride, scale.step, "the accumulated stride"),
                     before.by_sizes || scale.by_sizes};
      way = way ? met(*way, next) : next;
    }
    if (way) ways[v] = *way;
  }
  std::vector<Ratio> strides;
  for (const Way& way : ways) strides.push_back(way.stride);
  return strides;
}

ReceptiveField receptive_field(const AxisGraph& graph, std::size_t source, std::size_t value, Ratio stride) {
  ReceptiveField field;
  for (std::int64_t o = 0; o < graph.size(value); ++o) {
    const Interval seen = unclipped(graph, {value, {o, o + 1}}).at(source);
    if (seen.empty()) continue;
    field.size = std::max(field.size, seen.size());
    field.before = std::max(field.before, floor_of(o, stride) - seen.begin);
    field.behind = std::max(field.behind, seen.end - floor_of(o + 1, stride));
  }
  return field;
}

AxisGraph chain_graph(std::span<const AxisLayer> chain) {
  std::vector<std::int64_t> sizes;
  std::vector<AxisEdge> edges;
  for (const AxisLayer& layer : chain) {
    edges.push_back({layer.window, sizes.size(), sizes.size() + 1});
    sizes.push_back(layer.input);
  }
  sizes.push_back(chain.empty() ? 0 : chain.back().output);
  return {std::move(sizes), std::move(edges)};
}

std::vector<Interval> needed_intervals(std::span<const AxisLayer> chain, Interval core) {
  const AxisCore of_last{chain.size(), core};
  return needed(chain_graph(chain), {&of_last, 1});
}

}  // namespace halotile
