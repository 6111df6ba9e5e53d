// Launches the products of matrices on Hopper (matrix_wgmma.cuh): tensor maps of the input, shapes of blocks.
#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cuda_error.hpp"
#include "kernels/matrix_wgmma.cuh"
#include "kernels/matrix_wgmma.hpp"
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
                                       u(call.images)};
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
  d.relu = layer.relu;
  return d;
}

DeviceCall device_call(const MatrixLayer& layer, const MatrixCall& call, int rows) {
  DeviceCall d{};
  if (layer.whole_chunks() > 0) d.input[0] = input_map(layer, call, 128, rows);
  if (layer.rest_bytes() >= 64) d.input[1] = input_map(layer, call, 64, rows);
  if (layer.rest_bytes() % 64 != 0) d.input[2] = input_map(layer, call, 32, rows);
  d.filters = call.filters;
  d.bias = call.bias;
  d.output = call.output;
  d.partial = call.partial;
  d.image_stride = call.output_image_stride;
  d.row_stride = call.output_row_stride;
  d.col_stride = call.output_col_stride;
  d.output_type = call.output_type;
  const std::int64_t per_vector = 16 / size_of(call.output_type);
  const bool whole = layer.out % 8 == 0 && call.output_image_stride % per_vector == 0 &&
                     call.output_row_stride % per_vector == 0 && call.output_col_stride % per_vector == 0;
  d.vectors = whole && reinterpret_cast<std::uintptr_t>(call.output) % 16 == 0;
  d.positions = launch_int(call.positions());
  d.out_rows = launch_int(call.outputs.height);
  d.out_cols = launch_int(call.outputs.width);
  d.first_row = launch_int(call.first_row);
  d.first_col = launch_int(call.first_col);
  return d;
}

int multiprocessors() {
  static std::array<std::atomic<int>, 64> known{};
  int device = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  std::atomic<int>& count = known[static_cast<std::size_t>(device) % known.size()];
  if (count == 0) {
    int value = 0;
    check_cuda(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device),
               "asking for the number of multiprocessors");
    count = value;
  }
  return count;
}

template <typename S>
void launch_shape(Launch& launch, cudaStream_t stream) {
  // Where every block has a multiprocessor of its own, it may take all of the shared memory.
  const int side_by_side = launch.items <= multiprocessors() ? 1 : S::resident;
  launch.ring = S::ring_beside(side_by_side);
  static std::once_flag prepared;
  std::call_once(prepared, [] {
    check_cuda(cudaFuncSetAttribute(matrix_wgmma<S>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    S::shared_bytes(S::ring_beside(1))),
               "preparing a tensor-core kernel");
  });
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min(multiprocessors() * side_by_side, launch.items)));
  config.blockDim = dim3(S::threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(S::shared_bytes(launch.ring));
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  check_cuda(cudaLaunchKernelEx(&config, matrix_wgmma<S>, launch), "tensor-core product of matrices (wgmma)");
}

constexpr std::array<BlockShape, 7> shapes{
    {{64, 32}, {64, 64}, {128, 64}, {128, 96}, {128, 128}, {128, 192}, {128, 256}}};

template <Element element>
void launch_element(Launch& launch, BlockShape shape, cudaStream_t stream) {
  if (launch.parts < launch.layer.segments) return launch_shape<Shape<element, 2, 128, true>>(launch, stream);
  if (shape.rows == 64) {
    if (shape.cols == 32) return launch_shape<Shape<element, 1, 32>>(launch, stream);
    return launch_shape<Shape<element, 1, 64>>(launch, stream);
  }
  switch (shape.cols) {
    case 64:
      return launch_shape<Shape<element, 2, 64>>(launch, stream);
    case 96:
      return launch_shape<Shape<element, 2, 96>>(launch, stream);
    case 128:
      return launch_shape<Shape<element, 2, 128>>(launch, stream);
    case 192:
      return launch_shape<Shape<element, 2, 192>>(launch, stream);
    default:
      return launch_shape<Shape<element, 2, 256>>(launch, stream);
  }
}

}  // namespace

std::span<const BlockShape> wgmma_shapes() { return shapes; }

BlockShape totals_shape() { return {128, 128}; }

bool has_wgmma(int device) {
  int major = 0;
  int minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
             "asking for the capability");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
             "asking for the capability");
  return major == 9 && minor == 0;
}

void multiply_wgmma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream) {
  if (call.positions() == 0) return;
  Launch launch{};
  launch.layer = device_layer(layer);
  launch.call = device_call(layer, call, shape.rows);
  launch.calls = 1;
  launch.blocks_of_cols = launch_int((layer.out + shape.cols - 1) / shape.cols);
  if (layer.segments > 1 && call.partial == nullptr && shape != totals_shape())
    throw std::logic_error("multiply_wgmma: segments without room for their sums");
  launch.parts = call.partial == nullptr ? 1 : launch.layer.segments;
  launch.items = launch_int((call.positions() + shape.rows - 1) / shape.rows * launch.blocks_of_cols *
                            layer.groups * launch.parts);
  switch (layer.element) {
    case Element::bf16:
      return launch_element<Element::bf16>(launch, shape, stream);
    case Element::f16:
      return launch_element<Element::f16>(launch, shape, stream);
    case Element::tf32:
      return launch_element<Element::tf32>(launch, shape, stream);
  }
}

}  // namespace halotile::tensor_core
