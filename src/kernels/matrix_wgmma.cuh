// Products of matrices on Hopper: warpgroup instructions fed by the bulk copy engine. Device code.
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
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/hopper.cuh"

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
  int parts;  // items along a sum: the segments, or 1 where a block adds them itself
  int ring;   // stages in shared memory
  DeviceLayer layer;
};

constexpr int row_bytes = 128;
constexpr int shared_limit = 227 * 1024;
constexpr int most_stages = 16;

// totals: blocks add their outputs' segments themselves.
template <Element element_, int warpgroups_, int cols_, bool totals_ = false>
struct Shape {
  static constexpr Element element = element_;
  static constexpr int warpgroups = warpgroups_;
  static constexpr int rows = 64 * warpgroups;
  static constexpr int cols = cols_;
  static constexpr bool totals = totals_;
  static constexpr int threads = 128 * warpgroups + 64;
  static constexpr int sums = cols / 2;  // of a thread
  // Narrow blocks leave room for a second one on the multiprocessor, which multiplies while this one stores.
  static constexpr int resident = cols <= 128 && !totals ? 2 : 1;
  static constexpr int stage_bytes = (rows + cols) * row_bytes;
  static constexpr int ring_beside(int blocks) {
    return std::min(most_stages, (shared_limit / blocks - 2048) / stage_bytes);
  }
  static constexpr int shared_bytes(int ring) { return ring * stage_bytes + 1024 + 2 * ring * 8; }
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
  const int after_segments = after_cols / launch.parts;
  item.segment = after_cols - after_segments * launch.parts;
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
  int size;
  std::uint32_t stages;
  std::uint32_t full;
  std::uint32_t free;
  int slot = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void next() {
    if (++slot == size) {
      slot = 0;
      parity ^= 1U;
    }
  }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t full_at(int s) const { return full + 8U * s; }
  [[nodiscard]] __device__ __forceinline__ std::uint32_t free_at(int s) const { return free + 8U * s; }
};

// Calls visit(call, item, tap row, tap column, chunk) for the stages of the block's items.
template <typename S, typename Visit>
__device__ __forceinline__ void for_each_stage(const Launch& launch, const Visit& visit) {
  const DeviceLayer& layer = launch.layer;
  Calls calls(launch);
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  for (int index = blockIdx.x; index < launch.items; index += gridDim.x) {
    const bool moved = calls.advance(index);
    const DeviceCall& call = *calls.call;
    const Item item = item_of<S>(launch, index - call.first_item);
    int stage = S::totals ? 0 : segment_begin(layer, item.segment);
    const int end = S::totals ? layer.stages : segment_begin(layer, item.segment + 1);
    const int tap = stage / stages_of_tap;
    int chunk = stage - tap * stages_of_tap;
    int tap_row = tap / layer.kernel_cols;
    int tap_col = tap - tap_row * layer.kernel_cols;
    visit.begin(call, item, moved);
    for (; stage < end; ++stage) {
      visit.stage(call, tap_row, tap_col, chunk);
      if (++chunk == stages_of_tap) {
        chunk = 0;
        if (++tap_col == layer.kernel_cols) {
          tap_col = 0;
          ++tap_row;
        }
      }
    }
  }
}

// One thread: keeps the ring filled with input.
template <typename S>
struct InputCopier {
  const DeviceLayer& layer;
  mutable Ring ring;
  mutable bool refresh;
  mutable hopper::Pixel pixel;
  mutable int channel = 0;  // the group's first

  __device__ void begin(const DeviceCall& call, const Item& item, bool moved) const {
    if (refresh || moved) {
      for (const CUtensorMap& map : call.input) hopper::refresh_map(&map);
    }
    refresh = false;
    const int image_positions = call.out_rows * call.out_cols;
    pixel.image = item.row / image_positions;
    const int inside = item.row - pixel.image * image_positions;
    const int out_row = inside / call.out_cols;
    pixel.row = out_row * layer.stride_row + call.first_row;
    pixel.col = (inside - out_row * call.out_cols) * layer.stride_col + call.first_col;
    channel = item.group * layer.in;
  }

  __device__ void stage(const DeviceCall& call, int tap_row, int tap_col, int chunk) const {
    pixel.tap_row = static_cast<std::uint16_t>(tap_row * layer.dilation_row);
    pixel.tap_col = static_cast<std::uint16_t>(tap_col * layer.dilation_col);
    pixel.channel = channel + chunk * layer.unit;
    const std::uint32_t to = ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes;
    const std::uint32_t full = ring.full_at(ring.slot);
    hopper::wait(ring.free_at(ring.slot), ring.parity ^ 1U);
    if (chunk < layer.chunks) {
      hopper::arrive_expecting(full, S::rows * row_bytes);
      hopper::copy_pixels(to, &call.input[0], pixel, full);
    } else {
      hopper::arrive_expecting(full, S::rows * layer.rest);
      if (layer.rest >= 64) {
        hopper::copy_pixels(to, &call.input[1], pixel, full);
        pixel.channel += layer.unit / 2;
      }
      if (layer.rest % 64 != 0) {
        hopper::copy_pixels(to + (layer.rest >= 64 ? S::rows * 64 : 0), &call.input[2], pixel, full);
      }
    }
    ring.next();
  }
};

// Another: with filters.
template <typename S>
struct FilterCopier {
  const DeviceLayer& layer;
  mutable Ring ring;
  mutable const std::byte* filters = nullptr;  // of the group, from the item's first channel on
  mutable int col = 0;

  __device__ void begin(const DeviceCall& call, const Item& item, bool) const {
    filters = call.filters + item.group * (layer.kernel_rows * layer.kernel_cols * tap_bytes());
    col = item.col;
  }

  __device__ void stage(const DeviceCall&, int tap_row, int tap_col, int chunk) const {
    const std::byte* from = filters + (tap_row * layer.kernel_cols + tap_col) * tap_bytes() +
                            static_cast<std::int64_t>(chunk) * layer.filter_rows * row_bytes;
    const std::uint32_t to =
        ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes + S::rows * row_bytes;
    const std::uint32_t full = ring.full_at(ring.slot);
    hopper::wait(ring.free_at(ring.slot), ring.parity ^ 1U);
    if (chunk < layer.chunks) {
      hopper::arrive_expecting(full, S::cols * row_bytes);
      hopper::copy_bytes(to, from + col * row_bytes, S::cols * row_bytes, full);
    } else {
      hopper::arrive_expecting(full, S::cols * layer.rest);
      int done = 0;
      if (layer.rest >= 64) {
        hopper::copy_bytes(to, from + col * 64, S::cols * 64, full);
        done = 64;
      }
      if (layer.rest % 64 != 0) {
        hopper::copy_bytes(to + S::cols * done, from + layer.filter_rows * done + col * 32, S::cols * 32,
                           full);
      }
    }
    ring.next();
  }

 private:
  [[nodiscard]] __device__ __forceinline__ std::int64_t tap_bytes() const {
    return static_cast<std::int64_t>(layer.filter_rows) * (layer.chunks * row_bytes + layer.rest);
  }
};

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
  if (launch.parts > 1) {
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

// The products of stages [stage, end): sum = (add ? sum : 0) + ...
template <typename S>
__device__ __forceinline__ void multiply_stages(const DeviceLayer& layer, Ring& ring, int stage, int end,
                                                float (&sum)[S::sums]) {
  const int warpgroup = threadIdx.x / 128;
  const bool speaker = threadIdx.x % 128 == 0;
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  int chunk = stage % stages_of_tap;
  int before = -1;  // slot whose products may still run
  int add = 0;
  for (; stage < end; ++stage) {
    const std::uint32_t base = ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes;
    const std::uint32_t weight = base + S::rows * row_bytes;
    hopper::wait(ring.full_at(ring.slot), ring.parity);
    if (chunk < layer.chunks) {
      add_products<S, 4>(sum, hopper::descriptor<128>(base + warpgroup * 64 * 128),
                         hopper::descriptor<128>(weight), add);
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
    ring.next();
    if (++chunk == stages_of_tap) chunk = 0;
  }
  hopper::wait_products<0>();
  hopper::hold(sum);
  if (speaker) hopper::arrive(ring.free_at(before));
}

// A warpgroup: 64 rows of every item.
template <typename S>
__device__ __forceinline__ void multiply(const Launch& launch, Ring ring) {
  const DeviceLayer& layer = launch.layer;
  Calls calls(launch);
  float sum[S::sums];
  for (int index = blockIdx.x; index < launch.items; index += gridDim.x) {
    calls.advance(index);
    const DeviceCall& call = *calls.call;
    const Item item = item_of<S>(launch, index - call.first_item);
    if constexpr (S::totals) {
      float total[S::sums];
      for (int segment = 0; segment < layer.segments; ++segment) {
        multiply_stages<S>(layer, ring, segment_begin(layer, segment), segment_begin(layer, segment + 1),
                           sum);
#pragma unroll
        for (int i = 0; i < S::sums; ++i) total[i] = segment == 0 ? sum[i] : __fadd_rn(total[i], sum[i]);
      }
      store<S>(launch, call, item, total);
    } else {
      multiply_stages<S>(layer, ring, segment_begin(layer, item.segment),
                         segment_begin(layer, item.segment + 1), sum);
      store<S>(launch, call, item, sum);
    }
  }
}

template <typename S>
__global__ void __launch_bounds__(S::threads, S::resident)
    matrix_wgmma(const __grid_constant__ Launch launch) {
  extern __shared__ char shared[];
  Ring ring;
  ring.size = launch.ring;
  ring.stages = (hopper::shared_address(shared) + 1023U) & ~1023U;
  ring.full = ring.stages + launch.ring * S::stage_bytes;
  ring.free = ring.full + 8 * launch.ring;
  if (threadIdx.x == 0) {
    for (int s = 0; s < launch.ring; ++s) {
      hopper::init_barrier(ring.full_at(s), 2);
      hopper::init_barrier(ring.free_at(s), S::warpgroups);
    }
    hopper::publish_barriers();
  }
  __syncthreads();
  hopper::let_next_start();
  constexpr int copiers = 128 * S::warpgroups;
  if (threadIdx.x < copiers) {
    multiply<S>(launch, ring);
  } else if (threadIdx.x == copiers) {
    // Filters do not depend on the kernel before: they are on their way while it ends.
    for_each_stage<S>(launch, FilterCopier<S>{launch.layer, ring});
  } else if (threadIdx.x == copiers + 32) {
    hopper::wait_for_previous();
    for_each_stage<S>(launch, InputCopier<S>{launch.layer, ring, launch.table != nullptr, {}});
  }
}

}  // namespace
}  // namespace halotile::tensor_core
