// Products of matrices on Hopper: warpgroup instructions fed by the bulk copy engine.
//
//   y(p, o) = relu?(bias(o) + sum over taps t, channels c of x(p, t, c) w(o, t, c)), matrix_layer.hpp
//
// x: a call's input, NHWC with any strides that are multiples of 16 bytes, in global memory; positions
// outside
//    rows x cols read as zero: the copy engine's im2col mode walks over images, rows and columns of windows
//    and decides by coordinates.
// w: as matrix_filters lays it out; a block's columns of a stage lie together and are copied as they are.
// y: NHWC, any strides; or a segment's sums in `partial`.
//
// A block is persistent: it takes every gridDim.x-th item (columns, segment, group and rows of one call; or
// of a table of calls: all tiles of a stage). `Shape::warpgroups` warpgroups multiply 64 rows each; one
// thread of another warp keeps a ring of stages filled, (rows + columns) x 128 bytes each, also across items,
// so that the ring is full when the next item begins. full[s] counts a stage's bytes, free[s] the warpgroups
// that are through with it.
//
// Sums: one chain for each output in the order of stages; within a stage 32 bytes an instruction, as the
// hardware adds them. Neither depends on the block's shape (measured; tests compare all shapes).
//
// Preconditions: those of MatrixCall; compute capability 9.0. Sources: PTX ISA (wgmma, cp.async.bulk.tensor,
// im2col mode); CUDA driver API (cuTensorMapEncodeIm2col).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <utility>

#include "kernels/cuda_error.hpp"
#include "kernels/hopper.cuh"
#include "kernels/matrix_wgmma.hpp"
#include "patching/error.hpp"

namespace halotile::tensor_core {
namespace {

// A call as the kernel sees it.
struct DeviceCall {
  CUtensorMap input[3];  // for chunks of 128 bytes, and rests of 64 and 32; those that the layer has
  const std::byte* filters;
  const float* bias;
  void* output;
  float* partial;
  std::int64_t image_stride;  // of the output, in elements
  std::int64_t row_stride;
  std::int64_t col_stride;
  DType output_type;
  bool vectors;  // the output can be stored by 16 bytes
  int positions;
  int out_rows;
  int out_cols;
  int first_row;
  int first_col;
  int first_item;  // of the launch
};

struct DeviceLayer {
  int groups;
  int in;   // channels of a group
  int out;  // channels of a group
  int kernel_rows;
  int kernel_cols;
  int stride_row;
  int stride_col;
  int dilation_row;
  int dilation_col;
  int chunks;  // whole ones of a tap
  int rest;    // bytes
  int filter_rows;
  int segments;
  int stages;
  int unit;  // channels of 128 bytes
  bool relu;
};

struct Launch {
  DeviceCall call;          // where there is no table
  const DeviceCall* table;  // calls, in order of first_item
  int calls;
  int items;
  int blocks_of_cols;
  DeviceLayer layer;
};

constexpr int row_bytes = 128;
constexpr int shared_limit = 227 * 1024;

template <Element element_, int warpgroups_, int cols_>
struct Shape {
  static constexpr Element element = element_;
  static constexpr int warpgroups = warpgroups_;
  static constexpr int rows = 64 * warpgroups;
  static constexpr int cols = cols_;
  static constexpr int threads = 128 * warpgroups + 32;
  static constexpr int sums = cols / 2;  // of a thread
  // Narrow blocks leave room for a second one on the multiprocessor, which multiplies while this one stores.
  static constexpr int resident = cols <= 128 ? 2 : 1;
  static constexpr int stage_bytes = (rows + cols) * row_bytes;
  static constexpr int ring = std::min(8, (shared_limit / resident - 2048) / stage_bytes);
  static constexpr int shared_bytes = ring * stage_bytes + 1024 + 2 * ring * 8;
};

// What an item of work covers.
struct Item {
  int row;  // first output position
  int col;  // first output channel of the group
  int group;
  int segment;
};

template <typename S>
__device__ __forceinline__ Item item_of(const Launch& launch, int local) {
  Item item;
  const int after_cols = local / launch.blocks_of_cols;
  item.col = (local - after_cols * launch.blocks_of_cols) * S::cols;
  const int after_segments = after_cols / launch.layer.segments;
  item.segment = after_cols - after_segments * launch.layer.segments;
  const int after_groups = after_segments / launch.layer.groups;
  item.group = after_segments - after_groups * launch.layer.groups;
  item.row = after_groups * S::rows;
  return item;
}

__device__ __forceinline__ int segment_begin(const DeviceLayer& layer, int segment) {
  return static_cast<int>(static_cast<std::int64_t>(segment) * layer.stages / layer.segments);
}

// Walks over the calls of a launch with growing items.
struct Calls {
  const Launch& launch;
  int index = 0;
  const DeviceCall* call;

  __device__ explicit Calls(const Launch& l) : launch(l), call(l.table != nullptr ? l.table : &l.call) {}
  // True when the call is another one than before.
  __device__ bool advance(int item) {
    bool moved = false;
    while (index + 1 < launch.calls && item >= launch.table[index + 1].first_item) {
      ++index;
      moved = true;
    }
    if (moved) call = launch.table + index;
    return moved;
  }
};

struct Ring {
  std::uint32_t stages;
  std::uint32_t full;
  std::uint32_t free;
  int slot = 0;
  std::uint32_t parity = 0;

  template <typename S>
  __device__ __forceinline__ void next() {
    if (++slot == S::ring) {
      slot = 0;
      parity ^= 1U;
    }
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t full_at(int s) const { return full + 8U * s; }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t free_at(int s) const { return free + 8U * s; }
};

// One thread: keeps the ring filled.
template <typename S>
__device__ __forceinline__ void copy(const Launch& launch, Ring ring) {
  const DeviceLayer& layer = launch.layer;
  Calls calls(launch);
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  const std::int64_t tap_bytes =
      static_cast<std::int64_t>(layer.filter_rows) * (layer.chunks * row_bytes + layer.rest);
  bool refresh = launch.table != nullptr;
  for (int index = blockIdx.x; index < launch.items; index += gridDim.x) {
    refresh |= calls.advance(index);
    const DeviceCall& call = *calls.call;
    if (refresh) {
      for (const CUtensorMap& map : call.input) hopper::refresh_map(&map);
      refresh = false;
    }
    const Item item = item_of<S>(launch, index - call.first_item);
    hopper::Pixel pixel;
    const int image_positions = call.out_rows * call.out_cols;
    pixel.image = item.row / image_positions;
    const int inside = item.row - pixel.image * image_positions;
    const int out_row = inside / call.out_cols;
    pixel.row = out_row * layer.stride_row + call.first_row;
    pixel.col = (inside - out_row * call.out_cols) * layer.stride_col + call.first_col;
    const std::byte* const filters =
        call.filters + item.group * (layer.kernel_rows * layer.kernel_cols * tap_bytes);

    int stage = segment_begin(layer, item.segment);
    const int end = segment_begin(layer, item.segment + 1);
    int tap = stage / stages_of_tap;
    int chunk = stage - tap * stages_of_tap;
    int tap_row = tap / layer.kernel_cols;
    int tap_col = tap - tap_row * layer.kernel_cols;
    for (; stage < end; ++stage) {
      pixel.tap_row = static_cast<std::uint16_t>(tap_row * layer.dilation_row);
      pixel.tap_col = static_cast<std::uint16_t>(tap_col * layer.dilation_col);
      pixel.channel = item.group * layer.in + chunk * layer.unit;
      const std::uint32_t input = ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes;
      const std::uint32_t weight = input + S::rows * row_bytes;
      const std::byte* from =
          filters + tap * tap_bytes + static_cast<std::int64_t>(chunk) * layer.filter_rows * row_bytes;
      const std::uint32_t full = ring.full_at(ring.slot);
      hopper::wait(ring.free_at(ring.slot), ring.parity ^ 1U);
      if (chunk < layer.chunks) {
        hopper::arrive_expecting(full, S::stage_bytes);
        hopper::copy_pixels(input, &call.input[0], pixel, full);
        hopper::copy_bytes(weight, from + item.col * row_bytes, S::cols * row_bytes, full);
      } else {
        hopper::arrive_expecting(full, (S::rows + S::cols) * layer.rest);
        int done = 0;
        if (layer.rest >= 64) {
          hopper::copy_pixels(input, &call.input[1], pixel, full);
          hopper::copy_bytes(weight, from + item.col * 64, S::cols * 64, full);
          done = 64;
          pixel.channel += layer.unit / 2;
        }
        if (layer.rest % 64 != 0) {
          hopper::copy_pixels(input + S::rows * done, &call.input[2], pixel, full);
          hopper::copy_bytes(weight + S::cols * done, from + layer.filter_rows * done + item.col * 32,
                             S::cols * 32, full);
        }
      }
      ring.next<S>();
      if (++chunk == stages_of_tap) {
        chunk = 0;
        ++tap;
        if (++tap_col == layer.kernel_cols) {
          tap_col = 0;
          ++tap_row;
        }
      }
    }
  }
}

// Transposes 4x4 words over four neighbouring lanes: lane i's word j becomes lane j's word i.
__device__ __forceinline__ void transpose(std::uint32_t (&w)[4], int lane) {
  const auto exchange = [&](std::uint32_t& low, std::uint32_t& high, int distance) {
    const bool upper = (lane & distance) != 0;
    const std::uint32_t got = __shfl_xor_sync(0xffffffffU, upper ? low : high, distance);
    (upper ? low : high) = got;
  };
  exchange(w[0], w[1], 1);
  exchange(w[2], w[3], 1);
  exchange(w[0], w[2], 2);
  exchange(w[1], w[3], 2);
}

template <Element element>
__device__ __forceinline__ std::uint32_t pack_pair(float low, float high) {
  if constexpr (element == Element::f16) {
    const __half2 pair = __floats2half2_rn(low, high);
    return reinterpret_cast<const std::uint32_t&>(pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const std::uint32_t&>(pair);
  }
}

// Stores a thread's sums: two rows, every fourth pair of columns.
template <typename S>
__device__ __forceinline__ void store(const Launch& launch, const DeviceCall& call, const Item& item,
                                      float (&sum)[S::sums]) {
  const DeviceLayer& layer = launch.layer;
  const int lane = threadIdx.x % 32;
  const int pair = 2 * (lane % 4);
  const int channels = layer.groups * layer.out;
  const int first_channel = item.group * layer.out + item.col;
  const int left = layer.out - item.col;  // channels from the block's first on
  const int row0 = item.row + static_cast<int>(threadIdx.x / 32) * 16 + lane / 4;
  if (layer.segments > 1) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + 8 * h;
      if (row >= call.positions) continue;
      float* const to = call.partial +
                        (static_cast<std::int64_t>(item.segment) * call.positions + row) * channels +
                        first_channel;
#pragma unroll
      for (int j = 0; j < S::cols / 8; ++j) {
        const int col = 8 * j + pair;
        if (col + 1 < left && channels % 2 == 0) {
          *reinterpret_cast<float2*>(to + col) = make_float2(sum[4 * j + 2 * h], sum[4 * j + 2 * h + 1]);
        } else {
          if (col < left) to[col] = sum[4 * j + 2 * h];
          if (col + 1 < left) to[col + 1] = sum[4 * j + 2 * h + 1];
        }
      }
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < S::cols / 8; ++j) {
    const int col = 8 * j + pair;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float bias =
          call.bias != nullptr && col + e < left ? __ldg(call.bias + first_channel + col + e) : 0.0F;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& y = sum[4 * j + 2 * h + e];
        y = __fadd_rn(y, bias);
        if (layer.relu && y < 0.0F) y = 0.0F;
      }
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row0 + 8 * h;
    const bool there = row < call.positions;
    const int image_positions = call.out_rows * call.out_cols;
    const int image = row / image_positions;
    const int inside = row - image * image_positions;
    const int out_row = inside / call.out_cols;
    const std::int64_t offset = image * call.image_stride + out_row * call.row_stride +
                                (inside - out_row * call.out_cols) * call.col_stride + first_channel;
    if (call.output_type == DType::f32) {
      float* const to = static_cast<float*>(call.output) + offset;
#pragma unroll
      for (int j = 0; j < S::cols / 8; ++j) {
        const int col = 8 * j + pair;
        if (there && call.vectors && col < left) {
          *reinterpret_cast<float2*>(to + col) = make_float2(sum[4 * j + 2 * h], sum[4 * j + 2 * h + 1]);
        } else if (there) {
          if (col < left) to[col] = sum[4 * j + 2 * h];
          if (col + 1 < left) to[col + 1] = sum[4 * j + 2 * h + 1];
        }
      }
    } else if constexpr (S::element != Element::tf32) {
      auto* const to = static_cast<std::uint16_t*>(call.output) + offset;
#pragma unroll
      for (int j = 0; j < S::cols / 8; j += 4) {
        std::uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          words[i] = pack_pair<S::element>(sum[4 * (j + i) + 2 * h], sum[4 * (j + i) + 2 * h + 1]);
        }
        if (call.vectors) {
          transpose(words, lane);
          const int col = 8 * (j + lane % 4);
          if (there && col < left)
            *reinterpret_cast<uint4*>(to + col) = make_uint4(words[0], words[1], words[2], words[3]);
        } else if (there) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int col = 8 * (j + i) + pair;
            if (col < left) to[col] = static_cast<std::uint16_t>(words[i]);
            if (col + 1 < left) to[col + 1] = static_cast<std::uint16_t>(words[i] >> 16);
          }
        }
      }
    }
  }
}

// Queues products of 32 bytes along rows that begin at descriptors a and b.
template <typename S, int count>
__device__ __forceinline__ void add_products(float (&sum)[S::sums], std::uint64_t a, std::uint64_t b,
                                             int& add) {
  hopper::hold(sum);
  hopper::begin_products();
#pragma unroll
  for (int k = 0; k < count; ++k) {
    hopper::Product<S::element, S::cols>::run(sum, a + 2 * k, b + 2 * k, add);
    add = 1;
  }
  hopper::commit_products();
  hopper::hold(sum);
}

// A warpgroup: 64 rows of every item.
template <typename S>
__device__ __forceinline__ void multiply(const Launch& launch, Ring ring) {
  const DeviceLayer& layer = launch.layer;
  Calls calls(launch);
  const int warpgroup = threadIdx.x / 128;
  const bool speaker = threadIdx.x % 128 == 0;
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  float sum[S::sums];
  for (int index = blockIdx.x; index < launch.items; index += gridDim.x) {
    calls.advance(index);
    const DeviceCall& call = *calls.call;
    const Item item = item_of<S>(launch, index - call.first_item);
    const int begin = segment_begin(layer, item.segment);
    const int end = segment_begin(layer, item.segment + 1);
    int chunk = begin % stages_of_tap;
    int before = -1;  // slot whose products may still run
    int add = 0;
    for (int stage = begin; stage < end; ++stage) {
      const std::uint32_t base = ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes;
      const std::uint32_t weight = base + S::rows * row_bytes;
      hopper::wait(ring.full_at(ring.slot), ring.parity);
      if (chunk < layer.chunks) {
        const std::uint64_t a = hopper::descriptor<128>(base + warpgroup * 64 * 128);
        const std::uint64_t b = hopper::descriptor<128>(weight);
        add_products<S, 4>(sum, a, b, add);
      } else {
        int done = 0;
        if (layer.rest >= 64) {
          add_products<S, 2>(sum, hopper::descriptor<64>(base + warpgroup * 64 * 64),
                             hopper::descriptor<64>(weight), add);
          done = 64;
        }
        if (layer.rest % 64 != 0) {
          add_products<S, 1>(sum, hopper::descriptor<32>(base + S::rows * done + warpgroup * 64 * 32),
                             hopper::descriptor<32>(weight + S::cols * done), add);
        }
      }
      if (before >= 0) {
        hopper::wait_products<1>();
        if (speaker) hopper::arrive(ring.free_at(before));
      }
      before = ring.slot;
      ring.next<S>();
      if (++chunk == stages_of_tap) chunk = 0;
    }
    hopper::wait_products<0>();
    hopper::hold(sum);
    if (speaker) hopper::arrive(ring.free_at(before));
    store<S>(launch, call, item, sum);
  }
}

template <typename S>
__global__ void __launch_bounds__(S::threads, S::resident)
    matrix_wgmma(const __grid_constant__ Launch launch) {
  extern __shared__ char shared[];
  Ring ring;
  ring.stages = (hopper::shared_address(shared) + 1023U) & ~1023U;
  ring.full = ring.stages + S::ring * S::stage_bytes;
  ring.free = ring.full + 8 * S::ring;
  if (threadIdx.x == 0) {
    for (int s = 0; s < S::ring; ++s) {
      hopper::init_barrier(ring.full_at(s), 1);
      hopper::init_barrier(ring.free_at(s), S::warpgroups);
    }
    hopper::publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x >= 128 * S::warpgroups) {
    if (threadIdx.x == 128 * S::warpgroups) copy<S>(launch, ring);
  } else {
    multiply<S>(launch, ring);
  }
}

// ---- host ----

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

// Blocks that the GPU holds at once.
template <typename S>
int resident_blocks() {
  static std::array<std::atomic<int>, 64> known{};
  int device = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  std::atomic<int>& blocks = known[static_cast<std::size_t>(device) % known.size()];
  if (blocks == 0) {
    check_cuda(
        cudaFuncSetAttribute(matrix_wgmma<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::shared_bytes),
        "preparing a tensor-core kernel");
    int multiprocessors = 0;
    int each = 0;
    check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
               "asking for the number of multiprocessors");
    check_cuda(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, matrix_wgmma<S>, S::threads, S::shared_bytes),
        "preparing a tensor-core kernel");
    blocks = std::max(multiprocessors * each, 1);
  }
  return blocks;
}

template <typename S>
void launch_shape(Launch& launch, cudaStream_t stream) {
  const int blocks = std::min(resident_blocks<S>(), launch.items);
  matrix_wgmma<S><<<static_cast<unsigned>(blocks), S::threads, S::shared_bytes, stream>>>(launch);
  check_launch("tensor-core product of matrices (wgmma)");
}

constexpr std::array<BlockShape, 7> shapes{
    {{64, 32}, {64, 64}, {128, 64}, {128, 96}, {128, 128}, {128, 192}, {128, 256}}};

template <Element element>
void launch_element(Launch& launch, BlockShape shape, cudaStream_t stream) {
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
  launch.items = launch_int((call.positions() + shape.rows - 1) / shape.rows * launch.blocks_of_cols *
                            layer.groups * layer.segments);
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
