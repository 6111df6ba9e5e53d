// Times the direct engine on the layers of the 2012 AlexNet (227 pixels, random weights).
//
//   bench_direct [--all] [--layer NAME] [BATCH...]      default: 1 32 128
//
// --all: every variant of convolutions and fully connected layers; --layer: one of these alone.
//
// Each layer is run alone, the L2 cache flushed before each run, timed by CUDA events; the median is printed
// with the arithmetic or the bytes it stands for: TFLOP/s and the share of 50.6 (fp32 products measured on an
// H200), or GB/s and the share of 4180 (its memory, measured). Before a variant is timed its output is
// compared with the first variant's, bit for bit. Then the whole forward pass is timed as a queue of launches
// and as a captured graph, everything resident on the device.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/engines/cuda/compare.hpp"
#include "kernels/engines/cuda/direct/direct_engine.hpp"
#include "kernels/engines/cuda/direct/fully_connected.hpp"
#include "kernels/engines/cuda/map_operations.hpp"

namespace {

using namespace halotile;

constexpr double peak_tflops = 50.6;
constexpr double peak_bandwidth = 4180;  // GB/s

std::vector<float> random_values(std::int64_t count, float scale) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return uniform(random); });
  return values;
}

Window window(std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  Window w;
  w.kernel = {kernel, kernel};
  w.stride = {stride, stride};
  w.padding = {padding, padding};
  return w;
}

class Bench {
 public:
  explicit Bench(DirectEngine& engine)
      : device_(engine.cuda_device()),
        stream_(device_.index()),
        flush_(device_.allocate(std::size_t{256} << 20)),
        flushed_(device_.allocate(std::size_t{1} << 20)) {
    check_cuda(cudaEventCreate(&begin_), "making an event");
    check_cuda(cudaEventCreate(&end_), "making an event");
    check_cuda(cudaMemset(flush_.data(), 0, flush_.bytes()), "clearing");
  }
  ~Bench() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  [[nodiscard]] CudaStream& stream() { return stream_; }
  [[nodiscard]] cudaStream_t handle() const { return stream_.handle(); }

  // Median milliseconds of one run; `cold` flushes the L2 cache first.
  double time(const std::function<void()>& run, bool cold, int runs = 15) {
    std::vector<float> times;
    for (int n = -3; n < runs; ++n) {
      if (cold) flush();
      check_cuda(cudaEventRecord(begin_, handle()), "timing");
      run();
      check_cuda(cudaEventRecord(end_, handle()), "timing");
      check_cuda(cudaEventSynchronize(end_), "timing");
      float ms = 0;
      check_cuda(cudaEventElapsedTime(&ms, begin_, end_), "timing");
      if (n >= 0) times.push_back(ms);
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  }

  // Reads more than the L2 cache holds: its lines are then neither the layer's nor waiting to be written, and
  // the layer's launch is queued long before it starts.
  void flush() {
    const Extent2 extent{256, 256};
    const MapGeometry in = dense_geometry(DType::f32, 1, 1024, Rect::whole(extent), extent);
    const MapGeometry out = dense_geometry(DType::f32, 1, 1024, Rect::whole({16, 16}), {16, 16});
    cuda::pool2d({PoolKind::max, window(16, 16, 0), true}, {in, flush_.data()}, {out, flushed_.data()},
                 handle());
  }

  static void print(std::string_view layer, std::int64_t batch, const std::string& variant, double ms,
                    double flops, double bytes) {
    const double tflops = flops / ms * 1e-9;
    const double bandwidth = bytes / ms * 1e-6;
    fmt::print("{:<8} {:>5}  {:<28} {:>8.4f} ms {:>6.2f} TFLOP/s {:>5.1f}% {:>7.0f} GB/s {:>5.1f}%\n", layer,
               batch, variant, ms, tflops, tflops / peak_tflops * 100, bandwidth,
               bandwidth / peak_bandwidth * 100);
    std::fflush(stdout);
  }

 private:
  CudaDevice& device_;
  CudaStream stream_;
  Buffer flush_;
  Buffer flushed_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

// A map in memory of its own.
struct Map {
  Map(CudaDevice& device, std::int64_t batch, std::int64_t channels, Extent2 extent, DType dtype = DType::f32)
      : geometry(dense_geometry(dtype, batch, channels, Rect::whole(extent), extent)),
        buffer(device.allocate(bytes())) {}
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(geometry.elements() * size_of(geometry.dtype));
  }
  [[nodiscard]] MapView view() const { return {geometry, buffer.data()}; }

  MapGeometry geometry;
  Buffer buffer;
};

bool same(const Map& a, const Map& b, Bench& bench) {
  return cuda::compare_maps(a.view(), b.view(), bench.handle()).differing == 0;
}

struct Network {
  std::vector<Conv2d> convs;
  std::vector<FullyConnected> fcs;

  Network() {
    add_conv(3, 96, 1, window(11, 4, 0));
    add_conv(96, 256, 2, window(5, 1, 2));
    add_conv(256, 384, 1, window(3, 1, 1));
    add_conv(384, 384, 2, window(3, 1, 1));
    add_conv(384, 256, 2, window(3, 1, 1));
    add_fc(9216, 4096, true);
    add_fc(4096, 4096, true);
    add_fc(4096, 1000, false);
  }
  void add_conv(std::int64_t in, std::int64_t out, std::int64_t groups, const Window& w) {
    convs.push_back({in, out, groups, w, true,
                     Parameter(random_values(out * in / groups * w.kernel.area(), 0.05F)),
                     Parameter(random_values(out, 0.1F))});
  }
  void add_fc(std::int64_t in, std::int64_t out, bool relu) {
    fcs.push_back({in,
                   out,
                   relu,
                   Parameter(random_values(in * out, 0.02F)),
                   Parameter(random_values(out, 0.1F)),
                   {0, out}});
  }
};

// Every variant (or the first alone) of a convolution: same bits, then time.
void bench_conv(Bench& bench, CudaDevice& device, std::string_view name, const Conv2d& layer, const Map& in,
                const Map& out, bool all) {
  const Buffer bias = device.copy_of(layer.bias.data(), layer.bias.size_bytes());
  const Map first(device, in.geometry.images, layer.out_channels, out.geometry.whole);
  const double flops = 2.0 * static_cast<double>(out.geometry.elements()) *
                       static_cast<double>(layer.in_channels / layer.groups * layer.window.kernel.area());
  const double bytes = static_cast<double>(in.bytes() + out.bytes() + layer.weight.size_bytes());
  const auto variants = direct::conv2d_variants(layer, in.geometry, out.geometry, DirectStage::automatic);
  for (std::size_t n = 0; n < (all ? variants.size() : 1); ++n) {
    const auto host = direct::conv2d_filters(layer, variants[n].merged);
    const Buffer filters = device.copy_of(host.data(), host.size() * sizeof(float));
    const Map& target = n == 0 ? first : out;
    const auto run = [&] {
      direct::conv2d(layer, variants[n], floats(filters), {-1, floats(bias)}, in.view(), target.view(),
                     bench.handle());
    };
    device.poison(target.buffer, 0);
    run();
    bench.stream().synchronize();
    const bool good = n == 0 || same(first, out, bench);
    const double ms = bench.time(run, true, all ? 5 : 15);
    Bench::print(name, in.geometry.images,
                 to_string(variants[n]) + (all ? fmt::format(" ~{:.3f}", variants[n].cost * 1e-6) : "") +
                     (good ? "" : " WRONG"),
                 ms, flops, bytes);
  }
}

void bench_fc(Bench& bench, CudaDevice& device, std::string_view name, const FullyConnected& layer,
              const MapView& in, const Map& out, bool all) {
  const Buffer bias = device.copy_of(layer.bias.data(), layer.bias.size_bytes());
  const Buffer weight = device.copy_of(layer.weight.data(), layer.weight.size_bytes());
  const Buffer filters = device.allocate(direct::fully_connected_filter_floats(layer) * sizeof(float));
  direct::fully_connected_filters(layer, floats(weight), floats(filters), bench.handle());
  const Map first(device, in.images, layer.out_features, {1, 1});
  const double flops = 2.0 * static_cast<double>(in.images * layer.out_features * layer.in_features);
  const double bytes = static_cast<double>(layer.weight.size_bytes());
  auto variants = direct::fully_connected_variants(layer, in.images, layer.out_features);
  if (!all) variants = {direct::choose_fully_connected(layer, in.images, layer.out_features)};
  for (std::size_t n = 0; n < variants.size(); ++n) {
    if (variants[n].kernel == direct::FullyConnectedKernel::vector && n > 0 && in.images > 32) continue;
    const Buffer scratch = device.allocate(variants[n].scratch_bytes);
    const Map& target = n == 0 ? first : out;
    const auto run = [&] {
      direct::fully_connected(layer, {0, layer.out_features}, variants[n], floats(filters),
                              {-1, floats(bias)}, in, target.view(), {scratch.data(), scratch.bytes()},
                              bench.handle());
    };
    device.poison(target.buffer, 0);
    run();
    bench.stream().synchronize();
    const bool good = n == 0 || same(first, out, bench);
    const double ms = bench.time(run, true, all ? 5 : 15);
    Bench::print(name, in.images, to_string(variants[n]) + (good ? "" : " WRONG"), ms, flops, bytes);
  }
}

void bench_map(Bench& bench, std::string_view name, const std::string& variant, const Map& in, const Map& out,
               const std::function<void()>& run) {
  Bench::print(name, in.geometry.images, variant, bench.time(run, true), 0,
               static_cast<double>(in.bytes() + out.bytes()));
}

// Normalization, the pool behind it, and both in one kernel, in maps of each type. The pooled maps of all
// ways have the same bits.
void bench_norm_pool(Bench& bench, CudaDevice& device, const std::string& number, const Lrn& norm,
                     const Pool2d& pool, const Map& conv) {
  const MapGeometry& g = conv.geometry;
  const Extent2 extent = output_extent(pool.window, g.whole);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const Map in(device, g.images, g.channels, g.whole, dtype);
    const Map normalized(device, g.images, g.channels, g.whole, dtype);
    const Map first(device, g.images, g.channels, extent, dtype);
    const Map out(device, g.images, g.channels, extent, dtype);
    cuda::copy_map(conv.view(), in.view(), bench.handle());
    const std::string type(to_string(dtype));
    bench_map(bench, "norm" + number, type, in, normalized,
              [&] { cuda::lrn(norm, in.view(), normalized.view(), bench.handle()); });
    cuda::pool2d(pool, normalized.view(), first.view(), bench.handle(), cuda::PoolKernel::cached);
    const auto timed = [&](const std::string& name, const std::string& variant, const Map& from,
                           const std::function<void()>& run) {
      device.poison(out.buffer, 0);
      run();
      bench.stream().synchronize();
      bench_map(bench, name, type + ", " + variant + (same(first, out, bench) ? "" : " WRONG"), from, out,
                run);
    };
    const auto pooled = [&](const std::string& variant, cuda::PoolKernel kernel) {
      timed("pool" + number, variant, normalized,
            [&, kernel] { cuda::pool2d(pool, normalized.view(), out.view(), bench.handle(), kernel); });
    };
    pooled("cached", cuda::PoolKernel::cached);
    pooled("strip", cuda::PoolKernel::strip);
    pooled("shared", cuda::PoolKernel::shared);
    timed("both" + number, "one kernel", in,
          [&] { cuda::lrn_max_pool(norm, pool, in.view(), out.view(), bench.handle()); });
  }
}

void bench_batch(Bench& bench, DirectEngine& engine, const Network& network, std::int64_t batch, bool all,
                 std::string_view only) {
  CudaDevice& device = engine.cuda_device();
  const Map image(device, batch, 3, {227, 227});
  const Map conv1(device, batch, 96, {55, 55});
  const Map norm1(device, batch, 96, {55, 55});
  const Map pool1(device, batch, 96, {27, 27});
  const Map conv2(device, batch, 256, {27, 27});
  const Map norm2(device, batch, 256, {27, 27});
  const Map pool2(device, batch, 256, {13, 13});
  const Map conv3(device, batch, 384, {13, 13});
  const Map conv4(device, batch, 384, {13, 13});
  const Map conv5(device, batch, 256, {13, 13});
  const Map pool5(device, batch, 256, {6, 6});
  const Map fc6(device, batch, 4096, {1, 1});
  const Map fc7(device, batch, 4096, {1, 1});
  const Map fc8(device, batch, 1000, {1, 1});
  const Map probabilities(device, batch, 1000, {1, 1});
  const MapView flat{dense_geometry(DType::f32, batch, 9216, Rect::whole({1, 1}), {1, 1}),
                     pool5.buffer.data()};
  const auto pixels = random_values(image.geometry.elements(), 1.0F);
  device.upload(bench.stream(), image.buffer.data(), pixels.data(), image.bytes());
  bench.stream().synchronize();

  // The whole network, which also fills every map with sensible values.
  const Lrn norm{5, 1e-4F, 0.75F, 2.0F};
  const Pool2d pool{PoolKind::max, window(3, 2, 0), true};
  struct Step {
    std::unique_ptr<Operation> operation;
    MapView in;
    MapView out;
  };
  std::vector<Step> steps;
  const auto add = [&](std::unique_ptr<Operation> operation, const MapView& in, const Map& out) {
    steps.push_back({std::move(operation), in, out.view()});
  };
  const auto& c = network.convs;
  const auto& f = network.fcs;
  add(engine.prepare(c[0], image.geometry, conv1.geometry), image.view(), conv1);
  add(engine.prepare(norm, conv1.geometry, norm1.geometry), conv1.view(), norm1);
  add(engine.prepare(pool, norm1.geometry, pool1.geometry), norm1.view(), pool1);
  add(engine.prepare(c[1], pool1.geometry, conv2.geometry), pool1.view(), conv2);
  add(engine.prepare(norm, conv2.geometry, norm2.geometry), conv2.view(), norm2);
  add(engine.prepare(pool, norm2.geometry, pool2.geometry), norm2.view(), pool2);
  add(engine.prepare(c[2], pool2.geometry, conv3.geometry), pool2.view(), conv3);
  add(engine.prepare(c[3], conv3.geometry, conv4.geometry), conv3.view(), conv4);
  add(engine.prepare(c[4], conv4.geometry, conv5.geometry), conv4.view(), conv5);
  add(engine.prepare(pool, conv5.geometry, pool5.geometry), conv5.view(), pool5);
  add(engine.prepare(f[0], flat, fc6.geometry), flat, fc6);
  add(engine.prepare(f[1], fc6.geometry, fc7.geometry), fc6.view(), fc7);
  add(engine.prepare(f[2], fc7.geometry, fc8.geometry), fc7.view(), fc8);
  add(engine.prepare(Softmax{}, fc8.geometry, probabilities.geometry), fc8.view(), probabilities);
  std::size_t scratch_bytes = 0;
  for (const Step& step : steps) scratch_bytes = std::max(scratch_bytes, step.operation->scratch_bytes());
  const Buffer scratch = device.allocate(scratch_bytes);
  const RunContext context{bench.stream(), {scratch.data(), scratch.bytes()}};
  const auto forward = [&] {
    for (const Step& step : steps) step.operation->run(step.in, step.out, context);
  };
  forward();
  bench.stream().synchronize();

  const auto conv = [&](std::string_view name, std::size_t index, const Map& in, const Map& out) {
    if (only.empty() || only == name) bench_conv(bench, device, name, c[index], in, out, all);
  };
  const auto fully_connected = [&](std::string_view name, std::size_t index, const MapView& in,
                                   const Map& out) {
    if (only.empty() || only == name) bench_fc(bench, device, name, f[index], in, out, all);
  };
  conv("conv1", 0, image, conv1);
  conv("conv2", 1, pool1, conv2);
  conv("conv3", 2, pool2, conv3);
  conv("conv4", 3, conv3, conv4);
  conv("conv5", 4, conv4, conv5);
  fully_connected("fc6", 0, flat, fc6);
  fully_connected("fc7", 1, fc6.view(), fc7);
  fully_connected("fc8", 2, fc7.view(), fc8);
  if (!only.empty()) return;
  bench_norm_pool(bench, device, "1", norm, pool, conv1);
  bench_norm_pool(bench, device, "2", norm, pool, conv2);
  for (const auto kernel : {cuda::PoolKernel::cached, cuda::PoolKernel::strip}) {
    bench_map(bench, "pool5", kernel == cuda::PoolKernel::cached ? "f32, cached" : "f32, strip", conv5, pool5,
              [&, kernel] { cuda::pool2d(pool, conv5.view(), pool5.view(), bench.handle(), kernel); });
  }
  bench_map(bench, "softmax", "", fc8, probabilities,
            [&] { cuda::softmax(fc8.view(), probabilities.view(), bench.handle()); });

  const double flops = 2.0 * 727e6 * static_cast<double>(batch);
  Bench::print("forward", batch, "launches", bench.time(forward, false, 30), flops, 0);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  check_cuda(cudaStreamBeginCapture(bench.handle(), cudaStreamCaptureModeThreadLocal), "capturing");
  forward();
  check_cuda(cudaStreamEndCapture(bench.handle(), &graph), "capturing");
  check_cuda(cudaGraphInstantiate(&replay, graph, 0), "instantiating a graph");
  const auto launch = [&] { check_cuda(cudaGraphLaunch(replay, bench.handle()), "launching a graph"); };
  Bench::print("forward", batch, "graph", bench.time(launch, false, 30), flops, 0);
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bool all = false;
    std::string_view only;
    std::vector<std::int64_t> batches;
    for (int n = 1; n < argc; ++n) {
      if (std::string_view(argv[n]) == "--all") {
        all = true;
      } else if (std::string_view(argv[n]) == "--layer" && n + 1 < argc) {
        only = argv[++n];
      } else {
        batches.push_back(std::strtoll(argv[n], nullptr, 10));
        if (batches.back() < 1)
          throw Error(fmt::format("a batch must be a number from 1 on, not '{}'", argv[n]));
      }
    }
    if (batches.empty()) batches = {1, 32, 128};
    const auto engine = make_direct_engine();
    const CudaDeviceInfo info = engine->cuda_device().info();
    fmt::print("{}, {} multiprocessors, driver for CUDA {}, runtime {}\n", info.name, info.multiprocessors,
               cuda_version(info.driver_version), cuda_version(info.runtime_version));
    const Network network;
    Bench bench(*engine);
    for (const std::int64_t batch : batches) bench_batch(bench, *engine, network, batch, all, only);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
