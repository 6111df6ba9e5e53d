#include "brute_force.hpp"

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

Positions reads(const AxisWindow& w, std::int64_t input, const Positions& out) {
  Positions in(static_cast<std::size_t>(input));
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!out[i]) continue;
    const auto o = static_cast<std::int64_t>(i);
    if (w.adaptive_output > 0) {
      for (std::int64_t p = 0; p < input; ++p) {
        // floor(o * H / O) <= p < ceil((o + 1) * H / O), without divisions
        const bool begun = o * input < (p + 1) * w.adaptive_output;
        const bool ended = p * w.adaptive_output >= (o + 1) * input;
        if (begun && !ended) in[static_cast<std::size_t>(p)] = true;
      }
      continue;
    }
    for (std::int64_t k = 0; k < w.kernel; ++k) {
      const std::int64_t p = o * w.stride - w.padding + k * w.dilation;
      if (p >= 0 && p < input) in[static_cast<std::size_t>(p)] = true;
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

}  // namespace halotile::brute_force
