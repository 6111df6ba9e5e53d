#include <map>
#include <vector>

#include "kernels/engines/cpu/cpu_operations.hpp"
#include "kernels/engines/cpu/reference.hpp"

namespace halotile {
namespace {

class ReferenceConv2d final : public Operation {
 public:
  ReferenceConv2d(const Conv2d& layer, std::span<const float> weight) : layer_(layer), weight_(weight) {}
  void run(const ConstMapView& in, const MapView& out, const RunContext&) override {
    reference::conv2d(layer_, weight_, in, out);
  }

 private:
  Conv2d layer_;
  std::span<const float> weight_;
};

class ReferenceFullyConnected final : public Operation {
 public:
  ReferenceFullyConnected(const FullyConnected& layer, Interval features)
      : layer_(layer), features_(features) {}
  void run(const ConstMapView& in, const MapView& out, const RunContext&) override {
    reference::fully_connected(layer_, features_, in, out);
  }

 private:
  FullyConnected layer_;
  Interval features_;
};

class ReferenceEngine final : public CpuEngine {
 public:
  ReferenceEngine() : CpuEngine(1) {}
  [[nodiscard]] std::string_view name() const override { return "reference"; }
  [[nodiscard]] DType map_type() const override { return DType::f32; }
  [[nodiscard]] bool promises_bits() const override { return true; }

  [[nodiscard]] std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry&,
                                                  const MapGeometry&) override {
    std::vector<float>& weight = weights_[layer.weight.data()];
    if (weight.empty()) weight = reference::conv2d_weight_order(layer);
    return std::make_unique<ReferenceConv2d>(layer, weight);
  }
  [[nodiscard]] std::unique_ptr<Operation> fully_connected(const FullyConnected& layer, Interval features,
                                                           const MapGeometry&, const MapGeometry&) override {
    return std::make_unique<ReferenceFullyConnected>(layer, features);
  }

 private:
  std::map<const float*, std::vector<float>> weights_;  // by the address of the layer's own weight
};

}  // namespace

std::unique_ptr<Engine> make_reference_engine() { return std::make_unique<ReferenceEngine>(); }

}  // namespace halotile
