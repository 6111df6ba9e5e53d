// Model files: YAML, or ONNX by its reader.
#include <fmt/format.h>

#include <set>

#include "formats/home_path.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/onnx/onnx_reader.hpp"
#include "pipeline/network/op_table.hpp"
#include "pipeline/network/weights.hpp"

namespace halotile {
namespace {

class ModelReader {
 public:
  ModelReader(const std::filesystem::path& file, std::optional<Extent2> input_override)
      : diagnostics_(shown_path(file)), root_(diagnostics_, load_yaml(file), "") {
    network_.name = file.stem().string();
    if (const auto name = root_.find("name")) network_.name = name->text().value_or(network_.name);
    if (const auto weights = root_.find("weights")) {
      YamlMap map(diagnostics_, weights->node(), "weights");
      network_.rename = map.words("rename");
      map.finish();
    }
    if (const auto names = root_.find("class_names")) read_class_names(*names, file.parent_path());
    const MapShape input = read_input(input_override);
    read_layers(input);
    const auto outputs = root_.find("outputs");
    if (outputs) read_outputs(*outputs);
    root_.finish();
    diagnostics_.throw_if_any();
    network_.finish();
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

  MapShape read_input(std::optional<Extent2> input_override) {
    const auto input = root_.require("input", "input: {channels: 3, height: 227, width: 227}");
    if (!input) return {};
    YamlMap map(diagnostics_, input->node(), "input");
    const auto size = [&map](const char* key) {
      const auto value = map.require(key, fmt::format("{}: 224", key));
      return value ? value->integer(1, largest_size).value_or(1) : 1;
    };
    MapShape shape{size("channels"), {size("height"), size("width")}};
    map.finish();
    if (input_override) shape.extent = *input_override;
    return shape;
  }

  void read_layers(const MapShape& input) {
    const auto layers =
        root_.require("layers", "layers: [{type: conv, out_channels: 96, kernel: 11, stride: 4}]");
    if (!layers) return;
    try {
      network_.set_input(input);
    } catch (const ShapeError& e) {
      layers->error(fmt::format("the input is too large: {}", e.what()));
      return;
    }
    const auto values = layers->list();
    if (layers->is_list() && values.empty()) layers->error("holds no layers; a network needs at least one");
    for (const YamlValue& value : values) {
      if (!read_layer(value)) return;  // the shapes behind it are unknown
    }
  }

  // False when the layer's output shape cannot be told.
  bool read_layer(const YamlValue& value) {
    YamlMap map(diagnostics_, value.node(), value.path());
    const auto type = map.require("type", "type: conv");
    if (!type) return false;
    const auto known = type->choice(op_types());
    if (!known) return false;
    Node node;
    node.row = &op_row(*known);
    node.name = fmt::format("{}{}", *known, ++counts_[*known]);
    if (const auto name = map.find("name")) node.name = name->text().value_or(node.name);
    if (!read_inputs(map, node)) return false;
    if (!numbers_.emplace(node.name, network_.values.size()).second) {
      value.error(fmt::format("has the name '{}', which an earlier layer has; names must differ", node.name));
    }
    std::vector<MapShape> in;
    for (const std::size_t v : node.inputs) in.push_back(network_.values[v].shape);
    if (node.row->read != nullptr) node.row->read(map, node, in);
    map.finish();
    for (const std::size_t v : node.inputs) {
      if (!node.row->needs_map || network_.values[v].spatial) continue;
      value.error(
          fmt::format("is a {} layer behind flatten or fully_connected; it needs a feature map", *known));
      return false;
    }
    const std::string name = node.name;
    try {
      (void)network_.add(std::move(node));
    } catch (const ShapeError& e) {
      value.error(fmt::format("({}, on a {} map of {} channels): {}", name, to_string(in.front().extent),
                              in.front().channels, e.what()));
      return false;
    }
    return true;
  }

  // The layers that `from` names, or the one before. False where one is unknown.
  bool read_inputs(YamlMap& map, Node& node) {
    node.inputs = {network_.values.size() - 1};
    const OpRow& row = *node.row;
    const auto from = map.find("from");
    if (!from) {
      if (row.inputs == 1) return true;
      map.error(fmt::format("is a {} layer without `from`; it reads {} values, as in from: [conv1, conv2]",
                            row.type, row.inputs == row.most ? fmt::format("{}", row.inputs) : "several"));
      return false;
    }
    const std::vector<YamlValue> words = from->is_list() ? from->list() : std::vector<YamlValue>{*from};
    node.inputs.clear();
    for (const YamlValue& word : words) {
      const auto name = word.text();
      if (!name) return false;
      const auto found = numbers_.find(*name);
      if (found == numbers_.end()) {
        word.error(unknown_layer(*name));
        return false;
      }
      node.inputs.push_back(found->second);
    }
    if (words.size() < row.inputs || words.size() > row.most) {
      from->error(fmt::format(
          "names {} layers; a {} layer reads {}", words.size(), row.type,
          row.inputs == row.most ? fmt::format("{}", row.inputs) : fmt::format("at least {}", row.inputs)));
      return false;
    }
    return true;
  }

  [[nodiscard]] std::string unknown_layer(const std::string& name) const {
    std::vector<std::string> names;
    for (const auto& [known, number] : numbers_) names.push_back(known);
    const auto near = nearest_name(name, names);
    return fmt::format(
        "'{}' is no layer before this one{}", shown_name(name),
        near ? fmt::format("; did you mean '{}'?", *near) : "; `from` names earlier layers, or input");
  }

  void read_outputs(const YamlValue& outputs) {
    for (const YamlValue& word : outputs.list()) {
      const auto name = word.text();
      if (!name) continue;
      const auto found = numbers_.find(*name);
      if (found == numbers_.end() || found->second == 0) {
        word.error(fmt::format("'{}' is no layer; outputs are names of layers", shown_name(*name)));
      } else {
        network_.outputs.push_back(found->second);
      }
    }
  }

  Diagnostics diagnostics_;
  YamlMap root_;
  Network network_;
  std::map<std::string, int> counts_;
  std::map<std::string, std::size_t> numbers_{{"input", 0}};  // of values by their names
};

}  // namespace

ModelFile read_model(const std::filesystem::path& file, std::optional<Extent2> input_override,
                     const std::string& until) {
  ModelFile model;
  if (is_onnx(file)) {
    model = read_onnx(file, input_override);
  } else {
    model.network = ModelReader(file, input_override).take();
  }
  if (!until.empty()) model.network.end_at(model.network.index_of(until));
  return model;
}

Network read_network(const std::filesystem::path& file, std::optional<Extent2> input_override,
                     const std::string& until) {
  return read_model(file, input_override, until).network;
}

}  // namespace halotile
