#include "kernels/engines/cuda/tensor_core/tensor_core_engine.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/op_support.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma.hpp"
#include "kernels/engines/rounding.hpp"
#include "patching/error.hpp"
#include "patching/window.hpp"

namespace halotile {
namespace {

using tensor_core::BlockShape;
using tensor_core::Element;
using tensor_core::MatrixCall;
using tensor_core::MatrixLayer;
using tensor_core::PackedLayout;
using tensor_core::ShapeCost;

// From so many images on, fully connected layers go without a second pass.
constexpr std::int64_t many_positions = 512;

// Few rows by many columns wait for the filters, which this shape fetches fastest.
constexpr BlockShape few_rows_shape{64, 64};

// For calls of these numbers of positions in one launch.
double estimated_time(const ShapeCost& cost, const MatrixLayer& layer,
                      std::span<const std::int64_t> positions, std::int64_t multiprocessors) {
  if (!tensor_core::wgmma_fits(layer, cost.shape)) return std::numeric_limits<double>::infinity();
  std::int64_t blocks = 0;
  for (const std::int64_t p : positions) blocks += divide_up(p, tensor_core::rows_of_item(cost.shape));
  blocks *= divide_up(layer.out, cost.shape.cols) * layer.groups * layer.segments;
  // A tap's rest takes longer than its bytes say, and one of 96 bytes, which comes in two pieces, as long as
  // all of 128 where two blocks wait for theirs.
  const auto rest = static_cast<double>(layer.rest_bytes());
  double tap = static_cast<double>(layer.whole_chunks()) + (rest > 0 ? 0.25 + 0.75 * rest / 128 : 0);
  if (layer.rest_bytes() == 96) tap += cost.resident == 2 ? 0.28 : 0.09;
  const double sum = static_cast<double>(layer.kernel.area()) * tap / static_cast<double>(layer.segments);
  const std::int64_t each = divide_up(blocks, multiprocessors);
  const std::int64_t full = each / cost.resident;
  double time =
      static_cast<double>(full) * (static_cast<double>(cost.resident) * sum * cost.busy + cost.item);
  if (each % cost.resident > 0) {
    const bool crowded = 10 * blocks > 9 * multiprocessors;
    time += sum * (crowded ? std::max(cost.alone, cost.busy) : cost.alone) + cost.item;
  }
  return time;
}

BlockShape fastest_shape(const MatrixLayer& layer, std::span<const std::int64_t> positions,
                         std::int64_t multiprocessors) {
  const auto time = [&](const ShapeCost& cost) {
    return estimated_time(cost, layer, positions, multiprocessors);
  };
  const bool few_rows = layer.segments > 1 && std::ranges::max(positions) <= few_rows_shape.rows;
  if (few_rows && !layer.split()) return few_rows_shape;
  return std::ranges::min_element(tensor_core::wgmma_costs(layer), {}, time)->shape;
}

// A layer's weight and bias on the device.
struct Weights {
  std::optional<MatrixLayer> layer;  // none: plain_conv2d's
  Buffer filters;
  Buffer bias;
  Buffer padding;  // outputs that see padding alone, where these are not the bias: NaN for unfit filters

  [[nodiscard]] const float* bias_or_null() const {
    return bias.bytes() > 0 ? reinterpret_cast<const float*>(bias.data()) : nullptr;
  }
  [[nodiscard]] const float* padding_or_null() const {
    return padding.bytes() > 0 ? reinterpret_cast<const float*>(padding.data()) : nullptr;
  }
};

// What outputs are that see padding alone, if not the bias: zeros times what is not finite are NaN.
std::vector<float> padding_outputs(std::span<const float> weight, std::span<const float> bias,
                                   std::int64_t outputs) {
  const auto finite = [](float w) { return std::isfinite(w); };
  if (std::ranges::all_of(weight, finite)) return {};
  std::vector<float> values(bias.begin(), bias.end());
  values.resize(static_cast<std::size_t>(outputs));
  const std::size_t terms = weight.size() / values.size();
  for (std::size_t o = 0; o < values.size(); ++o) {
    if (!std::ranges::all_of(weight.subspan(o * terms, terms), finite))
      values[o] = std::numeric_limits<float>::quiet_NaN();
  }
  return values;
}

// An account of the input's infinities and NaN, of layers that need one.
class Account {
 public:
  Account() = default;
  Account(CudaDevice& device, const MatrixLayer& layer) {
    constexpr tensor_core::NonFiniteAccount none;
    if (layer.apart) buffer_ = device.copy_of(&none, sizeof(none));
  }
  [[nodiscard]] tensor_core::NonFiniteAccount* or_null() const {
    return reinterpret_cast<tensor_core::NonFiniteAccount*>(buffer_.data());
  }

 private:
  Buffer buffer_;
};

// They last as long as the parameter.
struct HeldWeights {
  const Weights& made;  // the engine's
  Parameter weight;
};

// What products of matrices need besides the maps.
class MatrixOperation : public Operation {
 public:
  MatrixOperation(CudaDevice& device, const MatrixLayer& layer, const Window& window,
                  const HeldWeights& weights, const MapGeometry& out, bool wgmma,
                  std::int64_t multiprocessors)
      : layer_(layer), window_(window), weights_(weights), account_(device, layer), wgmma_(wgmma) {
    const Extent2 outputs = out.rect.extent();
    const std::int64_t positions = out.images * outputs.area();
    shape_ = fastest_shape(layer, {&positions, 1}, multiprocessors);
    if (!wgmma) shape_ = tensor_core::mma_shapes().front();
    if (layer.packed) {
      const Extent2 packed = layer.packed_extent(outputs);
      packed_bytes_ = round_up(out.images * packed.area() * layer.groups * layer.position_channels *
                                   tensor_core::size_of(layer.element) * (layer.split() ? 2 : 1),
                               alignment);
    }
    if (wgmma && layer.segments > 1 && positions >= many_positions && !layer.split()) {
      // Each block has enough to do to add the segments itself.
      shape_ = tensor_core::totals_shape();
    } else if (layer.segments > 1) {
      partial_bytes_ = round_up(layer.segments * positions * layer.groups * layer.out * 4, alignment);
    }
  }

  [[nodiscard]] std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(packed_bytes_ + partial_bytes_);
  }

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    const cudaStream_t stream = cuda_stream(context.stream).handle();
    if (layer_.packed) {
      const tensor_core::PackedTile tile{in, out.rect, context.scratch.data()};
      pack(shape_.input, {&tile, 1}, account_, stream);
    }
    const MatrixCall call = this->call(in, out, account_, context);
    if (call.rows == 0 || call.cols == 0) {  // nothing but padding: sums of nothing
      MatrixLayer empty = layer_;
      empty.segments = 0;
      MatrixCall sums = call;
      if (const float* const padding = weights_.made.padding_or_null()) sums.bias = padding;
      tensor_core::add_segments(empty, sums, stream);
      return;
    }
    if (wgmma_) {
      tensor_core::multiply_wgmma(layer_, call, shape_, stream);
    } else {
      tensor_core::multiply_mma(layer_, call, shape_, stream);
    }
    if (partial_bytes_ > 0) tensor_core::add_segments(layer_, call, stream);
  }

  [[nodiscard]] const MatrixLayer& layer() const { return layer_; }

  // Of layers that are packed.
  void pack(PackedLayout layout, std::span<const tensor_core::PackedTile> tiles, const Account& account,
            cudaStream_t stream) const {
    tensor_core::pack_input(layer_, window_, layout, tiles, stream, account.or_null());
  }

  [[nodiscard]] MatrixCall call(const ConstMapView& in, const MapView& out, const Account& account,
                                const RunContext& context) const {
    MatrixCall call = tensor_core::matrix_call(layer_, window_, in, out, context.scratch.data());
    call.filters = weights_.made.filters.data();
    call.bias = weights_.made.bias_or_null();
    call.account = account.or_null();
    call.unfit = weights_.made.padding_or_null();
    if (partial_bytes_ > 0) call.partial = reinterpret_cast<float*>(context.scratch.data() + packed_bytes_);
    return call;
  }

 private:
  static constexpr std::int64_t alignment = 256;  // bytes, of what follows in scratch memory

  MatrixLayer layer_;
  Window window_;
  HeldWeights weights_;
  Account account_;
  bool wgmma_;
  BlockShape shape_{128, 128};
  std::int64_t packed_bytes_ = 0;
  std::int64_t partial_bytes_ = 0;
};

// A convolution of several tiles: one launch, and where the layer packs, before it as few as that takes.
class MatrixTileStep final : public TileStep {
 public:
  MatrixTileStep(CudaDevice& device, std::span<const TileCall> calls, std::int64_t multiprocessors)
      : account_(device, operation(calls.front()).layer()) {
    std::vector<std::int64_t> positions;
    for (const TileCall& tile : calls) {
      const MatrixCall call = operation(tile).call(tile.in.front(), tile.out, account_, tile.context);
      const bool sees_nothing = call.rows == 0 || call.cols == 0;
      if (sees_nothing) {
        alone_.push_back(tile);
        continue;
      }
      packed_.push_back({tile.in.front(), tile.out.rect, tile.context.scratch.data()});
      products_.push_back(call);
      positions.push_back(call.positions());
    }
    if (products_.empty()) return;
    operation_ = &operation(calls.front());
    const MatrixLayer& layer = operation_->layer();
    if (!layer.packed) packed_.clear();
    shape_ = fastest_shape(layer, positions, multiprocessors);
    // A single call does without a table in the device's memory.
    if (products_.size() > 1) batch_.emplace(device, layer, products_, shape_);
  }

  void run(Stream& stream) override {
    begin(stream);
    finish(stream);
  }

  void begin(Stream& stream) override {
    if (!packed_.empty()) operation_->pack(shape_.input, packed_, account_, cuda_stream(stream).handle());
  }

  void finish(Stream& stream) override {
    const cudaStream_t handle = cuda_stream(stream).handle();
    for (const TileCall& tile : alone_) tile.operation->run(tile.in, tile.out, tile.context);
    if (batch_) {
      batch_->run(handle);
    } else if (!products_.empty()) {
      tensor_core::multiply_wgmma(operation_->layer(), products_.front(), shape_, handle);
    }
  }

 private:
  static const MatrixOperation& operation(const TileCall& tile) {
    return static_cast<const MatrixOperation&>(*tile.operation);
  }

  Account account_;
  const MatrixOperation* operation_ = nullptr;  // a tile's
  std::vector<TileCall> alone_;                 // with nothing but padding in sight
  std::vector<tensor_core::PackedTile> packed_;
  std::vector<MatrixCall> products_;
  BlockShape shape_;
  std::optional<tensor_core::WgmmaBatch> batch_;
};

class TensorCoreEngine final : public CudaEngine {
 public:
  explicit TensorCoreEngine(const TensorCoreOptions& options)
      : CudaEngine(options.device),
        element_(options.element),
        wgmma_(tensor_core::has_wgmma(options.device)),
        multiprocessors_(device_.info().multiprocessors) {
    if (element_ == Element::f32 && !wgmma_) {
      throw UnsupportedError(
          "precision: fp32: engine tensor_core splits fp32 on Hopper GPUs (compute capability 9.0) alone, "
          "and this "
          "one is none; use engine: direct, or precision: tf32");
    }
  }

  [[nodiscard]] std::string_view name() const override { return "tensor_core"; }
  [[nodiscard]] DType map_type() const override { return tensor_core::map_type(element_); }
  [[nodiscard]] std::string note() const override {
    return wgmma_ ? "tensor cores through warpgroup products (wgmma)"
                  : "tensor cores through warp products (mma)";
  }

  [[nodiscard]] std::string obstacle(const Op& op) const override { return cuda::tensor_core_obstacle(op); }

  [[nodiscard]] std::unique_ptr<TileStep> tile_step(std::span<const TileCall> calls) override {
    const auto is_product = [](const TileCall& call) {
      const auto* const operation = dynamic_cast<const MatrixOperation*>(call.operation);
      return operation != nullptr && operation->layer().segments == 1;
    };
    if (wgmma_ && !calls.empty() && std::ranges::all_of(calls, is_product)) {
      device_.make_current();
      return std::make_unique<MatrixTileStep>(device_, calls, multiprocessors_);
    }
    return CudaEngine::tile_step(calls);
  }

 private:
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override {
    using Made = std::unique_ptr<Operation>;
    return std::visit(
        Overloaded{[&](const Conv2d& layer) -> Made { return conv2d(layer, out); },
                   [&](const FullyConnected& layer) -> Made { return product(layer, Window{}, out); },
                   [&](const Lrn& layer) -> Made { return lrn(layer); },
                   [&](const LrnMaxPool& both) -> Made { return lrn_max_pool(both); },
                   [&](const auto&) -> Made { return CudaEngine::make(op, in, out); }},
        op);
  }

  std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry& out) {
    const Weights& weights = weights_of(layer, layer.window);
    if (weights.layer) return product(layer, layer.window, out);
    return launch_operation(
        [layer, &weights](const ConstMapView& in, const MapView& to, cudaStream_t stream) {
          tensor_core::plain_conv2d(layer, reinterpret_cast<const float*>(weights.filters.data()),
                                    weights.bias_or_null(), in, to, stream);
        });
  }

  template <typename Layer>
  std::unique_ptr<Operation> product(const Layer& layer, const Window& window, const MapGeometry& out) {
    const Weights& weights = weights_of(layer, window);
    MatrixLayer matrix = *weights.layer;
    matrix.relu = layer.relu;
    return std::make_unique<MatrixOperation>(device_, matrix, window, HeldWeights{weights, layer.weight}, out,
                                             wgmma_, multiprocessors_);
  }

  [[nodiscard]] std::unique_ptr<Operation> lrn(const Lrn& layer) const {
    return launch_operation(
        [=, power = power()](const ConstMapView& in, const MapView& out, cudaStream_t stream) {
          cuda::lrn(layer, in, out, stream, power);
        });
  }

  [[nodiscard]] std::unique_ptr<Operation> lrn_max_pool(const LrnMaxPool& both) const {
    return std::make_unique<TilesOperation>(
        [=, power = power()](std::span<const cuda::TileMaps> tiles, cudaStream_t stream) {
          cuda::lrn_max_pool(both.lrn, both.pool, tiles, stream, power);
        });
  }

  [[nodiscard]] cuda::LrnPower power() const {
    return element_ == Element::tf32 ? cuda::LrnPower::fast : cuda::LrnPower::exact;
  }

  // What a layer's weights on the device depend on, besides its weight.
  struct Detail {
    std::uint64_t bias = 0;
    Extent2 stride;
    Extent2 dilation;
    auto operator<=>(const Detail&) const = default;
  };

  static std::int64_t out_of(const Conv2d& layer) { return layer.out_channels; }
  static std::int64_t out_of(const FullyConnected& layer) { return layer.out_features; }

  // A layer's, brought to the device when first asked for.
  template <typename Layer>
  const Weights& weights_of(const Layer& layer, const Window& window) {
    device_.make_current();
    return weights_.get(layer.weight, {layer.bias.id(), window.stride, window.dilation}, [&] {
      Weights weights;
      weights.layer = tensor_core::matrix_layer(layer, element_);
      if (weights.layer) {
        const std::vector<std::byte> host = tensor_core::matrix_filters(layer, *weights.layer);
        weights.filters = device_.copy_of(host.data(), host.size());
      } else {
        weights.filters = device_.copy_of(layer.weight.data(), layer.weight.size_bytes());
      }
      if (!layer.bias.empty()) weights.bias = device_.copy_of(layer.bias.data(), layer.bias.size_bytes());
      if (const std::vector<float> alone = padding_outputs(layer.weight, layer.bias, out_of(layer));
          !alone.empty())
        weights.padding = device_.copy_of(alone.data(), alone.size() * sizeof(float));
      return weights;
    });
  }

  Element element_;
  bool wgmma_;
  std::int64_t multiprocessors_;
  MadeOfParameters<Weights, Detail> weights_;
};

}  // namespace

std::unique_ptr<CudaEngine> make_tensor_core_engine(const TensorCoreOptions& options) {
  return std::make_unique<TensorCoreEngine>(options);
}

}  // namespace halotile
