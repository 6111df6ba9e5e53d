// Products of matrices on Hopper: warpgroup instructions fed by the bulk copy engine. Device code.
//
//   y(p, o) = relu?(bias(o) + sum over taps t, channels c of x(p, t, c) w(o, t, c)), matrix_layer.hpp
//
// x: a call's input, NHWC with any strides that are multiples of 16 bytes, in global memory; positions
// outside
//    rows x cols read as zero: the copy engine's im2col mode walks over images, rows and columns of windows
//    and decides by coordinates. Or packed, in planes (multiply_planes).
// w: as matrix_filters lays it out; a block's columns of a stage lie together and are copied as they are.
// y: NHWC, any strides; or a segment's sums in `partial`.
//
// A block is persistent: it takes every gridDim.x-th item (columns, segment, group and rows of one call; or
// of a table of calls: all tiles of a stage). `Shape::warpgroups` warpgroups multiply 64 rows each; one
// thread each of two other warps keep a ring of stages filled with input and with filters, (held rows +
// columns) x 128 bytes each, also across items, so that the ring is full when the next item begins. full[s]
// counts a stage's bytes, free[s] the warpgroups that are through with it.
//
// Sums: one chain for each output in the order of stages; within a stage 32 bytes an instruction, as the
// hardware adds them. Neither depends on the block's shape (measured; tests compare all shapes).
//
// Preconditions: those of MatrixCall; compute capability 9.0. Sources: PTX ISA (wgmma, cp.async.bulk.tensor,
// im2col mode); CUDA driver API (cuTensorMapEncodeIm2col).
#pragma once

#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/hopper.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma_feed.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma_shapes.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma_store.cuh"

namespace halotile::tensor_core {
namespace {

// Queues products of 32 bytes along rows that begin at descriptors a and b.
template <typename S, int count>
__device__ __forceinline__ void queue_products(float (&sum)[S::sums], std::uint64_t a, std::uint64_t b,
                                               int& add) {
#pragma unroll
  for (int k = 0; k < count; ++k) {
    hopper::Product<S::element, S::cols>::run(sum, a + 2 * k, b + 2 * k, add);
    add = 1;
  }
}

// The same as a group of its own.
template <typename S, int count>
__device__ __forceinline__ void add_products(float (&sum)[S::sums], std::uint64_t a, std::uint64_t b,
                                             int& add) {
  hopper::hold(sum);
  hopper::begin_products();
  queue_products<S, count>(sum, a, b, add);
  hopper::commit_products();
  hopper::hold(sum);
}

// A warpgroup's way through the ring. Without branches: the compiler lets products run on across none.
class RingReader {
 public:
  __device__ __forceinline__ explicit RingReader(Ring& ring)
      : ring_(ring), speaker_(threadIdx.x % 128 == 0) {}

  // Waits for the next stage; gives its place.
  __device__ __forceinline__ std::uint32_t take(int stage_bytes) {
    const int slot = ring_.slot;
    hopper::wait(ring_.full_at(slot), ring_.parity);
    taken_[1] = taken_[0];
    taken_[0] = ring_.free_at(slot);
    ring_.next();
    return ring_.stages + static_cast<std::uint32_t>(slot * stage_bytes);
  }
  // The products of the one or two stages taken since are queued, in `groups` groups or more: gives back the
  // stages before them.
  template <int count, int groups = 1>
  __device__ __forceinline__ void queued() {
    hopper::wait_products<groups>();
    free_stages();
    running_[0] = taken_[0];
    running_[1] = count == 2 ? taken_[1] : 0;
  }
  __device__ __forceinline__ void finish() {
    hopper::wait_products<0>();
    free_stages();
  }

 private:
  __device__ __forceinline__ void free_stages() {
    hopper::arrive_if(speaker_ && running_[1] != 0, running_[1]);
    hopper::arrive_if(speaker_ && running_[0] != 0, running_[0]);
  }

  Ring& ring_;
  bool speaker_;
  // Barriers of slots, the latest first; 0: none.
  std::uint32_t taken_[2] = {};
  std::uint32_t running_[2] = {};  // products may still read them
};

// `kept`: where a block's filters lie that keeps them.
// The products of stages [stage, end): sum = sum of them.
template <typename S>
__device__ __forceinline__ void multiply_stages(const DeviceLayer& layer, Ring& ring, std::uint32_t kept,
                                                int stage, int end, float (&sum)[S::sums]) {
  constexpr std::uint32_t to_filters = S::held * row_bytes;  // in a stage
  const int warpgroup = S::keeps_filters ? 0 : hopper::warp_of_block() / 4;
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  int chunk = stage % stages_of_tap;
  int left = end - stage;
  int add = 0;
  RingReader reader(ring);
  const auto whole_chunks = [&]<int count>(std::integral_constant<int, count>) {
    std::uint32_t base[count];
#pragma unroll
    for (int n = 0; n < count; ++n) base[n] = reader.take(S::stage_bytes);
    hopper::hold(sum);
    hopper::begin_products();
#pragma unroll
    for (int n = 0; n < count; ++n) {
      queue_products<S, 4>(sum, hopper::descriptor<128>(base[n] + warpgroup * 64 * 128),
                           hopper::descriptor<128>(S::keeps_filters ? kept : base[n] + to_filters), add);
      if constexpr (S::keeps_filters) kept += S::cols * row_bytes;
    }
    hopper::commit_products();
    hopper::hold(sum);
    reader.template queued<count>();
  };
  const auto rest_products = [&](std::uint32_t base) {
    const std::uint32_t filters = S::keeps_filters ? kept : base + to_filters;
    int done = 0;
    if (layer.rest >= 64) {
      add_products<S, 2>(sum, hopper::descriptor<64>(base + warpgroup * 64 * 64),
                         hopper::descriptor<64>(filters), add);
      done = 64;
    }
    if (layer.rest % 64 != 0) {
      add_products<S, 1>(sum, hopper::descriptor<32>(base + S::held * done + warpgroup * 64 * 32),
                         hopper::descriptor<32>(filters + S::cols * done), add);
    }
    if constexpr (S::keeps_filters) kept += S::cols * layer.rest;
  };
  while (left > 0) {
    // Without rests a tap's end is none here.
    int whole = layer.rest == 0 ? left : min(layer.chunks - chunk, left);
    left -= whole;
    chunk = 0;
    if constexpr (S::together > 1) {
      for (; ring.size >= 8 && whole >= S::together; whole -= S::together)
        whole_chunks(std::integral_constant<int, S::together>());
      if (ring.size >= 8 && whole == 1 && left > 0) {  // with the tap's rest
        const std::uint32_t base = reader.take(S::stage_bytes);
        const std::uint32_t rest = reader.take(S::stage_bytes);
        add_products<S, 4>(sum, hopper::descriptor<128>(base + warpgroup * 64 * 128),
                           hopper::descriptor<128>(base + to_filters), add);
        rest_products(rest);
        reader.template queued<2, 2>();
        --left;
        continue;
      }
    }
    for (; whole > 0; --whole) whole_chunks(std::integral_constant<int, 1>());
    if (left == 0) break;
    rest_products(reader.take(S::stage_bytes));
    reader.template queued<1>();
    --left;
  }
  reader.finish();
  hopper::hold(sum);
}

// The three products of `bytes` of a stage, whose high values begin at a and b, low ones behind them.
template <typename S, int bytes>
__device__ __forceinline__ void add_split_products(float (&sum)[S::sums], std::uint32_t a, std::uint32_t b,
                                                   int& add) {
  const std::uint64_t a_high = hopper::descriptor<bytes>(a);
  const std::uint64_t a_low = hopper::descriptor<bytes>(a + S::held * row_bytes);
  const std::uint64_t b_high = hopper::descriptor<bytes>(b);
  const std::uint64_t b_low = hopper::descriptor<bytes>(b + S::cols * row_bytes);
  add_products<S, bytes / 32>(sum, a_low, b_high, add);
  add_products<S, bytes / 32>(sum, a_high, b_low, add);
  add_products<S, bytes / 32>(sum, a_high, b_high, add);
}

// As multiply_stages, of split layers: the sum of a stage's three products is added to the total as plain
// f32.
template <typename S>
__device__ __forceinline__ void multiply_split_stages(const DeviceLayer& layer, Ring& ring, int stage,
                                                      int end, float (&total)[S::sums]) {
  const int warpgroup = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x / 128), 0);
  const bool speaker = threadIdx.x % 128 == 0;
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  int chunk = stage % stages_of_tap;
#pragma unroll
  for (float& t : total) t = 0.0F;
  for (; stage < end; ++stage) {
    const std::uint32_t base = ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes;
    const std::uint32_t weight = base + 2 * S::held * row_bytes;
    float sum[S::sums];
    int add = 0;
    hopper::wait(ring.full_at(ring.slot), ring.parity);
    if (chunk < layer.chunks) {
      add_split_products<S, 128>(sum, base + warpgroup * 64 * 128, weight, add);
    } else {
      int done = 0;
      if (layer.rest >= 64) {
        add_split_products<S, 64>(sum, base + warpgroup * 64 * 64, weight, add);
        done = 64;
      }
      if (layer.rest % 64 != 0)
        add_split_products<S, 32>(sum, base + S::held * done + warpgroup * 64 * 32, weight + S::cols * done,
                                  add);
    }
    hopper::wait_products<0>();
    hopper::hold(sum);
    if (speaker) hopper::arrive(ring.free_at(ring.slot));
    ring.next();
#pragma unroll
    for (int i = 0; i < S::sums; ++i) total[i] = __fadd_rn(total[i], sum[i]);
    if (++chunk == stages_of_tap) chunk = 0;
  }
}

// As multiply_stages, of input in planes; a stage is a row of the kernel.
template <typename S>
__device__ __forceinline__ void multiply_planes(const DeviceLayer& layer, Ring& ring, std::uint32_t kept,
                                                float (&sum)[S::sums]) {
  constexpr int pieces = S::position_bytes / 32;  // of a position
  constexpr int whole = S::tap_bytes / 128 * 4;   // pieces in chunks of 128 bytes
  constexpr int rest = S::tap_bytes % 128;
  static_assert(rest == 32);
  const std::uint32_t first_row = hopper::warp_of_block() / 4 * 64 * 16;
  RingReader reader(ring);
  for (int tap = 0; tap < layer.kernel_rows; ++tap, kept += S::cols * S::tap_bytes) {
    const std::uint64_t a =
        hopper::descriptor_of_planes(reader.take(S::stage_bytes) + first_row, S::plane_bytes);
    const std::uint64_t chunks = hopper::descriptor<128>(kept);
    const std::uint64_t behind = hopper::descriptor<rest>(kept + whole / 4 * S::cols * row_bytes);
    int add = tap > 0 ? 1 : 0;
    hopper::hold(sum);
    hopper::begin_products();
#pragma unroll
    for (int n = 0; n < pieces * S::tap_positions; ++n) {
      hopper::Product<S::element, S::cols>::run(
          sum, a + n / pieces + n % pieces * (2 * S::plane_bytes / 16),
          n < whole ? chunks + n / 4 * (S::cols * row_bytes / 16) + n % 4 * 2 : behind + (n - whole) * 2,
          add);
      add = 1;
    }
    hopper::commit_products();
    hopper::hold(sum);
    reader.template queued<1>();
  }
  reader.finish();
  hopper::hold(sum);
}

// What a warpgroup has stored, once more.
template <typename S>
__device__ __forceinline__ void spread_items(const Launch& launch, Items items) {
  __syncwarp();
  Calls calls(launch);
  for (int index = items.first; index < launch.items; index += items.step) {
    calls.advance(index);
    spread<S>(launch, *calls.call, item_of<S>(launch, index - calls.call->first_item));
  }
}

// A warpgroup: 64 rows of every item. `apart`: infinities and NaN of the input may be; kernels for layers
// whose are not do without the code.
template <typename S, bool apart>
__device__ __forceinline__ void multiply(const Launch& launch, Items items, Ring ring, std::uint32_t kept,
                                         const float* kept_biases) {
  const DeviceLayer& layer = launch.layer;
  Calls calls(launch);
  Item item = item_of<S>(launch, 0);
  // Blocks that keep their filters have registers for more than sums.
  Outputs own = calls.call->outputs;
  int first_item = 0;
  if constexpr (apart) fetch_account(launch.spread);
  float sum[S::sums];
  for (int index = items.first; index < launch.items; index += items.step) {
    const bool moved = calls.advance(index);
    if constexpr (S::keeps_filters) {
      if (moved) {
        own = calls.call->outputs;
        first_item = calls.call->first_item;
      }
      item.row = (index - first_item) * S::rows;
    } else {
      item = item_of<S>(launch, index - calls.call->first_item);
    }
    const Outputs& out = S::keeps_filters ? own : calls.call->outputs;
    if constexpr (S::split) {
      multiply_split_stages<S>(layer, ring, segment_begin(layer, item.segment),
                               segment_begin(layer, item.segment + 1), sum);
      store<S>(launch, out, kept_biases, item, sum);
    } else if constexpr (S::totals) {
      float total[S::sums];
      for (int segment = 0; segment < layer.segments; ++segment) {
        multiply_stages<S>(layer, ring, kept, segment_begin(layer, segment),
                           segment_begin(layer, segment + 1), sum);
#pragma unroll
        for (int i = 0; i < S::sums; ++i) total[i] = segment == 0 ? sum[i] : __fadd_rn(total[i], sum[i]);
      }
      store<S>(launch, out, kept_biases, item, total);
    } else if constexpr (S::planes) {
      multiply_planes<S>(layer, ring, kept, sum);
      store<S>(launch, out, kept_biases, item, sum);
    } else {
      multiply_stages<S>(layer, ring, kept, segment_begin(layer, item.segment),
                         segment_begin(layer, item.segment + 1), sum);
      store<S>(launch, out, kept_biases, item, sum);
    }
  }
  if constexpr (apart) {
    if (spread_wanted(launch.spread)) spread_items<S>(launch, items);
  }
}

template <typename S, bool apart>
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
  let_next_start();
  const int warp = hopper::warp_of_block();
  constexpr int copiers = 4 * S::warpgroups;
  if (warp < copiers) {
    multiply<S, apart>(launch, items_of<S>(0), ring, 0, nullptr);
  } else if (warp == copiers && hopper::elect()) {
    // Filters do not depend on the kernel before: they are on their way while it ends.
    const std::uint64_t policy = S::few_rows ? hopper::cache_policy(launch.layer.segments > 1) : 0;
    for_each_stage<S>(launch, items_of<S>(0), FilterCopier<S>{launch.layer, ring, policy});
  } else if (warp == copiers + 1 && hopper::elect()) {
    for_each_stage<S>(launch, items_of<S>(0), InputCopier<S>{launch.layer, ring, launch.table != nullptr});
  }
}

// One thread: the filters of the block's columns, stage by stage.
template <typename S>
__device__ __forceinline__ void copy_kept_filters(const Launch& launch, std::uint32_t to,
                                                  std::uint32_t full) {
  const DeviceLayer& layer = launch.layer;
  const DeviceCall& call = launch.table != nullptr ? launch.table[0] : launch.call;
  const Item item = item_of<S>(launch, 0);
  const std::int64_t tap_bytes =
      static_cast<std::int64_t>(layer.filter_rows) * (layer.chunks * row_bytes + layer.rest);
  hopper::arrive_expecting(full, static_cast<std::uint32_t>(launch.filter_bytes));
  const auto copy = [&](const std::byte* from, int bytes) {
    hopper::copy_bytes(to, from + item.col * bytes, S::cols * bytes, full);
    to += S::cols * bytes;
  };
  const int taps = layer.kernel_rows * layer.kernel_cols;
  const std::byte* from = call.filters + item.group * taps * tap_bytes;
  for (int tap = 0; tap < taps; ++tap, from += tap_bytes) {
    for (int chunk = 0; chunk < layer.chunks; ++chunk)
      copy(from + static_cast<std::int64_t>(chunk) * layer.filter_rows * row_bytes, row_bytes);
    const std::byte* const rest =
        from + static_cast<std::int64_t>(layer.chunks) * layer.filter_rows * row_bytes;
    if (layer.rest >= 64) copy(rest, 64);
    if (layer.rest % 64 != 0) copy(rest + (layer.rest >= 64 ? layer.filter_rows * 64 : 0), 32);
  }
}

// All threads: the biases of the block's columns.
template <typename S>
__device__ __forceinline__ void keep_biases(const Launch& launch, float* biases) {
  const Item columns = item_of<S>(launch, 0);
  const float* const bias = (launch.table != nullptr ? launch.table[0] : launch.call).outputs.bias;
  const int col = static_cast<int>(threadIdx.x);
  if (bias != nullptr && col < S::cols && columns.col + col < launch.layer.out)
    biases[col] = __ldg(bias + columns.group * launch.layer.out + columns.col + col);
}

// Grid: x any number of blocks, y columns' blocks of all groups. Items are 64 rows.
template <typename S, bool apart>
__global__ void __launch_bounds__(S::threads, 1) matrix_wgmma_keeping(const __grid_constant__ Launch launch) {
  extern __shared__ char shared[];
  const std::uint32_t kept = (hopper::shared_address(shared) + 1023U) & ~1023U;
  const std::uint32_t rings = kept + ((static_cast<std::uint32_t>(launch.filter_bytes) + 1023U) & ~1023U);
  const std::uint32_t barriers = rings + S::warpgroups * launch.ring * S::stage_bytes;
  const std::uint32_t kept_full = barriers + S::warpgroups * launch.ring * 16;
  auto* const biases = reinterpret_cast<float*>(shared + (kept_full + 8 - hopper::shared_address(shared)));
  keep_biases<S>(launch, biases);
  constexpr int consumers = 128 * S::warpgroups;
  const int warp = hopper::warp_of_block();
  const int warpgroup = warp < consumers / 32 ? warp / 4 : warp - consumers / 32;
  Ring ring;
  ring.size = launch.ring;
  ring.stages = rings + warpgroup * launch.ring * S::stage_bytes;
  ring.full = barriers + warpgroup * launch.ring * 16;
  ring.free = ring.full + 8 * launch.ring;
  if (threadIdx.x >= consumers && threadIdx.x % 32 == 0) {
    for (int s = 0; s < launch.ring; ++s) {
      hopper::init_barrier(ring.full_at(s), 1);
      hopper::init_barrier(ring.free_at(s), 1);
    }
    if (warpgroup == 0) hopper::init_barrier(kept_full, 1);
    hopper::publish_barriers();
  }
  __syncthreads();
  let_next_start();
  if (warp < consumers / 32) {
    hopper::wait(kept_full, 0);
    multiply<S, apart>(launch, items_of<S>(warpgroup), ring, kept, biases);
  } else if (hopper::elect()) {
    // Filters do not depend on the kernel before.
    if (warpgroup == 0) copy_kept_filters<S>(launch, kept, kept_full);
    for_each_stage<S>(launch, items_of<S>(warpgroup),
                      InputCopier<S>{launch.layer, ring, launch.table != nullptr});
  }
}

// The same grid. Items are 256 rows, in which each warpgroup has 64; they come through the ring one or two
// items apart.
template <typename S>
__global__ void __launch_bounds__(S::threads, 1) matrix_wgmma_planes(const __grid_constant__ Launch launch) {
  extern __shared__ char shared[];
  const std::uint32_t kept = (hopper::shared_address(shared) + 1023U) & ~1023U;
  Ring ring;
  ring.size = launch.ring;
  ring.stages = kept + static_cast<std::uint32_t>(launch.filter_bytes);
  ring.full = ring.stages + static_cast<std::uint32_t>(launch.ring * S::stage_bytes);
  ring.free = ring.full + 8 * launch.ring;
  const std::uint32_t kept_full = ring.free + 8 * launch.ring;
  auto* const biases = reinterpret_cast<float*>(shared + (kept_full + 8 - hopper::shared_address(shared)));
  keep_biases<S>(launch, biases);
  if (threadIdx.x == 0) {
    for (int s = 0; s < launch.ring; ++s) {
      hopper::init_barrier(ring.full_at(s), 1);
      hopper::init_barrier(ring.free_at(s), S::warpgroups);
    }
    hopper::init_barrier(kept_full, 1);
    hopper::publish_barriers();
  }
  __syncthreads();
  let_next_start();
  if (hopper::warp_of_block() < 4 * S::warpgroups) {
    hopper::wait(kept_full, 0);
    multiply<S, true>(launch, items_of<S>(0), ring, kept, biases);
  } else if (hopper::elect()) {
    copy_kept_filters<S>(launch, kept, kept_full);
    copy_planes<S>(launch, ring);
  }
}

}  // namespace
}  // namespace halotile::tensor_core
