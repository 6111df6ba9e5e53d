#include "pipeline/running/tile_operations.hpp"

#include "patching/error.hpp"

namespace halotile {

std::unique_ptr<Operation> make_map_operation(const Network& network, Engine& engine, const Step& step,
                                              const MapGeometry& in, const MapGeometry& out,
                                              const DropoutSample& dropout) {
  if (step.copy) return engine.prepare(Copy{}, in, out);
  const Layer& layer = network.layers[step.layer];
  switch (layer.kind) {
    case LayerKind::conv: {
      Conv2d conv = layer.conv;
      conv.relu = step.relu;
      return engine.prepare(conv, in, out);
    }
    case LayerKind::max_pool:
      if (step.lrn) return engine.prepare(LrnMaxPool{network.layers[*step.lrn].lrn, layer.pool}, in, out);
      return engine.prepare(layer.pool, in, out);
    case LayerKind::avg_pool:
    case LayerKind::adaptive_avg_pool:
      return engine.prepare(layer.pool, in, out);
    case LayerKind::lrn:
      return engine.prepare(layer.lrn, in, out);
    case LayerKind::relu:
      return engine.prepare(Relu{}, in, out);
    case LayerKind::softmax:
      return engine.prepare(Softmax{}, in, out);
    case LayerKind::dropout:
      return make_dropout(layer, dropout, engine);
    case LayerKind::fully_connected:
    case LayerKind::flatten:
      break;
  }
  throw UnsupportedError("layer " + layer.name + " cannot run on a feature map");
}

std::unique_ptr<Operation> make_vector_operation(const Network& network, Engine& engine, const Step& step,
                                                 Interval features, const MapGeometry& in,
                                                 const MapGeometry& out, const DropoutSample& dropout) {
  const Layer& layer = network.layers[step.layer];
  if (layer.kind != LayerKind::fully_connected)
    return make_map_operation(network, engine, step, in, out, dropout);
  FullyConnected fc = layer.fully_connected;
  fc.relu = step.relu;
  fc.features = features;
  return engine.prepare(fc, in, out);
}

TileOperations::Key TileOperations::key_of(const Caller& caller, const MapGeometry& in,
                                           const MapGeometry& out) {
  Key key{caller.stream, caller.stage, caller.call, out.images};
  std::size_t at = 4;
  for (const MapGeometry* g : {&in, &out}) {
    for (const std::int64_t part :
         {g->rect.extent().height, g->rect.extent().width, g->image_stride, g->row_stride}) {
      key[at++] = part;
    }
  }
  return key;
}

Operation* TileOperations::on_map(const Caller& caller, const Step& step, const MapGeometry& in,
                                  const MapGeometry& out) {
  Key key = key_of(caller, in, out);
  if (!step.copy && !in.rect.empty()) {
    // Where the tile's input begins relative to what its outputs reach for: the padding on that side.
    const Window& window = network_.layers[step.layer].window;
    key[12] = in.rect.rows.begin - reach(window.rows(), in.whole.height, out.rect.rows).begin;
    key[13] = in.rect.cols.begin - reach(window.cols(), in.whole.width, out.rect.cols).begin;
  }
  std::unique_ptr<Operation>& operation = by_key_[key];
  if (operation == nullptr) operation = make_map_operation(network_, engine_, step, in, out, dropout_);
  return operation.get();
}

Operation* TileOperations::on_vectors(const Caller& caller, const Step& step, Interval features,
                                      const MapGeometry& in, const MapGeometry& out) {
  std::unique_ptr<Operation>& operation = by_key_[key_of(caller, in, out)];
  if (operation == nullptr)
    operation = make_vector_operation(network_, engine_, step, features, in, out, dropout_);
  return operation.get();
}

}  // namespace halotile
