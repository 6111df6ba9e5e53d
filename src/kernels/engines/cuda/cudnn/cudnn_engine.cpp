// The `cudnn` engine, for comparison: convolutions and fully connected layers by cuDNN, all else by the
// kernels of the other CUDA engines. What it adds up in which order is cuDNN's choice, tile by tile.
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "kernels/engines/cuda/cuda_engine.hpp"
#include "kernels/engines/cuda/cudnn/cudnn_engine.hpp"
#include "kernels/engines/cuda/cudnn/cudnn_plan.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/op_support.hpp"
#include "kernels/engines/rounding.hpp"
#include "patching/error.hpp"
#include "patching/window.hpp"

namespace halotile {
namespace {

using cudnn::Plan;
using cudnn::Problem;

constexpr std::int64_t scratch_alignment = 256;

// Rows and columns that the outputs reach for, and those of them that the input shows.
struct Sight {
  Rect reached;
  Rect seen;
};

Sight sight_of(const Window& window, const MapGeometry& in, const MapGeometry& out) {
  const Rect reached{reach(window.rows(), in.whole.height, out.rect.rows),
                     reach(window.cols(), in.whole.width, out.rect.cols)};
  return {reached, intersect(reached, intersect(in.rect, Rect::whole(in.whole)))};
}

// What the tile sees is a tensor; the rest of its reach, outside the image, is padding, on each side its own.
Problem problem_of(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out, bool tf32) {
  const auto [reached, seen] = sight_of(layer.window, in, out);
  Problem p;
  p.in = cudnn::tensor_of(in, seen.extent());
  p.out = cudnn::tensor_of(out, out.rect.extent());
  p.groups = layer.groups;
  p.kernel = layer.window.kernel;
  p.stride = layer.window.stride;
  p.dilation = layer.window.dilation;
  p.before = {seen.rows.begin - reached.rows.begin, seen.cols.begin - reached.cols.begin};
  p.after = {reached.rows.end - seen.rows.end, reached.cols.end - seen.cols.end};
  // cuDNN's compiled kernels know ReLU behind a bias only.
  p.bias = layer.relu || !layer.bias.empty();
  p.relu = layer.relu;
  p.tf32 = tf32;
  return p;
}

// (out, kernel rows, kernel columns, in of a group).
template <typename T>
std::vector<T> reordered(const Conv2d& layer) {
  const std::int64_t taps = layer.window.kernel.area();
  const std::int64_t channels = layer.in_channels / layer.groups;
  std::vector<T> filters;
  filters.reserve(layer.weight.size());
  for (std::int64_t o = 0; o < layer.out_channels; ++o) {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t c = 0; c < channels; ++c) {
        filters.emplace_back(layer.weight[static_cast<std::size_t>((o * channels + c) * taps + tap)]);
      }
    }
  }
  return filters;
}

// A handle for each stream: what cuDNN keeps in one may not serve two streams at the same time.
class Handles {
 public:
  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    for (const auto& [stream, handle] : handles_) cudnn::library().destroy(handle);
  }
  // The stream's; the null stream's is for plans.
  [[nodiscard]] cudnnHandle_t of(cudaStream_t stream) {
    const auto [place, is_new] = handles_.try_emplace(stream);
    if (is_new) {
      const cudnnStatus_t status = cudnn::library().create(&place->second);
      if (status != CUDNN_STATUS_SUCCESS) handles_.erase(place);
      cudnn::check(status, "making a handle");
    }
    // Each time: another stream may have the address of one that is gone.
    cudnn::check(cudnn::library().set_stream(place->second, stream), "choosing a stream");
    return place->second;
  }

 private:
  std::map<cudaStream_t, cudnnHandle_t> handles_;
};

// A map that cuDNN gets a gap-free copy of, or gives one.
struct Apart {
  bool in = false;
  bool out = false;
};

std::int64_t copy_bytes(bool apart, const cudnn::Tensor& tensor) {
  return apart ? round_up(tensor.images * tensor.image_stride * size_of(tensor.type), scratch_alignment) : 0;
}

// A layer's, in the maps' type. The bias is there, as zeros, also where the layer has none.
struct Weights {
  Buffer filters;
  Buffer bias;
};

// They last as long as the parameter.
struct HeldWeights {
  const Weights& made;  // the engine's
  Parameter weight;
};

// Outputs that see nothing but padding: bias and ReLU.
class BiasOperation final : public Operation {
 public:
  BiasOperation(bool relu, DType type, const HeldWeights& weights)
      : relu_(relu), type_(type), weights_(weights) {}
  void run(std::span<const ConstMapView>, const MapView& out, const RunContext& context) override {
    const cudaStream_t stream = cuda_stream(context.stream).handle();
    // The same channels at every position: a map without strides.
    ConstMapView bias{out, weights_.made.bias.data()};
    bias.dtype = type_;
    bias.image_stride = bias.row_stride = bias.col_stride = 0;
    cuda::copy_map(bias, out, stream);
    if (relu_) cuda::relu(out, out, stream);
  }

 private:
  bool relu_;
  DType type_;
  HeldWeights weights_;
};

class CudnnOperation final : public Operation {
 public:
  CudnnOperation(const Window& window, const Problem& problem, const Plan& plan, Apart apart,
                 const HeldWeights& weights, Handles& handles)
      : window_(window),
        problem_(problem),
        plan_(plan),
        apart_(apart),
        in_bytes_(copy_bytes(apart.in, problem.in)),
        out_bytes_(copy_bytes(apart.out, problem.out)),
        weights_(weights),
        handles_(handles) {}

  [[nodiscard]] std::size_t scratch_bytes() const override {
    const std::size_t bytes = plan_.workspace_bytes() + static_cast<std::size_t>(in_bytes_ + out_bytes_);
    return bytes > 0 ? bytes + scratch_alignment : 0;
  }

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    const cudaStream_t stream = cuda_stream(context.stream).handle();
    std::byte* const scratch = aligned_scratch(context);
    const ConstMapView seen = subview(in, {0, in.images}, sight_of(window_, in, out).seen);
    const MapView in_copy{dense_geometry(in.dtype, in.images, in.channels, seen.rect, in.whole), scratch};
    const MapView out_copy{dense_geometry(problem_.out.type, out.images, out.channels, out.rect, out.whole),
                           scratch + in_bytes_};
    if (apart_.in) cuda::copy_map(seen, in_copy, stream);
    cudnn::Addresses addresses;
    addresses.in = apart_.in ? in_copy.data : seen.data;
    addresses.filters = weights_.made.filters.data();
    addresses.bias = weights_.made.bias.data();
    addresses.out = apart_.out ? out_copy.data : out.data;
    addresses.workspace = scratch + in_bytes_ + out_bytes_;
    require_alignment(addresses.in, problem_.in);
    require_alignment(addresses.out, problem_.out);
    plan_.run(handles_.of(stream), addresses);
    if (apart_.out) cuda::copy_map(out_copy, out, stream);
  }

 private:
  // What a plan takes for granted of the addresses it gets.
  static void require_alignment(const void* address, const cudnn::Tensor& tensor) {
    if (reinterpret_cast<std::uintptr_t>(address) % static_cast<std::uintptr_t>(tensor.alignment()) == 0)
      return;
    throw ShapeError("engine cudnn: a view's first element is less aligned than its strides");
  }

  [[nodiscard]] std::byte* aligned_scratch(const RunContext& context) const {
    const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(context.scratch.data()));
    return context.scratch.data() + (round_up(address, scratch_alignment) - address);
  }

  Window window_;
  Problem problem_;
  const Plan& plan_;  // the engine's, like the handles
  Apart apart_;
  std::int64_t in_bytes_;
  std::int64_t out_bytes_;
  HeldWeights weights_;
  Handles& handles_;
};

class CudnnEngine final : public CudaEngine {
 public:
  CudnnEngine(int device, Precision precision)
      : CudaEngine(device), precision_(precision), state_(cudnn_state()) {
    if (!state_.obstacle.empty()) throw UnsupportedError("engine: cudnn: " + state_.obstacle);
  }
  CudnnEngine(const CudnnEngine&) = delete;
  CudnnEngine& operator=(const CudnnEngine&) = delete;
  ~CudnnEngine() override {
    // What was queued may still use plans, handles and weights.
    cudaSetDevice(device_.index());
    cudaDeviceSynchronize();
  }

  [[nodiscard]] std::string_view name() const override { return "cudnn"; }
  [[nodiscard]] DType map_type() const override {
    return precision_ == Precision::bf16   ? DType::bf16
           : precision_ == Precision::fp16 ? DType::f16
                                           : DType::f32;
  }
  [[nodiscard]] std::string note() const override {
    std::string engines;
    for (const std::int64_t engine : used_) engines += (engines.empty() ? "" : ", ") + std::to_string(engine);
    std::string text = "cuDNN " + state_.version + ", " + std::to_string(plans_.size()) +
                       " shapes of layers and tiles, by cuDNN's engines " + engines;
    if (roundings_ > 0) text += "; logits rounded to " + std::string(to_string(map_type()));
    return text;
  }

  [[nodiscard]] std::string obstacle(const Op& op) const override { return cuda::cudnn_obstacle(op); }

 private:
  struct Known {
    std::unique_ptr<Plan> plan;  // null: cuDNN has none
    std::string why;             // then
  };

  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override {
    if (const auto* const layer = std::get_if<Conv2d>(&op))
      return convolution(*layer, in.front(), out, out.dtype);
    if (const auto* const layer = std::get_if<FullyConnected>(&op)) {
      // A convolution at one position. Few outputs of many terms: such sums cuDNN may split, and left to
      // write bf16 its errors are as if it rounded the parts to bf16.
      return convolution(
          {layer->in_features, layer->out_features, 1, {}, layer->relu, layer->weight, layer->bias},
          in.front(), out, DType::f32);
    }
    return CudaEngine::make(op, in, out);
  }

  // Written by cuDNN in the type `written` if there is a plan for that, else in the input's.
  std::unique_ptr<Operation> convolution(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out,
                                         DType written) {
    device_.make_current();
    const HeldWeights weights{weights_of(layer), layer.weight};
    if (sight_of(layer.window, in, out).seen.empty())
      return std::make_unique<BiasOperation>(layer.relu, map_type(), weights);
    Problem problem = problem_of(layer, in, out, precision_ == Precision::tf32);
    Apart apart{problem.in.seems_better_aligned(), false};
    if (apart.in) {
      const cudnn::Tensor& t = problem.in;
      problem.in = cudnn::dense_tensor(t.type, t.images, t.channels, t.extent);
    }
    const bool odd_out = problem.out.seems_better_aligned();
    const auto write = [&](DType type) {
      apart.out = odd_out || type != out.dtype;
      const Extent2 extent = out.rect.extent();
      problem.out = apart.out ? cudnn::dense_tensor(type, out.images, out.channels, extent)
                              : cudnn::tensor_of(out, extent);
      return plan_of(problem);
    };
    const Plan* plan = write(written);
    if (plan == nullptr && written != in.dtype) {
      plan = write(in.dtype);
      if (out.dtype != in.dtype) ++roundings_;
    }
    if (plan == nullptr) throw_no_plan(layer, problem);
    used_.insert(plan->engine());
    return std::make_unique<CudnnOperation>(layer.window, problem, *plan, apart, weights, handles_);
  }

  // Null where cuDNN has none.
  const Plan* plan_of(const Problem& problem) {
    const auto [known, is_new] = plans_.try_emplace(problem);
    if (is_new) {
      cudnn::PlanSearch search(handles_.of(nullptr), problem);
      known->second = {std::move(search.plan), std::move(search.why)};
    }
    return known->second.plan.get();
  }

  [[noreturn]] void throw_no_plan(const Conv2d& layer, const Problem& problem) const {
    const auto text = [](Extent2 e) { return std::to_string(e.height) + "x" + std::to_string(e.width); };
    throw UnsupportedError("engine: cudnn: cuDNN " + state_.version + " has no plan for a convolution of " +
                           std::to_string(layer.in_channels) + " to " + std::to_string(layer.out_channels) +
                           " channels in " + std::to_string(layer.groups) + " groups, kernel " +
                           text(layer.window.kernel) + ", " + std::to_string(problem.out.images) +
                           " images of " + text(problem.out.extent) + " outputs (" + plans_.at(problem).why +
                           "); choose another engine (direct, tensor_core), precision or patch");
  }

  // Brought to the device when first asked for.
  const Weights& weights_of(const Conv2d& layer) {
    return weights_.get(layer.weight, layer.bias.id(), [&] {
      Weights weights;
      with_element_type(map_type(), [&]<typename T>(T) {
        const std::vector<T> filters = reordered<T>(layer);
        std::vector<T> bias(static_cast<std::size_t>(layer.out_channels), T(0.0F));
        for (std::size_t o = 0; o < layer.bias.size(); ++o) bias[o] = T(layer.bias[o]);
        weights.bias = device_.copy_of(bias.data(), bias.size() * sizeof(T));
        weights.filters = device_.copy_of(filters.data(), filters.size() * sizeof(T));
      });
      return weights;
    });
  }

  Precision precision_;
  CudnnState state_;
  Handles handles_;
  std::map<Problem, Known> plans_;
  MadeOfParameters<Weights, std::uint64_t> weights_;  // by the bias
  // For note().
  std::set<std::int64_t> used_;
  int roundings_ = 0;
};

}  // namespace

std::unique_ptr<Engine> make_cudnn_engine(int index, Precision precision) {
  return std::make_unique<CudnnEngine>(index, precision);
}

CudnnState cudnn_state() {
  try {
    const std::size_t version = cudnn::library().version();  // 91900 is 9.19.0
    return {std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
                std::to_string(version % 100),
            {}};
  } catch (const UnsupportedError& error) {
    return {{}, error.what()};
  }
}

}  // namespace halotile
