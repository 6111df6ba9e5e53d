#include "kernels/engines/cuda/cudnn/cudnn_plan.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace halotile::cudnn {
namespace {

using Four = std::array<std::int64_t, 4>;  // (N, C, H, W), cuDNN's order whatever lies next to what
using Two = std::array<std::int64_t, 2>;

// Names of tensors; the last two never reach memory.
enum Id : std::int64_t { in_id = 1, filter_id, bias_id, out_id, sum_id, biased_id };

cudnnDataType_t data_type(DType type) {
  switch (type) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::f16:
      return CUDNN_DATA_HALF;
    case DType::u8:
      break;
  }
  throw UnsupportedError("engine: cudnn: pixels (u8) are only copied and normalized");
}

Two pair(Extent2 extent) { return {extent.height, extent.width}; }

template <std::size_t n>
std::span<const std::int64_t> all(const std::array<std::int64_t, n>& values) {
  return values;
}

Descriptor make_tensor(Id id, cudnnDataType_t type, const Four& extents, const Four& strides,
                       std::int64_t alignment) {
  const bool is_virtual = id == sum_id || id == biased_id;
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type)
      .set_all(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, all(extents))
      .set_all(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, all(strides))
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, std::int64_t{id})
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, alignment)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual)
      .finalize("describing a tensor");
  return tensor;
}

Descriptor make_tensor(Id id, const Tensor& t) {
  return make_tensor(id, data_type(t.type), {t.images, t.channels, t.extent.height, t.extent.width},
                     {t.image_stride, 1, t.row_stride, t.col_stride}, t.alignment());
}

Descriptor make_filters(const Problem& p) {
  const std::int64_t channels = p.in.channels / p.groups;
  return make_tensor(filter_id, data_type(p.in.type),
                     {p.out.channels, channels, p.kernel.height, p.kernel.width},
                     {p.kernel.area() * channels, 1, p.kernel.width * channels, channels}, 16);
}

Descriptor make_convolution(const Problem& p) {
  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION)
      .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2})
      .set_all(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, all(pair(p.before)))
      .set_all(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, all(pair(p.after)))
      .set_all(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, all(pair(p.stride)))
      .set_all(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, all(pair(p.dilation)))
      .finalize("describing a convolution");
  return convolution;
}

Descriptor make_pointwise(cudnnPointwiseMode_t mode) {
  Descriptor pointwise(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
      .finalize("describing a pointwise operation");
  return pointwise;
}

// Collects what a graph consists of; cuDNN may refer to it for as long as a plan lives.
class GraphBuilder {
 public:
  explicit GraphBuilder(const Problem& problem) : p_(problem) {
    const Descriptor& in = keep(make_tensor(in_id, p_.in));
    const Descriptor& filters = keep(make_filters(p_));
    const Descriptor& out = keep(make_tensor(out_id, p_.out));
    const Descriptor& sum = p_.bias || p_.relu ? keep(between(sum_id)) : out;
    add_convolution(in, filters, sum);
    const Descriptor* last = &sum;
    if (p_.bias) {
      const Descriptor& biased = p_.relu ? keep(between(biased_id)) : out;
      add_pointwise(CUDNN_POINTWISE_ADD, *last, &keep(bias()), biased);
      last = &biased;
    }
    if (p_.relu) add_pointwise(CUDNN_POINTWISE_RELU_FWD, *last, nullptr, out);
  }

  // Its parts, the graph the last of them.
  [[nodiscard]] std::deque<Descriptor> take(cudnnHandle_t handle) {
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle)
        .set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 std::span<const cudnnBackendDescriptor_t>(operations_));
    graph.finalize("making an operation graph");
    keep(std::move(graph));
    return std::move(parts_);
  }

 private:
  const Descriptor& keep(Descriptor part) { return parts_.emplace_back(std::move(part)); }

  // A tensor of the outputs' extents in f32 that stays inside the kernel.
  [[nodiscard]] Descriptor between(Id id) const {
    const Tensor dense = dense_tensor(DType::f32, p_.out.images, p_.out.channels, p_.out.extent);
    return make_tensor(id, dense);
  }

  [[nodiscard]] Descriptor bias() const {
    const std::int64_t n = p_.out.channels;
    return make_tensor(bias_id, data_type(p_.in.type), {1, n, 1, 1}, {n, 1, n, n}, 16);
  }

  void add_convolution(const Descriptor& in, const Descriptor& filters, const Descriptor& out) {
    const Descriptor& convolution = keep(make_convolution(p_));
    Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, in)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, filters)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, out)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.0F)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.0F);
    add(std::move(operation), "making a convolution");
  }

  void add_pointwise(cudnnPointwiseMode_t mode, const Descriptor& in, const Descriptor* second,
                     const Descriptor& out) {
    const Descriptor& pointwise = keep(make_pointwise(mode));
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, in)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
    if (second != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *second);
    add(std::move(operation), "making a pointwise operation");
  }

  void add(Descriptor operation, std::string_view doing) {
    operation.finalize(doing);
    operations_.push_back(keep(std::move(operation)).raw());
  }

  const Problem& p_;
  std::deque<Descriptor> parts_;  // references to them stay good
  std::vector<cudnnBackendDescriptor_t> operations_;
};

struct Engine {
  std::int64_t number = 0;
  bool acceptable = false;
};

Engine engine_of(const Descriptor& config, const Problem& problem) {
  const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t place = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::span(&place, 1));
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const auto count = static_cast<std::size_t>(
      engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, std::span(notes)));
  const bool strict = problem.in.type == DType::f32 && !problem.tf32;
  const auto refused = [strict](cudnnBackendNumericalNote_t note) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        return strict;
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      case CUDNN_NUMERICAL_NOTE_FFT:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
        return true;
      default:
        return false;
    }
  };
  const auto used = std::span(notes).first(std::min(count, notes.size()));
  return {engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX), std::ranges::none_of(used, refused)};
}

// What heuristics offer, best first. Nothing, and `why`, where they have nothing to say.
std::vector<Descriptor> offers(const Descriptor& graph, cudnnBackendHeurMode_t mode, std::string& why) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
  std::vector<Descriptor> configs;
  const cudnnStatus_t status = heuristics.try_finalize();
  if (status != CUDNN_STATUS_SUCCESS) {
    why = describe(status);
    return configs;
  }
  std::vector<cudnnBackendDescriptor_t> places;
  const std::int64_t count =
      heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::span(places));
  for (std::int64_t i = 0; i < count; ++i) {
    places.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  }
  const std::int64_t given =
      heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::span(places));
  while (static_cast<std::int64_t>(configs.size()) > given) configs.pop_back();
  return configs;
}

}  // namespace

std::int64_t Tensor::alignment() const {
  const std::int64_t strides = std::gcd(image_stride, std::gcd(row_stride, col_stride));
  return std::gcd(strides * size_of(type), std::int64_t{16});
}

bool Tensor::seems_better_aligned() const {
  std::int64_t strides = channels;
  if (images > 1) strides = std::gcd(strides, image_stride);
  if (extent.height > 1) strides = std::gcd(strides, row_stride);
  if (extent.width > 1) strides = std::gcd(strides, col_stride);
  return std::gcd(strides * size_of(type), std::int64_t{16}) > alignment();
}

Tensor tensor_of(const MapGeometry& map, Extent2 extent) {
  return {map.dtype, map.images, map.channels, extent, map.image_stride, map.row_stride, map.col_stride};
}

Tensor dense_tensor(DType type, std::int64_t images, std::int64_t channels, Extent2 extent) {
  return {type, images, channels, extent, extent.area() * channels, extent.width * channels, channels};
}

Plan::Plan(Descriptor plan, Descriptor config, std::int64_t engine)
    : config_(std::move(config)),
      plan_(std::move(plan)),
      workspace_bytes_(static_cast<std::size_t>(plan_.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))),
      engine_(engine) {}

void Plan::run(cudnnHandle_t handle, const Addresses& addresses) const {
  const std::array<std::int64_t, 4> ids{in_id, filter_id, out_id, bias_id};
  const std::array<const void*, 4> places{addresses.in, addresses.filters, addresses.out, addresses.bias};
  const std::size_t count = bias_ ? 4 : 3;
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, all(ids).first(count))
      .set_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
               std::span<const void* const>(places).first(count))
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, addresses.workspace)
      .finalize("naming addresses");
  check(library().execute(handle, plan_.raw(), pack.raw()), "running a convolution");
}

PlanSearch::PlanSearch(cudnnHandle_t handle, const Problem& problem) {
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    try {
      search(handle, problem, mode);
    } catch (const UnsupportedError& error) {
      why = error.what();  // a graph that cuDNN will not have at all
    }
    if (plan != nullptr) return;
  }
}

void PlanSearch::search(cudnnHandle_t handle, const Problem& problem, cudnnBackendHeurMode_t mode) {
  const auto graph = std::make_shared<const std::deque<Descriptor>>(GraphBuilder(problem).take(handle));
  if (why.empty()) why = "its heuristics offer nothing that keeps the precision";
  for (Descriptor& config : offers(graph->back(), mode, why)) {
    const Engine engine = engine_of(config, problem);
    if (!engine.acceptable) continue;
    Descriptor built(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    built.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle)
        .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    const cudnnStatus_t status = built.try_finalize();
    if (status != CUDNN_STATUS_SUCCESS) {
      why = "engine " + std::to_string(engine.number) + ": " + describe(status);
      continue;
    }
    plan.reset(new Plan(std::move(built), std::move(config), engine.number));
    plan->graph_ = graph;
    plan->bias_ = problem.bias;
    return;
  }
}

}  // namespace halotile::cudnn
