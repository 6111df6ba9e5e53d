#include "pipeline/network/network.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "formats/home_path.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/yaml_reader.hpp"

namespace halotile {
namespace {

const std::array<std::string, 10>& type_names() {
  static const std::array<std::string, 10> names{"conv",     "relu",     "lrn",
                                                 "max_pool", "avg_pool", "adaptive_avg_pool",
                                                 "flatten",  "dropout",  "fully_connected",
                                                 "softmax"};
  return names;
}

Window read_window(YamlMap& map, bool is_conv, bool has_dilation, bool has_ceil_mode) {
  Window w;
  if (const auto kernel = map.require("kernel", "kernel: 3")) {
    w.kernel = kernel->extent(1, largest_size).value_or(Extent2{1, 1});
  }
  w.stride = map.extent("stride", is_conv ? Extent2{1, 1} : w.kernel, 1, largest_size);
  const Extent2 padding = map.extent("padding", {0, 0}, 0, largest_size);
  w.padding = padding;
  if (has_dilation) w.dilation = map.extent("dilation", {1, 1}, 1, largest_size);
  if (has_ceil_mode) w.ceil_mode = map.boolean("ceil_mode", false);
  if (!is_conv && (2 * padding.height > w.kernel.height || 2 * padding.width > w.kernel.width)) {
    map.error(fmt::format(
        "has padding {} with kernel {}; a pool's padding may be at most half its kernel, or windows "
        "would hold nothing but padding",
        to_string(padding), to_string(w.kernel)));
  }
  return w;
}

void read_conv(YamlMap& map, Layer& layer) {
  Conv2d& conv = layer.conv;
  conv.in_channels = layer.in.channels;
  if (const auto channels = map.require("out_channels", "out_channels: 96")) {
    conv.out_channels = channels->integer(1, largest_size).value_or(1);
  }
  conv.groups = map.integer("groups", 1, 1, largest_size);
  layer.bias = map.boolean("bias", true);
  conv.window = layer.window = read_window(map, true, true, false);
  if (conv.in_channels % conv.groups != 0 || conv.out_channels % conv.groups != 0) {
    map.error(fmt::format("has groups {}, which does not divide its {} input and {} output channels",
                          conv.groups, conv.in_channels, conv.out_channels));
    conv.groups = 1;
  }
}

void read_pool(YamlMap& map, Layer& layer) {
  layer.pool.kind = layer.kind == LayerKind::max_pool ? PoolKind::max : PoolKind::average;
  if (layer.kind == LayerKind::adaptive_avg_pool) {
    Window w;
    if (const auto output = map.require("output", "output: [6, 6]")) {
      w.adaptive_output = output->extent(1, largest_size).value_or(Extent2{1, 1});
    }
    layer.pool.window = layer.window = w;
    return;
  }
  layer.pool.window = layer.window = read_window(map, false, layer.kind == LayerKind::max_pool, true);
  if (layer.kind == LayerKind::avg_pool)
    layer.pool.count_include_pad = map.boolean("count_include_pad", true);
}

void read_lrn(YamlMap& map, Layer& layer) {
  layer.lrn.size = map.integer("size", 5, 1, largest_size);
  layer.lrn.alpha = static_cast<float>(map.number("alpha", 1e-4, 0, 1e6));
  layer.lrn.beta = static_cast<float>(map.number("beta", 0.75, 0, 1e3));
  layer.lrn.k = static_cast<float>(map.number("k", 1.0, 0, 1e6));
}

void check_weights(std::int64_t inputs, std::int64_t outputs) {
  (void)checked_multiply(checked_multiply(inputs, outputs, "the number of weights"), 4,
                         "the bytes of the weights");
}

// Works out the layer's output and work. Throws ShapeError.
void infer(Layer& layer) {
  const std::int64_t k_area = layer.window.kernel.area();
  layer.out = layer.in;
  switch (layer.kind) {
    case LayerKind::conv: {
      layer.out = {layer.conv.out_channels, output_extent(layer.window, layer.in.extent)};
      const std::int64_t reduction =
          checked_multiply(k_area, layer.conv.in_channels / layer.conv.groups, "the filter's size");
      check_weights(reduction, layer.conv.out_channels);
      layer.flops = 2.0 * static_cast<double>(reduction) * static_cast<double>(layer.out.elements());
      break;
    }
    case LayerKind::max_pool:
    case LayerKind::avg_pool:
      layer.out.extent = output_extent(layer.window, layer.in.extent);
      layer.flops = static_cast<double>(k_area) * static_cast<double>(layer.out.elements());
      break;
    case LayerKind::adaptive_avg_pool:
      layer.out.extent = output_extent(layer.window, layer.in.extent);
      layer.flops = static_cast<double>(layer.in.elements());
      break;
    case LayerKind::lrn:
      // Squares, window sums, scale and offset, two roots' product and a division: about 2 * size + 6 each.
      layer.flops = static_cast<double>(2 * layer.lrn.size + 6) * static_cast<double>(layer.in.elements());
      break;
    case LayerKind::flatten:
      layer.out = {layer.in.elements(), {1, 1}};
      break;
    case LayerKind::fully_connected:
      layer.fully_connected.in_features = layer.in.elements();
      check_weights(layer.fully_connected.in_features, layer.fully_connected.out_features);
      layer.fully_connected.features = {0, layer.fully_connected.out_features};
      layer.out = {layer.fully_connected.out_features, {1, 1}};
      layer.flops = 2.0 * static_cast<double>(layer.in.elements()) * static_cast<double>(layer.out.channels);
      break;
    case LayerKind::relu:
      layer.flops = static_cast<double>(layer.in.elements());
      break;
    case LayerKind::softmax:
      layer.flops = 4.0 * static_cast<double>(layer.in.elements());
      break;
    case LayerKind::dropout:
      break;
  }
  (void)checked_multiply(layer.out.elements(), 4, "the bytes of a map");
}

class NetworkReader {
 public:
  NetworkReader(const std::filesystem::path& file, std::optional<Extent2> input_override)
      : diagnostics_(shown_path(file)), root_(diagnostics_, load_yaml(file), "") {
    network_.name = file.stem().string();
    if (const auto name = root_.find("name")) network_.name = name->text().value_or(network_.name);
    if (const auto weights = root_.find("weights")) {
      YamlMap map(diagnostics_, weights->node(), "weights");
      network_.rename = map.words("rename");
      map.finish();
    }
    if (const auto names = root_.find("class_names")) {
      read_class_names(*names, file.parent_path());
    }
    read_input(input_override);
    read_layers();
    root_.finish();
    diagnostics_.throw_if_any();
  }

  [[nodiscard]] Network take() { return std::move(network_); }

 private:
  void read_class_names(const YamlValue& names, const std::filesystem::path& folder) {
    try {
      const std::filesystem::path given = expand_home(names.text().value_or(""));
      network_.class_names = given.is_absolute() ? given : folder / given;
    } catch (const ConfigError& e) {
      names.error(e.what());
    }
  }

  void read_input(std::optional<Extent2> input_override) {
    const auto input = root_.require("input", "input: {channels: 3, height: 227, width: 227}");
    if (!input) return;
    YamlMap map(diagnostics_, input->node(), "input");
    const auto size = [&map](const char* key) {
      const auto value = map.require(key, fmt::format("{}: 224", key));
      return value ? value->integer(1, largest_size).value_or(1) : 1;
    };
    network_.input = {size("channels"), {size("height"), size("width")}};
    map.finish();
    if (input_override) network_.input.extent = *input_override;
  }

  void read_layers() {
    const auto layers =
        root_.require("layers", "layers: [{type: conv, out_channels: 96, kernel: 11, stride: 4}]");
    if (!layers) return;
    MapShape shape = network_.input;
    MapShape memory = network_.input;
    bool spatial = true;
    try {
      (void)checked_multiply(shape.elements(), 4, "the bytes of the input");
    } catch (const ShapeError& e) {
      layers->error(fmt::format("the input is too large: {}", e.what()));
      return;
    }
    const auto values = layers->list();
    if (layers->is_list() && values.empty()) layers->error("holds no layers; a network needs at least one");
    for (const YamlValue& value : values) {
      Layer layer;
      layer.in = shape;
      if (!read_layer(value, layer, spatial)) return;  // the shapes behind it are unknown
      // Flattening moves nothing: the values stay in NHWC order until a fully connected layer mixes them.
      layer.memory = layer.spatial || layer.kind == LayerKind::fully_connected ? layer.out : memory;
      shape = layer.out;
      memory = layer.memory;
      spatial = spatial && layer.spatial;
      network_.layers.push_back(std::move(layer));
    }
  }

  // False when the layer's output shape cannot be told.
  bool read_layer(const YamlValue& value, Layer& layer, bool spatial) {
    YamlMap map(diagnostics_, value.node(), value.path());
    const auto type = map.require("type", "type: conv");
    if (!type) return false;
    const auto known = type->choice(type_names());
    if (!known) return false;
    layer.kind = static_cast<LayerKind>(std::find(type_names().begin(), type_names().end(), *known) -
                                        type_names().begin());
    layer.name = fmt::format("{}{}", *known, ++counts_[*known]);
    if (const auto name = map.find("name")) layer.name = name->text().value_or(layer.name);
    if (!names_.insert(layer.name).second) {
      value.error(
          fmt::format("has the name '{}', which an earlier layer has; names must differ", layer.name));
    }
    switch (layer.kind) {
      case LayerKind::conv:
        read_conv(map, layer);
        break;
      case LayerKind::max_pool:
      case LayerKind::avg_pool:
      case LayerKind::adaptive_avg_pool:
        read_pool(map, layer);
        break;
      case LayerKind::lrn:
        read_lrn(map, layer);
        break;
      case LayerKind::dropout:
        layer.drop = static_cast<float>(map.number("p", 0.5, 0, 1));
        break;
      case LayerKind::fully_connected:
        if (const auto features = map.require("out_features", "out_features: 4096")) {
          layer.fully_connected.out_features = features->integer(1, largest_size).value_or(1);
        }
        layer.bias = map.boolean("bias", true);
        break;
      case LayerKind::relu:
      case LayerKind::flatten:
      case LayerKind::softmax:
        break;
    }
    map.finish();
    const bool needs_map = layer.kind == LayerKind::conv || layer.kind == LayerKind::lrn ||
                           layer.kind == LayerKind::max_pool || layer.kind == LayerKind::avg_pool ||
                           layer.kind == LayerKind::adaptive_avg_pool;
    if (needs_map && !spatial) {
      value.error(
          fmt::format("is a {} layer behind flatten or fully_connected; it needs a feature map", *known));
      return false;
    }
    layer.spatial = spatial && layer.kind != LayerKind::flatten && layer.kind != LayerKind::fully_connected;
    try {
      infer(layer);
    } catch (const ShapeError& e) {
      value.error(fmt::format("({}, on a {} map of {} channels): {}", layer.name, to_string(layer.in.extent),
                              layer.in.channels, e.what()));
      return false;
    }
    return true;
  }

  Diagnostics diagnostics_;
  YamlMap root_;
  Network network_;
  std::map<std::string, int> counts_;
  std::set<std::string> names_;
};

}  // namespace

std::span<const std::string> layer_type_names() { return type_names(); }

const std::string& to_string(LayerKind kind) { return type_names().at(static_cast<std::size_t>(kind)); }

std::size_t Network::spatial_layers() const {
  const auto first = std::find_if(layers.begin(), layers.end(), [](const Layer& l) { return !l.spatial; });
  return static_cast<std::size_t>(first - layers.begin());
}

std::size_t Network::index_of(const std::string& layer_name) const {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].name == layer_name) return i;
    names.push_back(layers[i].name);
  }
  const auto near = nearest_name(layer_name, names);
  throw ConfigError(fmt::format("network {} has no layer '{}'; {}", name, layer_name,
                                near ? fmt::format("did you mean '{}'?", *near)
                                     : fmt::format("its layers are {}", fmt::join(names, ", "))));
}

std::size_t Network::logits_layer() const {
  std::size_t layer = layers.size() - 1;
  const auto passes_on = [](const Layer& l) {
    return l.kind == LayerKind::softmax || (l.kind == LayerKind::dropout && l.identity());
  };
  while (layer > 0 && passes_on(layers[layer])) --layer;
  return layer;
}

std::vector<LayerGeometry> Network::geometry() const {
  std::vector<LayerGeometry> geometry;
  for (std::size_t i = 0; i < spatial_layers(); ++i) {
    const Layer& l = layers[i];
    geometry.push_back({l.name, l.window, l.in.extent, l.out.extent, l.in.channels, l.out.channels,
                        l.flops / static_cast<double>(l.out.extent.area())});
  }
  return geometry;
}

double Network::flops() const {
  double sum = 0;
  for (const Layer& l : layers) sum += l.flops;
  return sum;
}

Network read_network(const std::filesystem::path& file, std::optional<Extent2> input_override,
                     const std::string& until) {
  Network network = NetworkReader(file, input_override).take();
  if (!until.empty()) {
    const std::size_t end = network.index_of(until) + 1;
    for (std::size_t i = end; i < network.layers.size(); ++i) network.cut.insert(network.layers[i].name);
    network.layers.resize(end);
  }
  return network;
}

}  // namespace halotile
