#include "pipeline/running/tile_operations.hpp"

#include "pipeline/network/op_table.hpp"

namespace halotile {
namespace {

// What of an output's place in the whole map an operation depends on, beyond where its input lies to it:
// windows look the same everywhere.
std::int64_t phase(const AxisMap& map, std::int64_t begin) {
  if (std::holds_alternative<AxisWindow>(map)) return 0;
  if (const auto* const transposed = std::get_if<AxisTransposed>(&map)) return begin % transposed->stride;
  if (const auto* const shuffle = std::get_if<AxisShuffle>(&map)) return begin % shuffle->factor;
  if (std::holds_alternative<AxisUnshuffle>(map)) return 0;
  return begin;
}

// The same of its input: where it begins, to where the outputs reach.
std::int64_t offset(const AxisMap& map, Interval in, std::int64_t whole, Interval out) {
  return in.begin - reach(map, whole, out).begin;
}

}  // namespace

TileOperations::Key TileOperations::key_of(const Caller& caller, std::span<const MapGeometry> in,
                                           const MapGeometry& out) {
  Key key{caller.stream, caller.stage, caller.call, out.images};
  std::size_t at = 4;
  const auto add = [&](const MapGeometry& map) {
    for (const std::int64_t part :
         {map.rect.extent().height, map.rect.extent().width, map.image_stride, map.row_stride}) {
      key[at++] = part;
    }
  };
  add(out);
  for (const MapGeometry& map : in) add(map);
  return key;
}

const std::vector<PlaneMap>& TileOperations::reads_of(std::size_t number) {
  std::vector<PlaneMap>& reads = reads_[number];
  const Node& node = network_.nodes[number];
  if (reads.empty()) {
    std::vector<MapShape> shapes;
    for (const std::size_t v : node.inputs) shapes.push_back(network_.values[v].shape);
    for (std::size_t i = 0; i < shapes.size(); ++i)
      reads.push_back(node.row->reads == nullptr ? PlaneMap{} : node.row->reads(node, i, shapes));
  }
  return reads;
}

std::unique_ptr<Operation> TileOperations::make(const Step& step, std::optional<Interval> features,
                                                std::span<const MapGeometry> in, const MapGeometry& out) {
  const Node& node = network_.nodes[step.node];
  if (node.is<Dropout>()) return make_dropout(node, network_.in(step.node).memory, dropout_, engine_);
  Op op = op_of(network_, step);
  if (auto* const fc = std::get_if<FullyConnected>(&op); fc != nullptr && features) fc->features = *features;
  return engine_.prepare(op, in, out);
}

Operation* TileOperations::on_map(const Caller& caller, const Step& step, std::span<const MapGeometry> in,
                                  const MapGeometry& out) {
  if (step.copy) return copying(caller, in.front(), out);
  Key key = key_of(caller, in, out);
  const std::vector<PlaneMap>& reads = reads_of(step.node);
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i].rect.empty()) continue;
    std::size_t at = 8 + 4 * (InputViews::capacity + i);
    key[at++] = offset(reads[i].rows, in[i].rect.rows, in[i].whole.height, out.rect.rows);
    key[at++] = offset(reads[i].cols, in[i].rect.cols, in[i].whole.width, out.rect.cols);
    key[at++] = phase(reads[i].rows, out.rect.rows.begin);
    key[at++] = phase(reads[i].cols, out.rect.cols.begin);
  }
  std::unique_ptr<Operation>& operation = by_key_[key];
  if (operation == nullptr) operation = make(step, {}, in, out);
  return operation.get();
}

Operation* TileOperations::on_vectors(const Caller& caller, const Step& step, Interval features,
                                      std::span<const MapGeometry> in, const MapGeometry& out) {
  std::unique_ptr<Operation>& operation = by_key_[key_of(caller, in, out)];
  if (operation == nullptr) operation = make(step, features, in, out);
  return operation.get();
}

Operation* TileOperations::copying(const Caller& caller, const MapGeometry& in, const MapGeometry& out) {
  std::unique_ptr<Operation>& operation = by_key_[key_of(caller, {&in, 1}, out)];
  if (operation == nullptr) operation = engine_.prepare(Copy{}, in, out);
  return operation.get();
}

}  // namespace halotile
