#include "kernels/engines/cuda/direct/direct_engine.hpp"

#include <map>
#include <optional>
#include <utility>

#include "kernels/engines/cuda/direct/fully_connected.hpp"

namespace halotile {
namespace {

cudaStream_t handle(const RunContext& context) { return cuda_stream(context.stream).handle(); }

float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

const float* filters(const RunContext& context, const Buffer& resident) {
  return context.weights != nullptr ? reinterpret_cast<const float*>(context.weights) : floats(resident);
}

class DirectConv2d final : public Operation {
 public:
  DirectConv2d(const Conv2d& layer, const direct::Conv2dVariant& variant, const Buffer& filters,
               const direct::BiasPlace& bias)
      : layer_(layer), variant_(variant), filters_(filters), bias_(bias) {}
  [[nodiscard]] std::span<const std::byte> weights() const override {
    return {filters_.data(), filters_.bytes()};
  }
  void run(const ConstMapView& in, const MapView& out, const RunContext& context) override {
    direct::conv2d(layer_, variant_, filters(context, filters_), bias_, in, out, handle(context));
  }

 private:
  Conv2d layer_;
  direct::Conv2dVariant variant_;
  const Buffer& filters_;  // the engine's
  direct::BiasPlace bias_;
};

class DirectFullyConnected final : public Operation {
 public:
  DirectFullyConnected(const FullyConnected& layer, Interval features,
                       const direct::FullyConnectedVariant& variant, const Buffer& filters,
                       const direct::BiasPlace& bias)
      : layer_(layer), features_(features), variant_(variant), filters_(filters), bias_(bias) {}
  [[nodiscard]] std::size_t scratch_bytes() const override { return variant_.scratch_bytes; }
  [[nodiscard]] std::span<const std::byte> weights() const override {
    return {filters_.data(), filters_.bytes()};
  }
  void run(const ConstMapView& in, const MapView& out, const RunContext& context) override {
    direct::fully_connected(layer_, features_, variant_, filters(context, filters_), bias_, in, out,
                            context.scratch, handle(context));
  }

 private:
  FullyConnected layer_;
  Interval features_;
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

  [[nodiscard]] std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry& in,
                                                  const MapGeometry& out) override {
    device_.make_current();
    // Tiles of one size are alike wherever they lie.
    const auto [known, is_new] =
        variants_.try_emplace({layer.weight.data(), out.images, out.rect.extent(), in.col_stride});
    if (is_new) {
      const auto variants = direct::conv2d_variants(layer, in, out, stage_);
      if (variants.empty()) {
        variants_.erase(known);
        throw UnsupportedError("conv2d: no kernel of the direct engine fits this GPU");
      }
      known->second = variants.front();
    }
    const direct::Conv2dVariant& variant = known->second;
    Buffer& filters = conv2d_filters_[{layer.weight.data(), variant.merged}];
    if (filters.bytes() == 0) {
      const std::vector<float> host = direct::conv2d_filters(layer, variant.merged);
      filters = device_.copy_of(host.data(), host.size() * sizeof(float));
    }
    return std::make_unique<DirectConv2d>(layer, variant, filters,
                                          place_bias(layer.bias, direct::conv2d_constants()));
  }

  [[nodiscard]] std::unique_ptr<Operation> fully_connected(const FullyConnected& layer, Interval features,
                                                           const MapGeometry& in,
                                                           const MapGeometry&) override {
    device_.make_current();
    Buffer& filters = fully_connected_filters_[layer.weight.data()];
    if (filters.bytes() == 0) {
      const Buffer weight = device_.copy_of(layer.weight.data(), layer.weight.size_bytes());
      filters = device_.allocate(direct::fully_connected_filter_floats(layer) * sizeof(float));
      const CudaStream stream(device_.index());
      direct::fully_connected_filters(layer, floats(weight), floats(filters), stream.handle());
    }  // the stream's destructor has waited
    const auto variant = direct::choose_fully_connected(layer, in.images, features.size());
    return std::make_unique<DirectFullyConnected>(
        layer, features, variant, filters, place_bias(layer.bias, direct::fully_connected_constants()));
  }

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
    const float* weight = nullptr;
    std::int64_t images = 0;
    Extent2 outputs;
    std::int64_t col_stride = 0;
    auto operator<=>(const Conv2dShape&) const = default;
  };

  // Loads a layer's bias once: into constant memory, or where it does not fit into global memory.
  direct::BiasPlace place_bias(std::span<const float> bias, direct::ConstantSpace& space) {
    if (bias.empty()) return {};
    const auto [place, is_new] = biases_.try_emplace({bias.data(), &space});
    if (is_new) {
      place->second.constant = space.reserve(device_.index(), bias);
      if (!place->second.constant) {
        place->second.global = device_.copy_of(bias.data(), bias.size_bytes());
        ++fallbacks_;
      }
    }
    if (place->second.constant) return {place->second.constant->offset(), nullptr};
    return {-1, floats(place->second.global)};
  }

  DirectStage stage_;
  int fallbacks_ = 0;
  std::map<Conv2dShape, direct::Conv2dVariant> variants_;
  // By the address of the layer's own weight or bias.
  std::map<std::pair<const float*, bool>, Buffer> conv2d_filters_;
  std::map<const float*, Buffer> fully_connected_filters_;
  std::map<std::pair<const float*, const void*>, Bias> biases_;
};

}  // namespace

std::unique_ptr<DirectEngine> make_direct_engine(const DirectOptions& options) {
  return std::make_unique<Direct>(options);
}

}  // namespace halotile
