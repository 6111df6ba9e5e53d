#include "pipeline/running/per_layer.hpp"

#include <algorithm>

#include "kernels/devices/stop.hpp"
#include "kernels/devices/trace_range.hpp"
#include "patching/error.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/tile_operations.hpp"

namespace halotile {
namespace {

struct LayerRun {
  Step step;
  MapGeometry in;
  MapGeometry out;
  std::unique_ptr<Operation> operation;
  std::vector<std::byte> weights;  // pageable
  std::vector<std::byte> output;   // pageable
  // Lines of the times, all by the layer's name: what a layer costs besides its kernels is the point here.
  std::size_t time = 0;
  std::size_t allocation = 0;
  std::size_t upload = 0;
  std::size_t download = 0;
};

class PerLayerProgram final : public Executor::Program {
 public:
  PerLayerProgram(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                  const ExecutorSettings& settings)
      : network_(network), plan_(std::move(plan)), engine_(engine), settings_(settings) {
    check();
    const MapGeometry input = geometry(network_.input, engine_.map_type());
    input_.resize(bytes(input));
    for (const StagePlan& stage : plan_) add_steps(stage.range().first, stage.range().last);
    add_steps(network_.spatial_layers(), network_.layers.size());
    times_.start(engine_.device(), 1, 0);
    stream_ = engine_.device().make_stream();
    for (LayerRun& layer : layers_) {
      const std::span<const std::byte> weights = layer.operation->weights();
      layer.weights.resize(weights.size());
      engine_.device().download(*stream_, layer.weights.data(), weights.data(), weights.size());
    }
    stream_->synchronize();
  }

  [[nodiscard]] MapView input() const override {
    return {geometry(network_.input, engine_.map_type()), const_cast<std::byte*>(input_.data())};
  }
  void load_input() override {}
  void set_dropout(std::int64_t, std::span<const std::int64_t>) override {}  // CPU engines alone sample

  void run(bool profiled) override {
    if (profiled) times_.begin_profile();
    const std::vector<std::byte>* in = &input_;
    for (LayerRun& layer : layers_) {
      throw_if_stopped();
      run_layer(layer, *in);
      in = &layer.output;
    }
    if (profiled) times_.end_profile();
  }

  [[nodiscard]] ConstMapView output(std::size_t layer) override {
    for (std::size_t end = layer + 1; end > 0; --end) {
      for (const LayerRun& run : layers_) {
        if (run.step.last == end || value_end(network_, run.step) == end) return output_of(run);
      }
      if (!network_.layers[end - 1].identity()) {
        throw ConfigError("the output of layer " + network_.layers[layer].name + " was not kept");
      }
    }
    return input();
  }
  [[nodiscard]] ConstMapView device_output(std::size_t) const override { return {}; }

  [[nodiscard]] const std::vector<StagePlan>& plan() const override { return plan_; }
  [[nodiscard]] MemoryUse memory() const override {
    MemoryUse use;
    for (const LayerRun& l : layers_) {
      use.maps = std::max(use.maps, bytes(l.in) + bytes(l.out));
      use.scratch = std::max(use.scratch, l.operation->scratch_bytes() + l.weights.size());
    }
    return use;
  }
  [[nodiscard]] const RunTimes& times() const override { return times_; }
  [[nodiscard]] double idle_seconds() const override { return 0; }
  void reset_times() override { times_.reset(); }

 private:
  void check() const {
    if (engine_.device().host_memory()) {
      throw UnsupportedError(
          "memory: per_layer: is for CUDA devices; on the CPU there is memory: arena only");
    }
    const auto refuse = [](bool refused, const char* what) {
      if (refused) {
        throw UnsupportedError(std::string("memory: per_layer runs whole maps on one stream, one after the "
                                           "other; leave out ") +
                               what);
      }
    };
    for (const StagePlan& stage : plan_) refuse(stage.grid().area() > 1, "patch");
    refuse(settings_.streams > 1, "streams");
    refuse(settings_.sub_batch < settings_.batch || !settings_.first_sub_batches.empty(), "sub_batch");
    refuse(settings_.storage == Storage::packed, "patch.storage: packed");
    refuse(settings_.graph, settings_.batched ? "dispatch: batched" : "dispatch: graph");
    refuse(settings_.pixels.has_value(), "input.upload: uint8");
    refuse(settings_.resident_input, "measure.input: device");
  }

  [[nodiscard]] MapGeometry geometry(const MapShape& shape, DType type) const {
    return dense_geometry(type, settings_.batch, shape.channels, Rect::whole(shape.extent), shape.extent);
  }
  [[nodiscard]] static std::size_t bytes(const MapGeometry& g) {
    return static_cast<std::size_t>(g.elements() * size_of(g.dtype));
  }

  void add_steps(std::size_t first, std::size_t last) {
    for (const Step& step : lower(network_, first, last, settings_.keep)) {
      const bool on_vectors = first >= network_.spatial_layers();
      if (on_vectors && step.copy) continue;  // flatten alone
      const Layer& layer = network_.layers[step.layer];
      const std::size_t before = layers_.empty() ? 0 : layers_.back().step.last;
      LayerRun made;
      made.step = step;
      const DType type = engine_.map_type();
      made.in = before == 0
                    ? geometry(network_.input, type)
                    : geometry(network_.layers[before - 1].memory, output_type(network_, before - 1, type));
      made.out = geometry(layer.memory, output_type(network_, step.layer, type));
      if (on_vectors) {
        made.in = as_vectors({made.in, nullptr});
        made.out = as_vectors({made.out, nullptr});
        made.operation =
            make_vector_operation(network_, engine_, step, {0, layer.out.channels}, made.in, made.out, {});
      } else {
        made.operation = make_map_operation(network_, engine_, step, made.in, made.out, {});
      }
      double flops = 0;
      for (std::size_t l = step.first; l < step.last; ++l) flops += network_.layers[l].flops;
      const auto in = static_cast<double>(bytes(made.in) + made.operation->weights().size());
      const auto out = static_cast<double>(bytes(made.out));
      made.time = times_.add_line(layer.name, to_string(layer.kind),
                                  flops * static_cast<double>(settings_.batch), in + out);
      made.allocation = times_.add_line(layer.name, "allocation", 0);
      made.upload = times_.add_line(layer.name, "host_to_device", 0, in);
      made.download = times_.add_line(layer.name, "device_to_host", 0, out);
      made.output.resize(bytes(made.out));
      layers_.push_back(std::move(made));
    }
  }

  void run_layer(LayerRun& layer, const std::vector<std::byte>& input) {
    const TraceRange range(0, [&] { return network_.layers[layer.step.layer].name + ": per layer"; });
    Device& device = engine_.device();
    Buffer in;
    Buffer out;
    Buffer weights;
    Buffer scratch;
    times_.clocked(layer.allocation, 0, [&] {
      in = device.allocate(input.size());
      out = device.allocate(layer.output.size());
      weights = device.allocate(layer.weights.size());
      scratch = device.allocate(layer.operation->scratch_bytes());
    });
    if (settings_.poison) device.poison(out, 0);
    times_.clocked(layer.upload, 0, [&] {
      device.upload(*stream_, in.data(), input.data(), input.size());
      device.upload(*stream_, weights.data(), layer.weights.data(), layer.weights.size());
      stream_->synchronize();
    });
    times_.clocked(layer.time, 0, [&] {
      const RunContext context{*stream_, {scratch.data(), scratch.bytes()}, weights.data()};
      layer.operation->run({layer.in, in.data()}, {layer.out, out.data()}, context);
      stream_->synchronize();
    });
    times_.clocked(layer.download, 0, [&] {
      device.download(*stream_, layer.output.data(), out.data(), layer.output.size());
      stream_->synchronize();
    });
    times_.clocked(layer.allocation, 0, [&] {
      for (Buffer* buffer : {&in, &out, &weights, &scratch}) *buffer = Buffer();
    });
  }

  [[nodiscard]] ConstMapView output_of(const LayerRun& run) const {
    const std::size_t layer = run.step.layer;
    return {geometry(network_.layers[layer].memory, output_type(network_, layer, engine_.map_type())),
            run.output.data()};
  }

  const Network& network_;
  const std::vector<StagePlan> plan_;
  Engine& engine_;
  const ExecutorSettings settings_;
  std::vector<std::byte> input_;  // pageable
  std::vector<LayerRun> layers_;
  RunTimes times_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace

std::unique_ptr<Executor::Program> make_per_layer_program(const Network& network, std::vector<StagePlan> plan,
                                                          Engine& engine, const ExecutorSettings& settings) {
  return std::make_unique<PerLayerProgram>(network, std::move(plan), engine, settings);
}

}  // namespace halotile
