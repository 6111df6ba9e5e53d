#include <vector>

#include "kernels/engines/cpu/cpu_operations.hpp"
#include "kernels/engines/cpu/reference.hpp"

namespace halotile {
namespace {

class ReferenceConv2d final : public Operation {
 public:
  ReferenceConv2d(const Conv2d& layer, std::span<const float> weight) : layer_(layer), weight_(weight) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext&) override {
    reference::conv2d(layer_, weight_, in.front(), out);
  }

 private:
  Conv2d layer_;
  std::span<const float> weight_;  // the engine's
};

class ReferenceFullyConnected final : public Operation {
 public:
  explicit ReferenceFullyConnected(const FullyConnected& layer) : layer_(layer) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext&) override {
    reference::fully_connected(layer_, layer_.features, in.front(), out);
  }

 private:
  FullyConnected layer_;
};

class ReferenceEngine final : public CpuEngine {
 public:
  ReferenceEngine() : CpuEngine(1) {}
  [[nodiscard]] std::string_view name() const override { return "reference"; }
  [[nodiscard]] DType map_type() const override { return DType::f32; }

 private:
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override {
    if (const auto* const layer = std::get_if<Conv2d>(&op)) {
      return std::make_unique<ReferenceConv2d>(*layer, ordered_weight(*layer));
    }
    if (const auto* const layer = std::get_if<FullyConnected>(&op)) {
      return std::make_unique<ReferenceFullyConnected>(*layer);
    }
    return CpuEngine::make(op, in, out);
  }

  std::span<const float> ordered_weight(const Conv2d& layer) {
    return weights_.get(layer.weight, [&] { return reference::conv2d_weight_order(layer); });
  }

  MadeOfParameters<std::vector<float>> weights_;
};

}  // namespace

std::unique_ptr<Engine> make_reference_engine() { return std::make_unique<ReferenceEngine>(); }

}  // namespace halotile
