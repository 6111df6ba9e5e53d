#include "pipeline/support.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>

#include <array>
#include <fstream>
#include <stdexcept>

#include "patching/error.hpp"

namespace halotile::support {
namespace {

namespace fs = std::filesystem;

// One int, or [h, w].
std::string pair_text(Draw& draw, std::int64_t low, std::int64_t high) {
  const std::int64_t a = draw.integer(low, high);
  if (draw.once_in(2)) return fmt::format("{}", a);
  return fmt::format("[{}, {}]", a, draw.integer(low, high));
}

std::string conv_text(Draw& draw, std::int64_t in_channels, const ModelLimits& limits) {
  std::int64_t groups = 1;
  if (draw.once_in(3)) {
    for (std::int64_t g = in_channels; g > 1; --g) {
      if (in_channels % g == 0 && draw.once_in(2)) {
        groups = g;
        break;
      }
    }
  }
  const std::int64_t out = groups * draw.integer(1, std::max<std::int64_t>(1, limits.channels / groups));
  if (limits.usual_windows) {
    const std::int64_t kernel = draw.integer(1, 3);
    return fmt::format("type: conv, out_channels: {}, groups: {}, kernel: {}, stride: {}, padding: {}", out,
                       groups, kernel, draw.integer(1, 3), draw.integer(0, (kernel - 1) / 2));
  }
  std::string text = fmt::format("type: conv, out_channels: {}, groups: {}, kernel: {}", out, groups,
                                 pair_text(draw, 1, draw.once_in(4) ? 7 : 3));
  if (draw.once_in(3)) text += ", stride: " + pair_text(draw, 1, draw.once_in(4) ? 5 : 2);
  if (draw.once_in(2)) text += ", padding: " + pair_text(draw, 0, 4);
  if (draw.once_in(3)) text += ", dilation: " + pair_text(draw, 1, 3);
  if (draw.once_in(5)) text += ", bias: false";
  return text;
}

std::string pool_text(Draw& draw) {
  if (draw.once_in(4)) return "type: adaptive_avg_pool, output: " + pair_text(draw, 1, 8);
  const bool max = draw.once_in(2);
  const std::int64_t kernel = draw.integer(1, 4);
  std::string text = fmt::format("type: {}, kernel: {}", max ? "max_pool" : "avg_pool", kernel);
  if (draw.once_in(2)) text += ", stride: " + pair_text(draw, 1, 5);
  if (draw.once_in(2)) text += ", padding: " + pair_text(draw, 0, kernel / 2);
  if (draw.once_in(2)) text += ", ceil_mode: true";
  if (max && draw.once_in(3)) text += ", dilation: " + pair_text(draw, 1, 3);
  if (!max && draw.once_in(2)) text += ", count_include_pad: false";
  return text;
}

std::string spatial_text(Draw& draw, std::int64_t channels, const ModelLimits& limits) {
  switch (draw.integer(0, 9)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return conv_text(draw, channels, limits);
    case 4:
    case 5:
      return pool_text(draw);
    case 6:
      return fmt::format("type: lrn, size: {}, alpha: 0.{}, beta: {}", draw.integer(1, 7), draw.integer(1, 9),
                         draw.once_in(3) ? "0.5" : "0.75");
    case 7:
      return "type: dropout";
    case 8:
      if (draw.once_in(2)) return "type: leaky_relu, slope: 0.2";
      return draw.once_in(2) ? "type: softmax" : "type: relu";
    default:
      return "type: relu";
  }
}

}  // namespace

TempFolder::TempFolder() {
  std::string name = (fs::temp_directory_path() / "halotile-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for temporary files");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path TempFolder::write(const std::string& name, const std::string& text) const {
  const fs::path file = path_ / name;
  fs::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  if (!stream.flush()) throw std::runtime_error("cannot write " + file.string());
  return file;
}

Network network_of(const std::string& model) {
  const TempFolder folder;
  return read_network(folder.write("model.yaml", model), std::nullopt, "");
}

std::string random_model(Draw& draw, const ModelLimits& limits) {
  std::string model =
      fmt::format("input: {{channels: {}, height: {}, width: {}}}\nlayers:\n", draw.integer(1, 6),
                  draw.integer(1, limits.edge), draw.integer(1, limits.edge));
  const std::string input = model;
  const std::int64_t count = draw.integer(1, limits.layers);
  std::int64_t made = 0;
  std::int64_t channels = network_of(input + "  - {type: relu}\n").input().channels;
  // Layers that do not fit behind what is there (a kernel larger than the map) are drawn again.
  for (int tries = 0; made < count && tries < 100; ++tries) {
    const std::string next = model + "  - {" + spatial_text(draw, channels, limits) + "}\n";
    try {
      const MapShape last = network_of(next).values.back().shape;
      if (last.extent.area() > 2 * limits.edge * limits.edge) continue;
      channels = last.channels;
    } catch (const ConfigError&) {
      continue;
    }
    model = next;
    ++made;
  }
  if (!limits.vector_part || draw.once_in(3)) return model;
  if (draw.once_in(2)) model += "  - {type: flatten}\n";
  if (draw.once_in(3)) model += "  - {type: dropout}\n";
  for (std::int64_t f = draw.integer(1, 2); f > 0; --f) {
    model += fmt::format("  - {{type: fully_connected, out_features: {}}}\n",
                         draw.once_in(4) ? 700 : draw.integer(1, 40));
    if (draw.once_in(3)) model += "  - {type: dropout}\n";
    if (draw.once_in(2)) model += "  - {type: relu}\n";
  }
  if (draw.once_in(2)) model += "  - {type: softmax}\n";
  return model;
}

namespace {

// A value of a graph that is being drawn.
struct Drawn {
  std::string name;
  MapShape shape;
};

// A join of `a` and another value that fits; nothing where there is none.
std::optional<std::string> join_text(Draw& draw, const Drawn& a, const std::vector<Drawn>& values) {
  const Drawn& b = values[static_cast<std::size_t>(draw.integer(0, std::ssize(values) - 1))];
  const auto fits = [](std::int64_t x, std::int64_t y) { return x == y || x == 1 || y == 1; };
  const Extent2 e = a.shape.extent;
  const Extent2 f = b.shape.extent;
  if (e == f && (a.shape.channels != b.shape.channels || draw.once_in(3)))
    return fmt::format("type: concat, from: [{}, {}{}]", a.name, b.name,
                       draw.once_in(4) ? ", " + a.name : "");
  if (!fits(a.shape.channels, b.shape.channels) || !fits(e.height, f.height) || !fits(e.width, f.width))
    return std::nullopt;
  static constexpr std::array kinds{"add", "add", "subtract", "multiply"};
  return fmt::format("type: {}, from: [{}, {}]", kinds[static_cast<std::size_t>(draw.integer(0, 3))], a.name,
                     b.name);
}

}  // namespace

std::string random_graph_model(Draw& draw, const ModelLimits& limits) {
  const MapShape input{draw.integer(1, 6), {draw.integer(1, limits.edge), draw.integer(1, limits.edge)}};
  std::string model = fmt::format("input: {{channels: {}, height: {}, width: {}}}\nlayers:\n", input.channels,
                                  input.extent.height, input.extent.width);
  std::vector<Drawn> values{{"input", input}};
  const std::int64_t count = draw.integer(1, limits.layers);
  for (int tries = 0; std::ssize(values) <= count && tries < 100; ++tries) {
    // Mostly one of the last.
    const std::int64_t last = std::ssize(values) - 1;
    const Drawn& from = values[static_cast<std::size_t>(
        draw.integer(draw.once_in(3) ? 0 : std::max<std::int64_t>(0, last - 2), last))];
    std::optional<std::string> text;
    if (draw.once_in(3)) text = join_text(draw, from, values);
    if (!text) text = spatial_text(draw, from.shape.channels, limits) + ", from: " + from.name;
    const std::string name = fmt::format("v{}", values.size());
    const std::string next = model + "  - {" + *text + ", name: " + name + "}\n";
    try {
      const Network network = network_of(next);
      const MapShape shape = network.out(network.index_of(name)).shape;
      if (shape.extent.area() > 2 * limits.edge * limits.edge || shape.channels > 4 * limits.channels)
        continue;
      values.push_back({name, shape});
    } catch (const ConfigError&) {
      continue;
    }
    model = next;
  }
  return model;
}

}  // namespace halotile::support
