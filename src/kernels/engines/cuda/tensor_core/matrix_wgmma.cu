// Launches the products of matrices on Hopper (matrix_wgmma.cuh): tensor maps of the input, shapes of blocks.
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma.hpp"
#include "kernels/engines/rounding.hpp"
#include "patching/error.hpp"

namespace halotile::tensor_core {
namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const int*, const int*, cuuint32_t, cuuint32_t,
                            const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                            CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

Encode encode_function() {
  static const Encode function = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check_cuda(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeIm2col", &entry, 12000, cudaEnableDefault, &found),
        "looking up the driver's cuTensorMapEncodeIm2col");
    if (found != cudaDriverEntryPointSuccess || entry == nullptr)
      throw UnsupportedError(
          "the CUDA driver has no tensor maps; install a newer driver, or use engine: direct");
    return reinterpret_cast<Encode>(entry);
  }();
  return function;
}

// The input for boxes of `bytes` of a position's channels and `pixels` positions.
CUtensorMap input_map(const MatrixLayer& layer, const MatrixCall& call, int bytes, int pixels) {
  const auto size = static_cast<std::uint64_t>(size_of(layer.element));
  const auto u = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  const std::array<cuuint64_t, 4> dims{u(layer.groups * layer.in), u(call.cols), u(call.rows),
                                       u(call.images * (layer.split() ? 2 : 1))};
  const std::array<cuuint64_t, 3> strides{u(call.col_stride) * size, u(call.row_stride) * size,
                                          std::max(u(call.image_stride) * size, cuuint64_t{16})};
  // From the first output's window to the last one's, as distances from the first and last position.
  const std::array<int, 2> lower{static_cast<int>(call.first_col), static_cast<int>(call.first_row)};
  const auto upper_corner = [](std::int64_t first, std::int64_t outputs, std::int64_t stride,
                               std::int64_t extent) {
    return static_cast<int>(first + (outputs - 1) * stride - (extent - 1));
  };
  const std::array<int, 2> upper{
      upper_corner(call.first_col, call.outputs.width, layer.stride.width, call.cols),
      upper_corner(call.first_row, call.outputs.height, layer.stride.height, call.rows)};
  const std::array<cuuint32_t, 4> steps{1, static_cast<cuuint32_t>(layer.stride.width),
                                        static_cast<cuuint32_t>(layer.stride.height), 1};
  const CUtensorMapDataType type = layer.element == Element::bf16  ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : layer.element == Element::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                                   : CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;
  const CUtensorMapSwizzle swizzle = bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                   : CU_TENSOR_MAP_SWIZZLE_32B;
  CUtensorMap map;
  const CUresult result =
      encode_function()(&map, type, 4, const_cast<void*>(call.input), dims.data(), strides.data(),
                        lower.data(), upper.data(), static_cast<cuuint32_t>(bytes / static_cast<int>(size)),
                        static_cast<cuuint32_t>(pixels), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw ShapeError("tensor_core: the copy engine refuses a map of " + std::to_string(call.rows) + "x" +
                     std::to_string(call.cols) + " positions, " + std::to_string(layer.groups * layer.in) +
                     " channels (driver error " + std::to_string(static_cast<int>(result)) +
                     "); use engine: direct for this network");
  }
  return map;
}

int launch_int(std::int64_t value) {
  if (!std::in_range<int>(value))
    throw ShapeError(
        "tensor_core: a map is too large for one launch; use smaller patches or a smaller sub_batch");
  return static_cast<int>(value);
}

DeviceLayer device_layer(const MatrixLayer& layer) {
  DeviceLayer d{};
  d.groups = launch_int(layer.groups);
  d.in = launch_int(layer.in);
  d.out = launch_int(layer.out);
  d.kernel_rows = launch_int(layer.kernel.height);
  d.kernel_cols = launch_int(layer.kernel.width);
  d.stride_row = launch_int(layer.stride.height);
  d.stride_col = launch_int(layer.stride.width);
  d.dilation_row = launch_int(layer.dilation.height);
  d.dilation_col = launch_int(layer.dilation.width);
  d.chunks = launch_int(layer.whole_chunks());
  d.rest = launch_int(layer.rest_bytes());
  d.filter_rows = launch_int(layer.filter_rows());
  d.segments = launch_int(layer.segments);
  d.stages = launch_int(layer.stages());
  d.unit = launch_int(row_bytes / size_of(layer.element));
  d.low_filters = layer.filter_bytes();
  d.relu = layer.relu;
  return d;
}

// Rows of the product for each image: positions of the output; of input in planes, the packed positions of as
// many rows, from which windows are read.
Extent2 product_rows(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape) {
  if (shape.input == PackedLayout::positions) return call.outputs;
  return {call.outputs.height, layer.packed_extent(call.outputs).width};
}

DeviceCall device_call(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape) {
  DeviceCall d{};
  const Extent2 rows = product_rows(layer, call, shape);
  if (shape.input == PackedLayout::planes) {
    d.planes = static_cast<const std::byte*>(call.input);
    d.plane_bytes = layer.packed_extent(call.outputs).area() * 16;
  } else {
    // The rows of a block behind the last position keep what was there; nobody stores what comes of them.
    d.pixels = static_cast<int>(std::min<std::int64_t>(rows_of_item(shape), round_up(call.positions(), 8)));
    if (layer.whole_chunks() > 0) d.input[0] = input_map(layer, call, 128, d.pixels);
    if (layer.rest_bytes() >= 64) d.input[1] = input_map(layer, call, 64, d.pixels);
    if (layer.rest_bytes() % 64 != 0) d.input[2] = input_map(layer, call, 32, d.pixels);
  }
  d.filters = call.filters;
  d.unpacked = call.unpacked;
  d.images = launch_int(call.images);
  d.first_row = launch_int(call.first_row);
  d.first_col = launch_int(call.first_col);
  Outputs& out = d.outputs;
  out.bias = call.bias;
  out.map = call.output;
  out.partial = call.partial;
  out.image_stride = call.output_image_stride;
  out.row_stride = call.output_row_stride;
  out.col_stride = call.output_col_stride;
  out.type = call.output_type;
  const std::int64_t per_vector = 16 / size_of(call.output_type);
  const bool whole = layer.out % 8 == 0 && call.output_image_stride % per_vector == 0 &&
                     call.output_row_stride % per_vector == 0 && call.output_col_stride % per_vector == 0;
  out.vectors = whole && reinterpret_cast<std::uintptr_t>(call.output) % 16 == 0;
  out.positions = launch_int(call.images * rows.area());
  out.image_positions = cuda::Divider(launch_int(rows.area()));
  out.cols = cuda::Divider(launch_int(rows.width));
  out.out_cols = launch_int(call.outputs.width);
  return d;
}

int multiprocessors() { return current_device_attribute<cudaDevAttrMultiProcessorCount>(); }

// As launch_early, for kernels that take a Launch.
void launch_grid(void (*kernel)(Launch), const Launch& launch, dim3 grid, int threads,
                 std::int64_t shared_bytes, cudaStream_t stream) {
  launch_early(kernel, grid, static_cast<unsigned>(threads), static_cast<std::size_t>(shared_bytes), stream,
               "tensor-core product of matrices (wgmma)", launch);
}

// Lets a kernel have all of the shared memory: once for every device.
template <auto kernel>
void allow_shared_memory() {
  static PerDevice<bool> allowed;
  if (allowed.here()) return;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_limit),
             "preparing a tensor-core kernel");
  allowed.here() = true;
}

// Blocks that keep their filters.
template <typename S, auto kernel>
void launch_keeping(Launch& launch, cudaStream_t stream) {
  allow_shared_memory<kernel>();
  const int columns = launch.blocks_of_cols * launch.layer.groups;
  const int most = std::max(multiprocessors() / columns, 1);
  const int wanted = (launch.items + S::rings - 1) / S::rings;
  const dim3 grid(static_cast<unsigned>(std::min(most, wanted)), static_cast<unsigned>(columns));
  launch.ring = S::ring_beside(launch.filter_bytes);
  launch_grid(kernel, launch, grid, S::threads, S::shared_bytes(launch.filter_bytes, launch.ring), stream);
}
template <typename S>
void launch_keeping(Launch& launch, cudaStream_t stream) {
  if constexpr (S::planes) {
    launch_keeping<S, matrix_wgmma_planes<S>>(launch, stream);
  } else if (launch.spread.account != nullptr) {
    launch_keeping<S, matrix_wgmma_keeping<S, true>>(launch, stream);
  } else {
    launch_keeping<S, matrix_wgmma_keeping<S, false>>(launch, stream);
  }
}

template <typename S, bool apart>
void launch_blocks(Launch& launch, cudaStream_t stream) {
  // Where every block has a multiprocessor of its own, it may take all of the shared memory.
  const int side_by_side = launch.items <= multiprocessors() ? 1 : S::resident;
  const int most = multiprocessors() * side_by_side;
  launch.ring = S::ring_beside(side_by_side);
  allow_shared_memory<matrix_wgmma<S, apart>>();
  launch_grid(matrix_wgmma<S, apart>, launch, dim3(static_cast<unsigned>(std::min(most, launch.items))),
              S::threads, S::shared_bytes(launch.ring), stream);
}
template <typename S>
void launch_shape(Launch& launch, cudaStream_t stream) {
  if constexpr (!S::totals) {  // these are of fully connected layers, whose infinities and NaN stay
    if (launch.spread.account != nullptr) return launch_blocks<S, true>(launch, stream);
  }
  launch_blocks<S, false>(launch, stream);
}

// A call of few positions has a kernel that fetches filters faster.
template <Element element>
void launch_rows_of_64(Launch& launch, cudaStream_t stream) {
  using FewRows = FewRowsShape<element>;
  if (launch.table == nullptr && launch.call.outputs.positions <= FewRows::held)
    return launch_shape<FewRows>(launch, stream);
  launch_shape<Shape<element, 1, 64>>(launch, stream);
}

using LaunchOf = void (*)(Launch&, cudaStream_t);

// A shape, and how the kernels of bf16, f16 and tf32 are launched in it; null: there is none.
struct ShapeRow {
  ShapeCost cost;
  std::array<LaunchOf, 3> launch;
};
template <int warpgroups, int cols>
constexpr std::array<LaunchOf, 3> shared_launches{launch_shape<Shape<Element::bf16, warpgroups, cols>>,
                                                  launch_shape<Shape<Element::f16, warpgroups, cols>>,
                                                  launch_shape<Shape<Element::tf32, warpgroups, cols>>};
template <int cols>
constexpr std::array<LaunchOf, 3> planes_launches{launch_keeping<PlanesShape<Element::bf16, cols>>,
                                                  launch_keeping<PlanesShape<Element::f16, cols>>, nullptr};
constexpr std::array<LaunchOf, 3> launches_of_64{
    launch_rows_of_64<Element::bf16>, launch_rows_of_64<Element::f16>, launch_rows_of_64<Element::tf32>};
// Those that keep the filters: four warpgroups of 64 rows.
constexpr BlockShape keeping_shape{256, 64};
constexpr std::array<LaunchOf, 3> keeping_launches{launch_keeping<KeepingShape<Element::bf16, 64>>,
                                                   launch_keeping<KeepingShape<Element::f16, 64>>,
                                                   launch_keeping<KeepingShape<Element::tf32, 64>>};
// Those that add the segments of a layer themselves.
constexpr std::array<LaunchOf, 3> totals_launches{launch_shape<Shape<Element::bf16, 2, 128, true>>,
                                                  launch_shape<Shape<Element::f16, 2, 128, true>>,
                                                  launch_shape<Shape<Element::tf32, 2, 128, true>>};

constexpr std::array<ShapeRow, 12> shape_rows{
    {{{{64, 32}, 2, 158, 122, 300}, shared_launches<1, 32>},
     {{{64, 64}, 2, 228, 133, 300}, launches_of_64},
     {{{128, 64}, 2, 335, 172, 500}, shared_launches<2, 64>},
     {{{128, 96}, 2, 390, 217, 2000}, shared_launches<2, 96>},
     {{{128, 128}, 2, 430, 290, 1000}, shared_launches<2, 128>},
     {{{128, 192}, 1, 470, 440, 4000}, shared_launches<2, 192>},
     {{{128, 256}, 1, 610, 580, 4800}, shared_launches<2, 256>},
     {{{192, 192}, 1, 690, 650, 5300}, shared_launches<3, 192>},
     {{{256, 128}, 1, 626, 590, 5400}, shared_launches<4, 128>},
     {{keeping_shape, 4, 228, 600, 0}, keeping_launches},
     {{{256, 64, PackedLayout::planes}, 1, 300, 300, 1000}, planes_launches<64>},
     {{{256, 96, PackedLayout::planes}, 1, 460, 460, 1000}, planes_launches<96>}}};

// Of split layers.
struct SplitRow {
  ShapeCost cost;
  LaunchOf launch;
};
constexpr std::array<SplitRow, 4> split_rows{
    {{{{64, 64}, 2, 455, 600, 0}, launch_shape<SplitShape<1, 64>>},
     {{{128, 64}, 1, 660, 660, 0}, launch_shape<SplitShape<2, 64>>},
     {{{128, 96}, 1, 810, 810, 0}, launch_shape<SplitShape<2, 96>>},
     {{{128, 128}, 1, 956, 956, 0}, launch_shape<SplitShape<2, 128>>}}};

template <typename Row, std::size_t count>
constexpr std::array<ShapeCost, count> costs_of(const std::array<Row, count>& rows) {
  std::array<ShapeCost, count> costs{};
  for (std::size_t n = 0; n < count; ++n) costs[n] = rows[n].cost;
  return costs;
}
constexpr std::array<ShapeCost, shape_rows.size()> shape_costs = costs_of(shape_rows);
constexpr std::array<ShapeCost, split_rows.size()> split_costs = costs_of(split_rows);

constexpr std::array<BlockShape, shape_rows.size()> shapes = [] {
  std::array<BlockShape, shape_rows.size()> all{};
  for (std::size_t n = 0; n < all.size(); ++n) all[n] = shape_rows[n].cost.shape;
  return all;
}();

[[noreturn]] void throw_no_shape(BlockShape shape) {
  throw ShapeError("multiply_wgmma has no blocks of " + std::to_string(shape.rows) + "x" +
                   std::to_string(shape.cols) + " for the layer's element");
}

template <std::size_t count>
std::size_t row_of(const std::array<ShapeCost, count>& costs, BlockShape shape) {
  for (std::size_t n = 0; n < count; ++n) {
    if (costs[n].shape == shape) return n;
  }
  throw_no_shape(shape);
}

bool keeps_filters(BlockShape shape) { return shape == keeping_shape || shape.input == PackedLayout::planes; }

std::int64_t kept_bytes(const MatrixLayer& layer, BlockShape shape) {
  return layer.kernel.area() * layer.in_bytes() * shape.cols;
}

}  // namespace

std::span<const BlockShape> wgmma_shapes() { return shapes; }

std::span<const ShapeCost> wgmma_costs(const MatrixLayer& layer) {
  if (layer.split()) return split_costs;
  return shape_costs;
}

BlockShape totals_shape() { return {128, 128}; }

int rows_of_item(BlockShape shape) { return shape == keeping_shape ? 64 : shape.rows; }

bool wgmma_fits(const MatrixLayer& layer, BlockShape shape) {
  if (layer.split()) {
    return std::ranges::any_of(split_costs, [&](const ShapeCost& cost) { return cost.shape == shape; });
  }
  if (!keeps_filters(shape)) return true;
  if (layer.segments > 1) return false;
  constexpr int least_ring = 2;
  const std::int64_t filters = kept_bytes(layer, shape);
  if (shape == keeping_shape) return KeepingShape<Element::bf16, 64>::ring_beside(filters) >= least_ring;
  using Planes = PlanesShape<Element::bf16, 64>;
  return size_of(layer.element) == 2 && layer.tap_positions() == Planes::tap_positions &&
         layer.position_channels == Planes::position_channels && Planes::ring_beside(filters) >= least_ring;
}

bool has_wgmma(int device) {
  int major = 0;
  int minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
             "asking for the capability");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
             "asking for the capability");
  return major == 9 && minor == 0;
}

namespace {

void launch_any(const MatrixLayer& layer, Launch& launch, BlockShape shape, cudaStream_t stream) {
  if (layer.split()) return split_rows[row_of(split_costs, shape)].launch(launch, stream);
  const std::array<LaunchOf, 3>& launches =
      launch.parts < launch.layer.segments ? totals_launches : shape_rows[row_of(shape_costs, shape)].launch;
  const LaunchOf run = launches[static_cast<std::size_t>(layer.element)];  // in the order of Element
  if (run == nullptr) throw_no_shape(shape);
  run(launch, stream);
}

// All but the calls, one of which is `call`, and the number of items.
Launch make_launch(const MatrixLayer& layer, const MatrixCall& call, bool totals, BlockShape shape) {
  Launch launch{};
  launch.layer = device_layer(layer);
  if (totals || layer.segments == 1) launch.spread = spread_layer(layer, call);  // else it is add_segments'
  launch.calls = 1;
  launch.blocks_of_cols = launch_int((layer.out + shape.cols - 1) / shape.cols);
  launch.parts = totals ? 1 : launch.layer.segments;
  if (keeps_filters(shape)) {
    if (!wgmma_fits(layer, shape)) throw std::logic_error("multiply_wgmma: the filters do not fit");
    launch.filter_bytes = launch_int(kept_bytes(layer, shape));
  }
  return launch;
}

// Items of a call.
std::int64_t items_of(const DeviceCall& call, const Launch& launch, BlockShape shape) {
  const std::int64_t rows = (call.outputs.positions + rows_of_item(shape) - 1) / rows_of_item(shape);
  if (keeps_filters(shape)) return rows;  // columns' blocks are the grid's
  return rows * launch.blocks_of_cols * launch.layer.groups * launch.parts;
}

}  // namespace

void multiply_wgmma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream) {
  if (call.positions() == 0) return;
  if (layer.segments > 1 && call.partial == nullptr && (shape != totals_shape() || layer.split()))
    throw std::logic_error("multiply_wgmma: segments without room for their sums");
  Launch launch = make_launch(layer, call, call.partial == nullptr, shape);
  launch.call = device_call(layer, call, shape);
  launch.items = launch_int(items_of(launch.call, launch, shape));
  launch_any(layer, launch, shape, stream);
}

struct WgmmaBatch::State {
  MatrixLayer layer;
  BlockShape shape;
  Launch launch;
  Buffer table;
};

WgmmaBatch::WgmmaBatch(CudaDevice& device, const MatrixLayer& layer, std::span<const MatrixCall> calls,
                       BlockShape shape)
    : state_(std::make_unique<State>()) {
  state_->layer = layer;
  state_->shape = shape;
  Launch& launch = state_->launch =
      make_launch(layer, calls.empty() ? MatrixCall() : calls.front(), true, shape);
  std::vector<DeviceCall> table;
  std::int64_t items = 0;
  for (const MatrixCall& call : calls) {
    table.push_back(device_call(layer, call, shape));
    table.back().first_item = launch_int(items);
    items += items_of(table.back(), launch, shape);
  }
  state_->table = device.copy_of(table.data(), table.size() * sizeof(DeviceCall));
  launch.table = reinterpret_cast<const DeviceCall*>(state_->table.data());
  launch.calls = launch_int(static_cast<std::int64_t>(table.size()));
  launch.items = launch_int(items);
}

WgmmaBatch::~WgmmaBatch() = default;

void WgmmaBatch::run(cudaStream_t stream) const {
  if (state_->launch.items > 0) launch_any(state_->layer, state_->launch, state_->shape, stream);
}

}  // namespace halotile::tensor_core
