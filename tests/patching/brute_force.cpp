#include "brute_force.hpp"

#include <algorithm>

#include "patching/error.hpp"

namespace halotile::brute_force {
namespace {

std::int64_t draw(std::mt19937_64& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

Extent2 draw_extent(std::mt19937_64& random, std::int64_t low, std::int64_t high) {
  const std::int64_t height = draw(random, low, high);
  return {height, random() % 2 == 0 ? height : draw(random, low, high)};
}

// A window that fits `input`.
Window random_window(std::mt19937_64& random, Extent2 input) {
  for (;;) {
    Window w;
    if (random() % 10 == 0) {
      w.adaptive_output = draw_extent(random, 1, 12);
    } else {
      w.kernel = draw_extent(random, 1, random() % 2 == 0 ? 3 : 11);
      w.stride = draw_extent(random, 1, random() % 2 == 0 ? 2 : 5);
      w.padding = random() % 3 == 0 ? Extent2{} : draw_extent(random, 0, 5);
      if (random() % 3 == 0) w.padding.end = draw_extent(random, 0, 5);
      w.dilation = random() % 2 == 0 ? Extent2{1, 1} : draw_extent(random, 1, 3);
      w.ceil_mode = random() % 3 == 0;
    }
    try {
      (void)output_extent(w, input);
      return w;
    } catch (const ShapeError&) {
      continue;  // the kernel is too large; draw again
    }
  }
}

}  // namespace

std::string to_string(const Case& c) {
  std::string text;
  for (const LayerGeometry& l : c.layers) {
    const Window& w = l.window;
    text += halotile::to_string(l.input) + " -> ";
    if (w.adaptive_output) {
      text += "adaptive";
    } else {
      text += "kernel " + halotile::to_string(w.kernel) + " stride " + halotile::to_string(w.stride) +
              " padding " + halotile::to_string(w.padding) + " dilation " + halotile::to_string(w.dilation) +
              (w.ceil_mode ? " ceil" : "");
    }
    text += " -> " + halotile::to_string(l.output) + "\n";
  }
  for (const StageRange& s : c.stages) {
    text += "stage [" + std::to_string(s.first) + ", " + std::to_string(s.last) + ")\n";
  }
  static const char* const kinds[] = {"whole", "patch size", "grid"};
  return text + kinds[static_cast<int>(c.patch.kind)] + " " + halotile::to_string(c.patch.value);
}

Case random_case(std::mt19937_64& random, const Limits& limits) {
  Case c;
  Extent2 extent{draw(random, 1, limits.edge), draw(random, 1, limits.edge)};
  const std::int64_t count = draw(random, 1, limits.layers);
  for (std::int64_t l = 0; l < count; ++l) {
    LayerGeometry layer;
    layer.name = "layer" + std::to_string(l);
    layer.window = random_window(random, extent);
    layer.input = extent;
    layer.output = extent = output_extent(layer.window, extent);
    layer.in_channels = l + 1;
    layer.out_channels = l + 2;
    layer.flops_per_position = static_cast<double>(draw(random, 1, 9));
    c.layers.push_back(layer);
  }
  for (std::size_t first = 0; first < c.layers.size();) {
    const auto last =
        first + static_cast<std::size_t>(draw(random, 1, static_cast<std::int64_t>(c.layers.size() - first)));
    c.stages.push_back({first, last});
    first = last;
  }
  switch (draw(random, 0, 4)) {
    case 0:
      break;
    case 1:
    case 2:
      c.patch = {PatchSpec::Kind::size, draw_extent(random, 1, random() % 2 == 0 ? 16 : 2 * limits.edge)};
      break;
    default:
      c.patch = {PatchSpec::Kind::grid, draw_extent(random, 1, 10)};
      break;
  }
  return c;
}

namespace {

// The inputs that one output is made of, each kind by its definition, position by position.
bool is_read(const AxisWindow& w, std::int64_t input, std::int64_t o, std::int64_t p) {
  if (w.adaptive_output > 0) {
    // floor(o * H / O) <= p < ceil((o + 1) * H / O), without divisions
    const bool begun = o * input < (p + 1) * w.adaptive_output;
    const bool ended = p * w.adaptive_output >= (o + 1) * input;
    return begun && !ended;
  }
  for (std::int64_t k = 0; k < w.kernel; ++k) {
    if (p == o * w.stride - w.padding.begin + k * w.dilation) return true;
  }
  return false;
}

bool is_read(const AxisTransposed& t, std::int64_t /*input*/, std::int64_t o, std::int64_t p) {
  for (std::int64_t k = 0; k < t.kernel; ++k) {
    if (o == p * t.stride - t.padding.begin + k * t.dilation) return true;
  }
  return false;
}

// x / unit is the input coordinate of output o.
struct Coordinate {
  std::int64_t x;
  std::int64_t unit;
};

Coordinate coordinate(const AxisResize& r, std::int64_t input, std::int64_t o) {
  using enum ResizeCoordinates;
  const std::int64_t up = r.step ? r.step->numerator : input;
  const std::int64_t down = r.step ? r.step->denominator : r.outputs;
  switch (r.coordinates) {
    case align_corners:
      return r.outputs == 1 ? Coordinate{0, 1} : Coordinate{o * (input - 1), r.outputs - 1};
    case asymmetric:
      return {o * up, down};
    case tf_half_pixel_for_nn:
      return {(2 * o + 1) * up, 2 * down};
    case pytorch_half_pixel:
      if (r.outputs == 1) return {0, 1};
      [[fallthrough]];
    case half_pixel:
      return {(2 * o + 1) * up - down, 2 * down};
  }
  return {0, 1};
}

bool is_read(const AxisResize& r, std::int64_t input, std::int64_t o, std::int64_t p) {
  auto [x, unit] = coordinate(r, input, o);
  x = std::clamp<std::int64_t>(x, 0, (input - 1) * unit);
  const std::int64_t at = p * unit;
  if (r.mode == ResizeMode::linear) return at - unit < x && x < at + unit;
  switch (r.rounding) {
    case NearestRounding::floor:
      return at <= x && x < at + unit;
    case NearestRounding::ceil:
      return at - unit < x && x <= at;
    case NearestRounding::round_prefer_floor:
      return 2 * at - unit < 2 * x && 2 * x <= 2 * at + unit;
    case NearestRounding::round_prefer_ceil:
      return 2 * at - unit <= 2 * x && 2 * x < 2 * at + unit;
  }
  return false;
}

bool is_read(const AxisShuffle& s, std::int64_t /*input*/, std::int64_t o, std::int64_t p) {
  return p * s.factor <= o && o < (p + 1) * s.factor;
}

bool is_read(const AxisUnshuffle& s, std::int64_t /*input*/, std::int64_t o, std::int64_t p) {
  return o * s.factor <= p && p < (o + 1) * s.factor;
}

bool is_read(const AxisPad& pad, std::int64_t input, std::int64_t o, std::int64_t p) {
  const std::int64_t x = o - pad.begin;
  if (x >= 0 && x < input) return x == p;
  if (pad.kind == PadKind::constant) return false;
  const bool before = x < 0;
  const std::int64_t end = before ? 0 : input - 1;  // the nearest position, the mirror
  return pad.kind == PadKind::edge ? p == end : x - end == end - p;
}

bool is_read(const AxisSlice& s, std::int64_t /*input*/, std::int64_t o, std::int64_t p) {
  return p == s.offset + o * s.step;
}

bool is_read(const AxisGlobal& /*map*/, std::int64_t /*input*/, std::int64_t /*o*/, std::int64_t /*p*/) {
  return true;
}

}  // namespace

Positions reads(const AxisMap& map, std::int64_t input, const Positions& out) {
  Positions in(static_cast<std::size_t>(input));
  for (std::size_t o = 0; o < out.size(); ++o) {
    if (!out[o]) continue;
    for (std::int64_t p = 0; p < input; ++p) {
      const bool read =
          std::visit([&](const auto& m) { return is_read(m, input, static_cast<std::int64_t>(o), p); }, map);
      if (read) in[static_cast<std::size_t>(p)] = true;
    }
  }
  return in;
}

Interval bounds(const Positions& set) {
  Interval around;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (!set[i]) continue;
    const auto p = static_cast<std::int64_t>(i);
    around = around.empty() ? Interval{p, p + 1} : Interval{around.begin, p + 1};
  }
  return around;
}

std::vector<Interval> needed(const AxisGraph& graph, std::span<const AxisCore> cores) {
  std::vector<Positions> sets;
  for (std::size_t v = 0; v < graph.values(); ++v) sets.emplace_back(static_cast<std::size_t>(graph.size(v)));
  for (const AxisCore& core : cores) {
    for (std::int64_t p = core.positions.begin; p < core.positions.end; ++p)
      sets.at(core.value).at(static_cast<std::size_t>(p)) = true;
  }
  std::vector<Interval> needed(graph.values());
  for (std::size_t v = graph.values(); v-- > 0;) {
    needed[v] = bounds(sets[v]);
    for (const AxisEdge& e : graph.edges()) {
      if (e.to != v) continue;
      const Positions read = reads(e.map, graph.size(e.from), sets[v]);
      for (std::size_t p = 0; p < read.size(); ++p) sets[e.from][p] = sets[e.from][p] || read[p];
    }
  }
  return needed;
}

}  // namespace halotile::brute_force
