// Times the tensor-core products of matrices on the layers of AlexNet, every shape of block.
//
//   bench_tensor_core [--element bf16|f16|tf32|f32] [--layer NAME] [--kernel wgmma|mma] [BATCH...]
//
// The batches are 1, 32 and 1024 by default. Each line is one layer, batch and shape: median milliseconds,
// TFLOP/s, and the share of the matrix rate measured on an H200 (795 bf16 and f16, 414 tf32). Before a shape
// is timed, a sample of its outputs is compared with sums in double on the CPU and all of them with the first
// shape's, bit for bit. Batch 0 stands for one image of 8192 x 8192.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma.hpp"

namespace {

using namespace halotile;
using namespace halotile::tensor_core;

struct Case {
  std::string_view name;
  Conv2d layer;
  Extent2 input;  // of a 224 pixel image
  Extent2 large;  // of an 8192 pixel image
};

Conv2d conv(std::int64_t in, std::int64_t out, std::int64_t groups, std::int64_t kernel,
            std::int64_t padding) {
  Conv2d layer;
  layer.in_channels = in;
  layer.out_channels = out;
  layer.groups = groups;
  layer.window.kernel = {kernel, kernel};
  layer.window.padding = {padding, padding};
  layer.relu = true;
  return layer;
}

std::vector<Case> cases() {
  Conv2d first = conv(3, 96, 1, 11, 0);
  first.window.stride = {4, 4};
  return {{"conv1", first, {227, 227}, {8192, 8192}},
          {"conv2", conv(96, 256, 1, 5, 2), {27, 27}, {1023, 1023}},
          {"conv2g", conv(96, 256, 2, 5, 2), {27, 27}, {1023, 1023}},
          {"conv3", conv(256, 384, 1, 3, 1), {13, 13}, {511, 511}},
          {"conv4", conv(384, 384, 1, 3, 1), {13, 13}, {511, 511}},
          {"conv4g", conv(384, 384, 2, 3, 1), {13, 13}, {511, 511}},
          {"conv5", conv(384, 256, 1, 3, 1), {13, 13}, {511, 511}},
          {"conv5g", conv(384, 256, 2, 3, 1), {13, 13}, {511, 511}},
          {"fc6", conv(9216, 4096, 1, 1, 0), {1, 1}, {0, 0}},
          {"fc7", conv(4096, 4096, 1, 1, 0), {1, 1}, {0, 0}},
          {"fc8", conv(4096, 1000, 1, 1, 0), {1, 1}, {0, 0}}};
}

float from_bits(const std::byte* at, Element element) {
  if (size_of(element) == 4) {
    float value = 0;
    std::memcpy(&value, at, 4);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, 2);
  if (element == Element::bf16) {
    Bfloat16 value;
    value.bits = bits;
    return static_cast<float>(value);
  }
  Float16 value;
  value.bits = bits;
  return static_cast<float>(value);
}

void to_bits(std::byte* at, Element element, float value) {
  if (size_of(element) == 4) {
    auto bits = std::bit_cast<std::uint32_t>(value) & ~0x1fffU;
    std::memcpy(at, &bits, 4);
  } else {
    const std::uint16_t bits = element == Element::bf16 ? Bfloat16(value).bits : Float16(value).bits;
    std::memcpy(at, &bits, 2);
  }
}

class Bench {
 public:
  explicit Bench(CudaDevice& device) : device_(device), stream_(device.index()) {
    check_cuda(cudaEventCreate(&begin_), "making an event");
    check_cuda(cudaEventCreate(&end_), "making an event");
  }
  ~Bench() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void run(const Case& c, Element element, std::int64_t batch, std::string_view kernel);

 private:
  double time(const std::function<void()>& work) {
    std::vector<float> times;
    for (int n = -2; n < 7; ++n) {
      constexpr int repeats = 4;
      check_cuda(cudaEventRecord(begin_, stream_.handle()), "timing");
      for (int r = 0; r < repeats; ++r) work();
      check_cuda(cudaEventRecord(end_, stream_.handle()), "timing");
      check_cuda(cudaEventSynchronize(end_), "timing");
      float ms = 0;
      check_cuda(cudaEventElapsedTime(&ms, begin_, end_), "timing");
      if (n >= 0) times.push_back(ms / repeats);
    }
    std::nth_element(times.begin(), times.begin() + 3, times.end());
    return times[3];
  }

  CudaDevice& device_;
  CudaStream stream_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

void Bench::run(const Case& c, Element element, std::int64_t batch, std::string_view kernel) {
  const bool large = batch == 0;
  const Extent2 extent = large ? c.large : c.input;
  if (extent.area() == 0) return;
  const std::int64_t images = large ? 1 : batch;
  const std::int64_t size = size_of(element);
  Conv2d layer = c.layer;
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const std::int64_t sum = layer.in_channels / layer.groups * layer.window.kernel.area();
  std::vector<float> weight(static_cast<std::size_t>(layer.out_channels * sum));
  for (float& w : weight) {
    std::byte bits[4];
    to_bits(bits, element, uniform(random));
    w = from_bits(bits, element);
  }
  std::vector<float> bias(static_cast<std::size_t>(layer.out_channels));
  for (float& b : bias) b = uniform(random);
  layer.weight = Parameter(weight);
  layer.bias = Parameter(bias);
  MatrixLayer matrix = *matrix_layer(layer, element);
  const bool vectors = layer.window.kernel == Extent2{1, 1};
  if (vectors)
    matrix = matrix_layer(FullyConnected{layer.in_channels, layer.out_channels, true, {}, {}}, element);
  const std::vector<std::byte> filters = matrix_filters(layer, matrix);
  const Buffer device_filters = device_.copy_of(filters.data(), filters.size());
  const Buffer device_bias = device_.copy_of(bias.data(), bias.size() * 4);

  const std::int64_t pattern = std::min<std::int64_t>(images * extent.area() * layer.in_channels, 1 << 22);
  std::vector<std::byte> block(static_cast<std::size_t>(pattern * size));
  for (std::int64_t i = 0; i < pattern; ++i) to_bits(block.data() + i * size, element, uniform(random));
  const std::int64_t elements = images * extent.area() * layer.in_channels;
  const Buffer input = device_.allocate(static_cast<std::size_t>(elements * size));
  for (std::int64_t at = 0; at < elements; at += pattern) {
    check_cuda(
        cudaMemcpy(input.data() + at * size, block.data(),
                   static_cast<std::size_t>(std::min(pattern, elements - at) * size), cudaMemcpyDefault),
        "copying");
  }
  const DType type = map_type(element);
  const Extent2 outputs = output_extent(layer.window, extent);
  const ConstMapView in{dense_geometry(type, images, layer.in_channels, Rect::whole(extent), extent),
                        input.data()};
  MapView out{dense_geometry(type, images, layer.out_channels, Rect::whole(outputs), outputs), nullptr};
  const Buffer packed = device_.allocate(
      matrix.packed ? static_cast<std::size_t>(images * matrix.packed_extent(outputs).area() * matrix.groups *
                                               matrix.position_channels * size * (matrix.split() ? 2 : 1))
                    : 0);
  constexpr NonFiniteAccount none;
  const Buffer account = device_.copy_of(&none, matrix.apart ? sizeof(none) : 0);
  auto* const account_or_null = reinterpret_cast<NonFiniteAccount*>(account.data());
  MatrixCall call = matrix_call(matrix, layer.window, in, out, packed.data());
  const auto bytes = static_cast<std::size_t>(call.positions() * layer.out_channels * size);
  const Buffer output = device_.allocate(bytes);
  call.output = output.data();
  const auto pack = [&](PackedLayout layout) {
    pack_input(matrix, layer.window, layout, in, out.rect, packed.data(), stream_.handle(), account_or_null);
  };
  if (matrix.packed) {
    for (const PackedLayout layout : {PackedLayout::planes, PackedLayout::positions}) {
      const double ms = time([&] { pack(layout); });
      const double moved = static_cast<double>(in.elements() * size) + static_cast<double>(packed.bytes());
      fmt::print("{:<7} {:>5} packing{} {:>9.4f} ms {:>7.0f} GB/s\n", c.name, batch,
                 layout == PackedLayout::planes ? " planes" : "       ", ms, moved / ms * 1e-6);
    }
  }
  call.filters = device_filters.data();
  call.account = account_or_null;
  call.bias = reinterpret_cast<const float*>(device_bias.data());
  const Buffer partial = device_.allocate(
      matrix.segments > 1
          ? static_cast<std::size_t>(matrix.segments * call.positions() * layer.out_channels * 4)
          : 0);
  call.partial = reinterpret_cast<float*>(partial.data());

  const double flops = 2.0 * static_cast<double>(call.positions() * layer.out_channels * sum);
  const double peak = element == Element::f32 ? 414.0 / 3 : element == Element::tf32 ? 414 : 795;
  std::vector<std::byte> first;
  std::vector<std::byte> now(bytes);
  for (const BlockShape shape : kernel == "mma" ? mma_shapes() : wgmma_shapes()) {
    if (shape.cols / 2 >= layer.out_channels / layer.groups && shape.cols > 32) continue;
    if (kernel != "mma" && !wgmma_fits(matrix, shape)) continue;
    const auto work = [&] {
      if (kernel == "mma") {
        multiply_mma(matrix, call, shape, stream_.handle());
      } else {
        multiply_wgmma(matrix, call, shape, stream_.handle());
      }
      if (matrix.segments > 1) add_segments(matrix, call, stream_.handle());
    };
    if (matrix.packed) pack(shape.input);
    device_.poison(output, 0);
    work();
    stream_.synchronize();
    check_cuda(cudaMemcpy(now.data(), output.data(), bytes, cudaMemcpyDefault), "copying");
    double worst = 0;
    for (int n = 0; n < 300; ++n) {
      const auto p = static_cast<std::int64_t>(random()) % call.positions();
      const auto o = static_cast<std::int64_t>(random()) % layer.out_channels;
      const std::int64_t image = p / call.outputs.area();
      const std::int64_t row = p % call.outputs.area() / call.outputs.width;
      const std::int64_t col = p % call.outputs.width;
      const std::int64_t in_group = layer.in_channels / layer.groups;
      const std::int64_t group = o / (layer.out_channels / layer.groups);
      double y = bias[static_cast<std::size_t>(o)];
      double scale = 1;
      for (std::int64_t ch = 0; ch < in_group; ++ch) {
        for (std::int64_t ky = 0; ky < layer.window.kernel.height; ++ky) {
          for (std::int64_t kx = 0; kx < layer.window.kernel.width; ++kx) {
            const std::int64_t r = row * layer.window.stride.height - layer.window.padding.begin.height + ky;
            const std::int64_t q = col * layer.window.stride.width - layer.window.padding.begin.width + kx;
            if (r < 0 || q < 0 || r >= extent.height || q >= extent.width) continue;
            const std::int64_t at = (((image * extent.height + r) * extent.width + q) * layer.in_channels +
                                     group * in_group + ch) %
                                    pattern;
            const double product =
                double{from_bits(block.data() + at * size, element)} *
                weight[static_cast<std::size_t>(((o * in_group + ch) * layer.window.kernel.height + ky) *
                                                    layer.window.kernel.width +
                                                kx)];
            y += product;
            scale += std::abs(product);
          }
        }
      }
      y = std::max(y, 0.0);
      const double got = from_bits(now.data() + (p * layer.out_channels + o) * size, element);
      worst = std::max(worst,
                       std::isnan(got) ? 1e9 : std::abs(got - y) / (scale * 0x1p-20 + std::abs(y) * 0x1p-8));
    }
    std::string verdict = worst > 1 ? fmt::format(" WRONG ({:.3g} of the bound)", worst) : "";
    if (first.empty()) first = now;
    if (first != now) verdict += " OTHER BITS";
    const double ms = time(work);
    fmt::print("{:<7} {:>5} {} {:>3}x{:<3}{} {:>9.4f} ms {:>7.1f} TFLOP/s {:>5.1f}%{}\n", c.name, batch,
               kernel, shape.rows, shape.cols, shape.input == PackedLayout::planes ? " planes" : "       ",
               ms, flops / ms * 1e-9, flops / ms * 1e-7 / peak, verdict);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Element element = Element::bf16;
    std::string_view only;
    std::string_view kernel = "wgmma";
    std::vector<std::int64_t> batches;
    for (int n = 1; n < argc; ++n) {
      const std::string_view word = argv[n];
      if (word == "--element" && n + 1 < argc) {
        const std::string_view name = argv[++n];
        element = name == "f16"    ? Element::f16
                  : name == "tf32" ? Element::tf32
                  : name == "f32"  ? Element::f32
                                   : Element::bf16;
      } else if (word == "--layer" && n + 1 < argc) {
        only = argv[++n];
      } else if (word == "--kernel" && n + 1 < argc) {
        kernel = argv[++n];
      } else {
        batches.push_back(std::strtoll(argv[n], nullptr, 10));
      }
    }
    if (batches.empty()) batches = {1, 32, 1024};
    CudaDevice device(0);
    Bench bench(device);
    for (const Case& c : cases()) {
      if (!only.empty() && only != c.name) continue;
      for (const std::int64_t batch : batches) bench.run(c, element, batch, kernel);
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
