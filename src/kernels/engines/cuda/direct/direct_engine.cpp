#include "kernels/engines/cuda/direct/direct_engine.hpp"

#include <optional>
#include <utility>

#include "kernels/engines/cuda/direct/fully_connected.hpp"
#include "kernels/engines/cuda/op_support.hpp"

namespace halotile {
namespace {

cudaStream_t handle(const RunContext& context) { return cuda_stream(context.stream).handle(); }

float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

class DirectConv2d final : public Operation {
 public:
  DirectConv2d(const Conv2d& layer, const direct::Conv2dVariant& variant, const Buffer& filters,
               const direct::BiasPlace& bias)
      : layer_(layer), variant_(variant), filters_(filters), bias_(bias) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override {
    direct::conv2d(layer_, variant_, floats(filters_), bias_, in.front(), out, handle(context));
  }

 private:
  Conv2d layer_;
  direct::Conv2dVariant variant_;
  const Buffer& filters_;  // the engine's
  direct::BiasPlace bias_;
};

class DirectFullyConnected final : public Operation {
 public:
  DirectFullyConnected(const FullyConnected& layer, const direct::FullyConnectedVariant& variant,
                       const Buffer& filters, const direct::BiasPlace& bias)
      : layer_(layer), variant_(variant), filters_(filters), bias_(bias) {}
  [[nodiscard]] std::size_t scratch_bytes() const override { return variant_.scratch_bytes; }
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) override {
    direct::fully_connected(layer_, layer_.features, variant_, floats(filters_), bias_, in.front(), out,
                            context.scratch, handle(context));
  }

 private:
  FullyConnected layer_;
  direct::FullyConnectedVariant variant_;
  const Buffer& filters_;  // the engine's
  direct::BiasPlace bias_;
};

class Direct final : public DirectEngine {
 public:
  explicit Direct(const DirectOptions& options) : DirectEngine(options.device), stage_(options.stage) {}
  ~Direct() override {
    // Kernels may still read the weights and the constants that are given back next.
    cudaSetDevice(device_.index());
    cudaDeviceSynchronize();
  }

  [[nodiscard]] std::string_view name() const override { return "direct"; }
  [[nodiscard]] DType map_type() const override { return DType::f32; }
  [[nodiscard]] ConstantBiasUse constant_bias_use() const override {
    return {direct::ConstantSpace::capacity, direct::conv2d_constants().used(device_.index()),
            direct::fully_connected_constants().used(device_.index()), fallbacks_};
  }

  [[nodiscard]] std::string obstacle(const Op& op) const override { return cuda::direct_obstacle(op); }

  [[nodiscard]] std::string note() const override {
    const ConstantBiasUse use = constant_bias_use();
    std::string text = "biases in constant memory: " + std::to_string(use.conv2d) + " of " +
                       std::to_string(use.capacity) + " floats for convolutions, " +
                       std::to_string(use.fully_connected) + " of " + std::to_string(use.capacity) +
                       " for fully connected layers";
    if (use.fallbacks > 0) {
      text += "; " + std::to_string(use.fallbacks) + " layers' did not fit and lie in global memory";
    }
    return text;
  }

 private:
  struct Bias {
    std::optional<direct::ConstantSpace::Range> constant;
    Buffer global;
  };

  struct Conv2dShape {
    std::int64_t images = 0;
    Extent2 outputs;
    std::int64_t col_stride = 0;
    Extent2 stride;
    Extent2 dilation;
    auto operator<=>(const Conv2dShape&) const = default;
  };

  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override {
    device_.make_current();
    if (const auto* const layer = std::get_if<Conv2d>(&op)) return conv2d(*layer, in.front(), out);
    if (const auto* const layer = std::get_if<FullyConnected>(&op))
      return fully_connected(*layer, in.front());
    return CudaEngine::make(op, in, out);
  }

  std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out) {
    // Tiles of one size are alike wherever they lie.
    const Conv2dShape shape{out.images, out.rect.extent(), in.col_stride, layer.window.stride,
                            layer.window.dilation};
    const direct::Conv2dVariant& variant = variants_.get(layer.weight, shape, [&] {
      const auto variants = direct::conv2d_variants(layer, in, out, stage_);
      if (variants.empty()) refuse(layer, "no kernel fits this GPU");
      return variants.front();
    });
    const Buffer& filters = conv2d_filters_.get(layer.weight, variant.merged, [&] {
      const std::vector<float> host = direct::conv2d_filters(layer, variant.merged);
      return device_.copy_of(host.data(), host.size() * sizeof(float));
    });
    return std::make_unique<DirectConv2d>(layer, variant, filters,
                                          place_bias(layer.bias, direct::conv2d_constants()));
  }

  std::unique_ptr<Operation> fully_connected(const FullyConnected& layer, const MapGeometry& in) {
    const Buffer& filters = fully_connected_filters_.get(layer.weight, [&] {
      const Buffer weight = device_.copy_of(layer.weight.data(), layer.weight.size_bytes());
      Buffer made = device_.allocate(direct::fully_connected_filter_floats(layer) * sizeof(float));
      {
        const CudaStream stream(device_.index());
        direct::fully_connected_filters(layer, floats(weight), floats(made), stream.handle());
      }  // the stream's destructor waits
      return made;
    });
    const auto variant = direct::choose_fully_connected(layer, in.images, layer.features.size());
    return std::make_unique<DirectFullyConnected>(
        layer, variant, filters, place_bias(layer.bias, direct::fully_connected_constants()));
  }

  // Loads a layer's bias once: into constant memory, or where it does not fit into global memory.
  direct::BiasPlace place_bias(const Parameter& bias, direct::ConstantSpace& space) {
    if (bias.empty()) return {};
    const Bias& place = biases_.get(bias, &space, [&] {
      Bias made{space.reserve(device_.index(), bias), {}};
      if (!made.constant) {
        made.global = device_.copy_of(bias.data(), bias.size_bytes());
        ++fallbacks_;
      }
      return made;
    });
    if (place.constant) return {place.constant->offset(), nullptr};
    return {-1, floats(place.global)};
  }

  DirectStage stage_;
  int fallbacks_ = 0;
  MadeOfParameters<direct::Conv2dVariant, Conv2dShape> variants_;
  MadeOfParameters<Buffer, bool> conv2d_filters_;  // merged or not
  MadeOfParameters<Buffer> fully_connected_filters_;
  MadeOfParameters<Bias, const void*> biases_;  // by the constants that they lie in
};

}  // namespace

std::unique_ptr<DirectEngine> make_direct_engine(const DirectOptions& options) {
  return std::make_unique<Direct>(options);
}

}  // namespace halotile
