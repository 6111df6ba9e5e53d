#include "random_graph.hpp"

#include <initializer_list>

#include "patching/error.hpp"

namespace halotile::random_graph {
namespace {

std::int64_t number(std::mt19937_64& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

AxisPadding draw_padding(std::mt19937_64& random) {
  if (random() % 3 == 0) return {};
  const std::int64_t begin = number(random, 0, 4);
  return {begin, random() % 2 == 0 ? begin : number(random, 0, 4)};
}

AxisWindow draw_window(std::mt19937_64& random) {
  AxisWindow w;
  if (random() % 5 == 0) return w;
  w.kernel = number(random, 1, random() % 2 == 0 ? 3 : 9);
  w.stride = number(random, 1, random() % 2 == 0 ? 2 : 4);
  w.padding = draw_padding(random);
  w.dilation = random() % 2 == 0 ? 1 : number(random, 1, 3);
  w.ceil_mode = random() % 3 == 0;
  return w;
}

AxisTransposed draw_transposed(std::mt19937_64& random) {
  return {number(random, 1, 6), number(random, 1, 4), draw_padding(random), number(random, 0, 3),
          random() % 2 == 0 ? 1 : number(random, 1, 3)};
}

AxisResize draw_resize(std::mt19937_64& random, std::int64_t outputs) {
  AxisResize r;
  r.outputs = outputs;
  r.mode = random() % 2 == 0 ? ResizeMode::linear : ResizeMode::nearest;
  r.coordinates = static_cast<ResizeCoordinates>(random() % 5);
  r.rounding = static_cast<NearestRounding>(random() % 4);
  if (random() % 3 == 0) r.step = ratio(number(random, 1, 9), number(random, 1, 9));
  return r;
}

AxisPad draw_pad(std::mt19937_64& random) {
  return {number(random, -4, 6), number(random, -4, 6), static_cast<PadKind>(random() % 3)};
}

AxisSlice draw_slice(std::mt19937_64& random, std::int64_t input) {
  AxisSlice s;
  s.offset = number(random, 0, input - 1);
  s.step = number(random, 1, 4);
  s.outputs = number(random, 1, (input - 1 - s.offset) / s.step + 1);
  return s;
}

AxisMap draw_any(std::mt19937_64& random, std::int64_t input, std::int64_t most) {
  AxisWindow adaptive;
  adaptive.adaptive_output = number(random, 1, most);
  switch (random() % 12) {
    case 0:
      return adaptive;
    case 1:
    case 2:
      return draw_transposed(random);
    case 3:
    case 4:
      return draw_resize(random, number(random, 1, most));
    case 5:
      return AxisShuffle{number(random, 1, 4)};
    case 6:
      return AxisUnshuffle{number(random, 1, 4)};
    case 7:
      return draw_pad(random);
    case 8:
      return draw_slice(random, input);
    case 9:
      return random() % 3 == 0 ? AxisMap(AxisGlobal{number(random, 1, most)}) : AxisMap(draw_pad(random));
    default:
      return draw_window(random);
  }
}

// A map that makes `outputs` of `input`.
AxisMap draw_joining(std::mt19937_64& random, std::int64_t input, std::int64_t outputs) {
  for (int i = 0; i < 20; ++i) {
    const AxisMap map = draw_map(random, input, 2 * outputs);
    if (output_size(map, input) == outputs) return map;
  }
  if (input == outputs && random() % 4 != 0) return AxisWindow{};
  if (input > outputs && random() % 2 == 0) return AxisSlice{number(random, 0, input - outputs), 1, outputs};
  return draw_resize(random, outputs);
}

// The values that each value is made of: none for sources.
using Ways = std::vector<std::vector<std::size_t>>;

Ways draw_ways(std::mt19937_64& random, const Limits& limits) {
  Ways ways(static_cast<std::size_t>(random() % 2 == 0 ? 1 : number(random, 1, 3)));
  for (std::int64_t more = number(random, 1, limits.values); more > 0; --more) {
    const std::size_t to = ways.size();
    ways.emplace_back();
    for (std::uint64_t inputs = random() % 5 < 3 ? 1 : 2 + random() % 2; inputs > 0; --inputs)
      ways.back().push_back(random() % 2 == 0 ? to - 1 : random() % to);
  }
  return ways;
}

// Sizes and maps along these ways.
AxisGraph draw_along(std::mt19937_64& random, const Limits& limits, const Ways& ways) {
  std::vector<std::int64_t> sizes;
  std::vector<AxisEdge> edges;
  for (std::size_t to = 0; to < ways.size(); ++to) {
    std::int64_t size = ways[to].empty() ? number(random, 1, limits.size) : 0;
    for (const std::size_t from : ways[to]) {
      edges.push_back({size == 0 ? draw_map(random, sizes[from], limits.most_size)
                                 : draw_joining(random, sizes[from], size),
                       from, to});
      size = output_size(edges.back().map, sizes[from]);
    }
    sizes.push_back(size);
  }
  return {sizes, edges};
}

GraphGeometry plane_of(const AxisGraph& rows, const AxisGraph& cols) {
  GraphGeometry graph;
  for (std::size_t v = 0; v < rows.values(); ++v)
    graph.values.push_back({"v" + std::to_string(v), {rows.size(v), cols.size(v)}, 1, 0});
  for (std::size_t e = 0; e < rows.edges().size(); ++e) {
    const AxisEdge& row = rows.edges()[e];
    graph.edges.push_back({{row.map, cols.edges()[e].map}, row.from, row.to});
  }
  return graph;
}

// The values that are made, in stages of neighbours; outputs are what others or nobody reads, and some more.
std::vector<StageValues> draw_stages(std::mt19937_64& random, const GraphGeometry& graph) {
  std::vector<int> stage_of(graph.values.size(), -1);
  int stage = 0;
  for (const PlaneEdge& e : graph.edges) {
    if (stage_of[e.to] >= 0) continue;
    if (random() % 3 == 0) ++stage;
    stage_of[e.to] = stage;
  }
  std::vector<StageValues> stages;
  for (int s = 0; s <= stage; ++s) {
    StageValues values;
    for (std::size_t v = 0; v < graph.values.size(); ++v) {
      if (stage_of[v] != s) continue;
      values.made.push_back(v);
      bool read_here = false;
      bool read_elsewhere = false;
      for (const PlaneEdge& e : graph.edges) {
        if (e.from == v) (stage_of[e.to] == s ? read_here : read_elsewhere) = true;
      }
      if (read_elsewhere || !read_here || random() % 6 == 0) values.outputs.push_back(v);
    }
    if (values.made.empty()) continue;
    values.tiling = values.outputs[random() % values.outputs.size()];
    stages.push_back(values);
  }
  return stages;
}

std::string text(std::initializer_list<std::int64_t> numbers) {
  std::string all;
  for (const std::int64_t n : numbers) all += " " + std::to_string(n);
  return all;
}

std::string name(const AxisWindow& w) {
  return "window" + text({w.kernel, w.stride, w.padding.begin, w.padding.end, w.dilation, w.ceil_mode,
                          w.adaptive_output});
}
std::string name(const AxisTransposed& t) {
  return "transposed" +
         text({t.kernel, t.stride, t.padding.begin, t.padding.end, t.output_padding, t.dilation});
}
std::string name(const AxisResize& r) {
  return "resize" +
         text({r.outputs, static_cast<int>(r.mode), static_cast<int>(r.coordinates),
               static_cast<int>(r.rounding)}) +
         (r.step ? " step " + halotile::to_string(*r.step) : "");
}
std::string name(const AxisShuffle& s) { return "shuffle" + text({s.factor}); }
std::string name(const AxisUnshuffle& s) { return "unshuffle" + text({s.factor}); }
std::string name(const AxisPad& p) { return "pad" + text({p.begin, p.end, static_cast<int>(p.kind)}); }
std::string name(const AxisSlice& s) { return "slice" + text({s.offset, s.step, s.outputs}); }
std::string name(const AxisGlobal& g) { return "global" + text({g.outputs}); }

}  // namespace

AxisMap draw_map(std::mt19937_64& random, std::int64_t input, std::int64_t most) {
  for (;;) {
    const AxisMap map = draw_any(random, input, most);
    try {
      if (output_size(map, input) <= most) return map;
    } catch (const ShapeError&) {
      continue;  // it does not fit; draw again
    }
  }
}

AxisGraph draw(std::mt19937_64& random, const Limits& limits) {
  Ways ways = draw_ways(random, limits);
  return draw_along(random, limits, ways);
}

Plane draw_plane(std::mt19937_64& random, const Limits& limits) {
  for (;;) {
    const Ways ways = draw_ways(random, limits);
    Plane plane;
    plane.graph = plane_of(draw_along(random, limits, ways), draw_along(random, limits, ways));
    for (ValueGeometry& v : plane.graph.values) v.flops_per_position = static_cast<double>(random() % 9);
    plane.stages = draw_stages(random, plane.graph);
    const Extent2 value{number(random, 1, 12), number(random, 1, 12)};
    if (random() % 5 > 0)
      plane.patch = {random() % 2 == 0 ? PatchSpec::Kind::size : PatchSpec::Kind::grid, value};
    return plane;
  }
}

std::vector<AxisCore> draw_cores(std::mt19937_64& random, const AxisGraph& graph) {
  std::vector<AxisCore> cores;
  for (std::uint64_t count = 1 + random() % 3; count > 0; --count) {
    const std::size_t value = random() % 2 == 0 ? graph.values() - 1 : random() % graph.values();
    const std::int64_t begin = number(random, 0, graph.size(value) - 1);
    cores.push_back({value, {begin, number(random, begin, graph.size(value))}});
  }
  return cores;
}

std::string to_string(const AxisMap& map) {
  return std::visit([](const auto& m) { return name(m); }, map);
}

std::string to_string(const AxisGraph& graph) {
  std::string all = "sizes";
  for (std::size_t v = 0; v < graph.values(); ++v) all += text({graph.size(v)});
  for (const AxisEdge& e : graph.edges()) {
    all += "\n" + std::to_string(e.from) + " -> " + std::to_string(e.to) + ": " + to_string(e.map);
  }
  return all;
}

std::string to_string(const std::vector<AxisCore>& cores) {
  std::string all = "asked for";
  for (const AxisCore& c : cores) {
    all += " value " + std::to_string(c.value) + " [" + std::to_string(c.positions.begin) + ", " +
           std::to_string(c.positions.end) + ")";
  }
  return all;
}

std::string to_string(const Plane& plane) {
  std::string all = "rows: " + to_string(plane.graph.rows()) + "\ncolumns: " + to_string(plane.graph.cols());
  for (const StageValues& stage : plane.stages) {
    all += "\nstage, cut on " + std::to_string(stage.tiling) + ", makes";
    for (const std::size_t v : stage.made) all += " " + std::to_string(v);
    all += ", outputs";
    for (const std::size_t v : stage.outputs) all += " " + std::to_string(v);
  }
  static const char* const kinds[] = {"whole", "patch size", "grid"};
  return all + "\n" + kinds[static_cast<int>(plane.patch.kind)] + " " +
         halotile::to_string(plane.patch.value);
}

}  // namespace halotile::random_graph
