// Times a network as programs without a memory plan run it: layer by layer, for each layer allocating on the
// device, copying the input and the weights in from pageable host memory, running, copying the output out and
// freeing; each step synchronous, on one stream, whole maps.
//
//   per_layer MODEL [--until LAYER] [--batch N] [--runs N] [--warmup N] [--gpu N]
//
// What that costs is a comparison of the study (docs/study.md, figure 3), so what is printed are the parts
// that it draws, as one JSON object. Engine `direct`, fp32; the layers on feature maps alone, with random
// weights (seed 7) and inputs. Exit status 0; 2 for an error, a differing output among them; 77 where there
// is no GPU that the engine can use.
//
// What is timed is not in every detail what those programs do:
// - An engine keeps a layer's weights on the device, in an order of its own, and its kernels read these. The
//   layer's weights as the model has them go to a fresh buffer of their size in every run, which is counted
//   as allocation and copy, but nothing reads that buffer.
// - Biases stay where the engine has them.
// - Operations are prepared once, before anything is timed.
//
// Before timing, the output of every layer is compared with the host's `reference` engine, bit for bit. That
// engine takes a second an image, so the batch repeats two images, and each is compared.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/network/random.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/network/weights.hpp"

namespace {

using namespace halotile;

constexpr int exit_trouble = 2;
constexpr int exit_skipped = 77;  // what CTest and Automake take for "skipped"
constexpr std::uint64_t weights_seed = 7;
constexpr std::uint64_t input_seed = 1;
constexpr std::int64_t distinct_images = 2;

struct Options {
  std::string model;
  std::string until;  // empty: all layers on feature maps
  std::int64_t batch = 32;
  int runs = 8;
  int warmup = 2;
  int gpu = 0;
};

// Seconds, summed over the timed runs.
struct Parts {
  double allocation = 0;  // and freeing
  double host_to_device = 0;
  double kernels = 0;
  double device_to_host = 0;
};

// A step on whole maps.
struct LayerRun {
  const Node* layer = nullptr;
  std::size_t value = 0;  // that it makes
  MapGeometry in;
  MapGeometry out;
  std::unique_ptr<Operation> operation;
  std::span<const float> weights;
  std::vector<float> output;  // pageable
  double flops = 0;           // of the batch
  Parts seconds;
};

std::size_t bytes_of(const MapGeometry& g) {
  return static_cast<std::size_t>(g.elements() * size_of(g.dtype));
}

MapGeometry whole_map(const MapShape& shape, std::int64_t images) {
  return dense_geometry(DType::f32, images, shape.channels, Rect::whole(shape.extent), shape.extent);
}

std::vector<LayerRun> prepare_all(const Network& network, Engine& engine, std::int64_t images) {
  std::vector<LayerRun> runs;
  std::vector<std::size_t> nodes(network.spatial_nodes());
  std::iota(nodes.begin(), nodes.end(), std::size_t{0});
  MapGeometry in = whole_map(network.input(), images);
  for (const Step& step : lower(network, nodes, {})) {
    const Node& node = network.nodes[step.node];
    if (step.inputs != std::vector<std::size_t>{runs.empty() ? 0 : runs.back().value}) {
      throw UnsupportedError(fmt::format(
          "layer {}: reads another layer than the one before; only chains are run layer by layer, "
          "end before it with --until",
          node.name));
    }
    LayerRun run;
    run.layer = &node;
    run.value = step.output;
    run.in = in;
    run.out = in = whole_map(network.values[step.output].memory, images);
    run.operation = engine.prepare(op_of(network, step), run.in, run.out);
    if (const auto* const conv = node.as<Conv2d>()) run.weights = conv->weight;
    run.output.resize(static_cast<std::size_t>(run.out.elements()));
    for (const std::size_t n : step.nodes) run.flops += network.nodes[n].flops * static_cast<double>(images);
    runs.push_back(std::move(run));
  }
  return runs;
}

// Values in [-1, 1), the same images in every batch, in turn.
std::vector<float> make_input(const MapShape& shape, std::int64_t images) {
  const auto image = static_cast<std::size_t>(shape.elements());
  std::vector<float> values(image * static_cast<std::size_t>(images));
  const RandomSequence random(input_seed, "input");
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.uniform(i % (image * distinct_images));
  return values;
}

// Every layer's output on the host.
void run_on_host(std::vector<LayerRun>& layers, Engine& engine, const std::vector<float>& input) {
  const std::unique_ptr<Stream> stream = engine.device().make_stream();
  const std::vector<float>* in = &input;
  for (LayerRun& layer : layers) {
    const Buffer scratch = engine.device().allocate(layer.operation->scratch_bytes());
    const RunContext context{*stream, {scratch.data(), scratch.bytes()}};
    layer.operation->run(ConstMapView{layer.in, in->data()}, MapView{layer.out, layer.output.data()},
                         context);
    in = &layer.output;
  }
}

class OnDevice {
 public:
  OnDevice(Engine& engine, std::vector<LayerRun> layers)
      : device_(engine.device()), stream_(device_.make_stream()), layers_(std::move(layers)) {}

  // `poisoned`: what a layer leaves unwritten is NaN.
  void run(const std::vector<float>& input, bool poisoned) {
    const std::vector<float>* in = &input;
    for (LayerRun& layer : layers_) {
      run_layer(layer, *in, poisoned);
      in = &layer.output;
    }
  }
  [[nodiscard]] std::vector<LayerRun>& layers() { return layers_; }

 private:
  void run_layer(LayerRun& layer, const std::vector<float>& input, bool poisoned) {
    Buffer in;
    Buffer out;
    Buffer weights;
    Buffer scratch;
    clocked(layer.seconds.allocation, [&] {
      in = device_.allocate(bytes_of(layer.in));
      out = device_.allocate(bytes_of(layer.out));
      weights = device_.allocate(layer.weights.size_bytes());
      scratch = device_.allocate(layer.operation->scratch_bytes());
    });
    if (poisoned) device_.poison(out, 0);
    clocked(layer.seconds.host_to_device, [&] {
      device_.upload(*stream_, in.data(), input.data(), in.bytes());
      device_.upload(*stream_, weights.data(), layer.weights.data(), weights.bytes());
      stream_->synchronize();
    });
    clocked(layer.seconds.kernels, [&] {
      const RunContext context{*stream_, {scratch.data(), scratch.bytes()}};
      layer.operation->run(ConstMapView{layer.in, in.data()}, MapView{layer.out, out.data()}, context);
      stream_->synchronize();
    });
    clocked(layer.seconds.device_to_host, [&] {
      device_.download(*stream_, layer.output.data(), out.data(), out.bytes());
      stream_->synchronize();
    });
    clocked(layer.seconds.allocation, [&] {
      for (Buffer* buffer : {&in, &out, &weights, &scratch}) *buffer = Buffer();
    });
  }

  template <typename Work>
  static void clocked(double& sum, const Work& work) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    work();
    sum += std::chrono::duration<double>(Clock::now() - start).count();
  }

  Device& device_;
  std::unique_ptr<Stream> stream_;
  std::vector<LayerRun> layers_;
};

// Throws Error naming the first element that differs.
void check_output(const LayerRun& found, const LayerRun& expected) {
  for (std::size_t i = 0; i < found.output.size(); ++i) {
    const float value = found.output[i];
    const float wanted = expected.output[i % expected.output.size()];
    if (std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(wanted)) continue;
    throw Error(
        fmt::format("layer {}: element {} of image {} is {} where the reference has {}; nothing was timed",
                    found.layer->name, i % static_cast<std::size_t>(found.out.image_stride),
                    i / static_cast<std::size_t>(found.out.image_stride), value, wanted));
  }
}

void check_against_host(OnDevice& device, const Network& network, const std::vector<float>& input,
                        std::int64_t batch) {
  const std::unique_ptr<Engine> reference = make_reference_engine();
  std::vector<LayerRun> expected = prepare_all(network, *reference, std::min(batch, distinct_images));
  run_on_host(expected, *reference, input);
  device.run(input, true);
  for (std::size_t l = 0; l < expected.size(); ++l) check_output(device.layers()[l], expected[l]);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<double> time_runs(OnDevice& device, const std::vector<float>& input, const Options& options) {
  using Clock = std::chrono::steady_clock;
  for (int n = 0; n < options.warmup; ++n) device.run(input, false);
  for (LayerRun& layer : device.layers()) layer.seconds = {};
  std::vector<double> ms;
  for (int n = 0; n < options.runs; ++n) {
    const Clock::time_point start = Clock::now();
    device.run(input, false);
    ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  return ms;
}

std::string gpu_name(int index) {
  for (const GpuInfo& gpu : usable_gpus()) {
    if (gpu.device == fmt::format("cuda:{}", index)) return gpu.name;
  }
  return {};
}

nlohmann::json lines_of(const LayerRun& layer, double per_run) {
  const auto line = [&](const std::string& kind, double flops, double seconds) {
    return nlohmann::json{
        {"name", layer.layer->name}, {"kind", kind}, {"flops", flops}, {"stream_ms", seconds * per_run}};
  };
  return {line(layer.layer->type(), layer.flops, layer.seconds.kernels),
          line("allocation", 0, layer.seconds.allocation),
          line("host_to_device", 0, layer.seconds.host_to_device),
          line("device_to_host", 0, layer.seconds.device_to_host)};
}

// With the names that `halotile run --json` has for the same things.
nlohmann::json report(const Options& options, const Network& network, const std::vector<LayerRun>& layers,
                      const std::vector<double>& ms) {
  const double per_run = 1e3 / options.runs;
  nlohmann::json lines = nlohmann::json::array();
  nlohmann::json kernels = nlohmann::json::object();
  Parts sum;
  std::size_t map_bytes = 0;
  std::size_t scratch_bytes = 0;
  for (const LayerRun& layer : layers) {
    for (nlohmann::json& line : lines_of(layer, per_run)) lines.push_back(std::move(line));
    nlohmann::json& of_kind = kernels[layer.layer->type()];
    of_kind = of_kind.is_null() ? layer.seconds.kernels * per_run
                                : of_kind.get<double>() + layer.seconds.kernels * per_run;
    sum.allocation += layer.seconds.allocation;
    sum.host_to_device += layer.seconds.host_to_device;
    sum.device_to_host += layer.seconds.device_to_host;
    map_bytes = std::max(map_bytes, bytes_of(layer.in) + bytes_of(layer.out));
    scratch_bytes = std::max(scratch_bytes, layer.operation->scratch_bytes() + layer.weights.size_bytes());
  }
  return {{"network", network.name},
          {"until", network.nodes[network.spatial_nodes() - 1].name},
          {"engine", "direct"},
          {"device", gpu_name(options.gpu)},
          {"batch", options.batch},
          {"reference", "equal bits of every layer and image"},
          {"runs", options.runs},
          {"samples_ms", ms},
          {"median_ms", median(ms)},
          {"min_ms", *std::ranges::min_element(ms)},
          {"components",
           {{"allocation_ms", sum.allocation * per_run},
            {"host_to_device_ms", sum.host_to_device * per_run},
            {"kernels_ms", kernels},
            {"device_to_host_ms", sum.device_to_host * per_run}}},
          {"layers", lines},
          {"map_bytes", map_bytes},
          {"scratch_bytes", scratch_bytes}};
}

void run(const Options& options, Engine& engine) {
  Network network = read_network(options.model, std::nullopt, options.until);
  if (network.spatial_nodes() == 0)
    throw UnsupportedError(
        fmt::format("{}: no layer on feature maps: there is nothing to time", options.model));
  const Weights weights = Weights::random(network, weights_seed);
  weights.bind(network);
  const std::vector<float> input = make_input(network.input(), options.batch);
  OnDevice device(engine, prepare_all(network, engine, options.batch));
  check_against_host(device, network, input, options.batch);
  const std::vector<double> ms = time_runs(device, input, options);
  fmt::print("{}\n", report(options, network, device.layers(), ms).dump(2));
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("MODEL", options.model, "Model file (YAML)")->required();
  app.add_option("--until", options.until, "The last layer (default: the last on a feature map)");
  app.add_option("--batch", options.batch, "Images")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--runs", options.runs, "Timed runs")->check(CLI::Range(1, 1000000))->capture_default_str();
  app.add_option("--warmup", options.warmup, "Runs before those")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--gpu", options.gpu, "Index of the GPU")->check(CLI::Range(0, 1023))->capture_default_str();
}

}  // namespace

int main(int count, char** words) {
  CLI::App app("Times a network layer by layer, without a memory plan, on a CUDA GPU", "per_layer");
  Options options;
  add_options(app, options);
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_trouble;
  }
  if (const std::string obstacle = gpu_obstacle(options.gpu); !obstacle.empty()) {
    fmt::print(stderr, "per_layer: skipped: it is for CUDA GPUs: {}\n", obstacle);
    return exit_skipped;
  }
  try {
    const std::unique_ptr<Engine> engine = make_direct_engine(options.gpu, DirectStage::automatic);
    run(options, *engine);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "per_layer: {}\n", error.what());
    return exit_trouble;
  }
}
