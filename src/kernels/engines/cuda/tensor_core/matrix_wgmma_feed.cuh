// How the blocks of matrix_wgmma.cuh come by their stages: which items they take, and the threads that keep
// the ring of stages filled with input and filters. Device code.
#pragma once

#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/hopper.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma_shapes.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_wgmma_store.cuh"

namespace halotile::tensor_core {
namespace {

template <typename S>
__device__ __forceinline__ Item item_of(const Launch& launch, int local) {
  Item item;
  if constexpr (S::keeps_filters) {
    const int block = static_cast<int>(blockIdx.y);
    item.group = block / launch.blocks_of_cols;
    item.col = (block - item.group * launch.blocks_of_cols) * S::cols;
    item.segment = 0;
    item.row = local * S::rows;
    return item;
  }
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

// The items of one of a block's rings.
struct Items {
  int first;
  int step;
};
template <typename S>
__device__ __forceinline__ Items items_of(int ring) {
  return {static_cast<int>(blockIdx.x) * S::rings + ring, static_cast<int>(gridDim.x) * S::rings};
}

// Visits the stages of items: a tap's whole chunks one after the other, then its rest. One thread's latency
// bounds how fast small blocks are fed, so what is the same for a tap or an item is not computed again.
template <typename S, typename Copier>
__device__ __forceinline__ void for_each_stage(const Launch& launch, Items items, Copier copier) {
  const DeviceLayer& layer = launch.layer;
  Calls calls(launch);
  const int stages_of_tap = layer.chunks + (layer.rest > 0 ? 1 : 0);
  for (int index = items.first; index < launch.items; index += items.step) {
    const bool moved = calls.advance(index);
    const DeviceCall& call = *calls.call;
    const Item item = item_of<S>(launch, index - call.first_item);
    const int stage = S::totals ? 0 : segment_begin(layer, item.segment);
    int left = (S::totals ? layer.stages : segment_begin(layer, item.segment + 1)) - stage;
    const int tap = stage / stages_of_tap;
    int chunk = stage - tap * stages_of_tap;
    int tap_row = tap / layer.kernel_cols;
    int tap_col = tap - tap_row * layer.kernel_cols;
    copier.begin(call, item, moved, tap, chunk);
    while (left > 0) {
      copier.tap(tap_row, tap_col, chunk);
      const int whole = min(layer.chunks - chunk, left);
      for (int n = 0; n < whole; ++n) copier.chunk();
      left -= whole;
      if (left > 0 && layer.rest > 0) {
        copier.rest();
        --left;
      }
      chunk = 0;
      if (++tap_col == layer.kernel_cols) {
        tap_col = 0;
        ++tap_row;
      }
    }
  }
}

// One thread: keeps the ring filled with input. It waits for the kernel before when an item's place in it is
// known: to find that takes one thread about a microsecond.
template <typename S>
struct InputCopier {
  const DeviceLayer& layer;
  Ring ring;
  bool refresh;
  const CUtensorMap* map = nullptr;  // of whole chunks; those of rests follow
  hopper::Pixel pixel{};
  int pixels = 0;   // that a copy brings
  int images = 0;   // of the call
  int channel = 0;  // the group's first

  __device__ __forceinline__ void begin(const DeviceCall& call, const Item& item, bool moved, int, int) {
    if (refresh || moved) {
      for (const CUtensorMap& m : call.input) hopper::refresh_map(&m);
    }
    refresh = false;
    map = call.input;
    pixels = call.pixels;
    images = call.images;
    const int2 image = call.outputs.image_positions.divide(item.row);
    const int2 out = call.outputs.cols.divide(image.y);
    pixel.image = image.x;
    pixel.row = out.x * layer.stride_row + call.first_row;
    pixel.col = out.y * layer.stride_col + call.first_col;
    channel = item.group * layer.in;
    wait_for_previous();
  }

  __device__ __forceinline__ void tap(int tap_row, int tap_col, int chunk) {
    pixel.tap_row = static_cast<std::uint16_t>(tap_row * layer.dilation_row);
    pixel.tap_col = static_cast<std::uint16_t>(tap_col * layer.dilation_col);
    pixel.channel = channel + chunk * layer.unit;
  }

  __device__ __forceinline__ void chunk() {
    const auto copy = [&](std::uint32_t to, std::uint32_t full) {
      hopper::copy_pixels(to, map, pixel, full);
    };
    stage(row_bytes, copy);
    pixel.channel += layer.unit;
  }

  __device__ __forceinline__ void rest() {
    const auto copy = [&](std::uint32_t to, std::uint32_t full) {
      const int first = pixel.channel;
      if (layer.rest >= 64) {
        hopper::copy_pixels(to, map + 1, pixel, full);
        pixel.channel += layer.unit / 2;
      }
      if (layer.rest % 64 != 0)
        hopper::copy_pixels(to + (layer.rest >= 64 ? S::held * 64 : 0), map + 2, pixel, full);
      pixel.channel = first;
    };
    stage(layer.rest, copy);
  }

 private:
  template <typename Copy>
  __device__ __forceinline__ void stage(int bytes, const Copy& copy) {
    const std::uint32_t to = ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes;
    const std::uint32_t full = ring.full_at(ring.slot);
    hopper::wait(ring.free_at(ring.slot), ring.parity ^ 1U);
    hopper::arrive_expecting(full, (S::split ? 2 : 1) * pixels * bytes);
    copy(to, full);
    if constexpr (S::split) {
      pixel.image += images;
      copy(to + S::held * row_bytes, full);
      pixel.image -= images;
    }
    ring.next();
  }
};

// One thread: keeps the ring filled with input in planes. A stage's positions follow each other in the rows
// of the product, so that they are one piece of each plane of each image that the item touches.
template <typename S>
__device__ __forceinline__ void copy_planes(const Launch& launch, Ring ring) {
  constexpr int planes = S::planes_of_stage;
  Calls calls(launch);
  for (int index = static_cast<int>(blockIdx.x); index < launch.items; index += static_cast<int>(gridDim.x)) {
    calls.advance(index);
    const DeviceCall& call = *calls.call;
    const int begin = (index - call.first_item) * S::rows;
    const int end = min(begin + S::positions, call.outputs.positions);
    const int of_image = call.outputs.image_positions.divisor();
    const int of_row = call.outputs.cols.divisor();
    const int2 first = call.outputs.image_positions.divide(begin);
    wait_for_previous();
    for (int tap = 0; tap < launch.layer.kernel_rows; ++tap) {
      std::uint32_t to = ring.stages + static_cast<std::uint32_t>(ring.slot * S::stage_bytes);
      const std::uint32_t full = ring.full_at(ring.slot);
      hopper::wait(ring.free_at(ring.slot), ring.parity ^ 1U);
      hopper::arrive_expecting(full, static_cast<std::uint32_t>((end - begin) * planes * 16));
      int image = first.x;
      int position = first.y;  // of the image
      for (int left = end - begin; left > 0; ++image, position = 0) {
        const int count = min(left, of_image - position);
        const std::byte* from =
            call.planes + image * planes * call.plane_bytes + (tap * of_row + position) * std::int64_t{16};
#pragma unroll
        for (int plane = 0; plane < planes; ++plane, from += call.plane_bytes)
          hopper::copy_bytes(to + plane * S::plane_bytes, from, static_cast<std::uint32_t>(count * 16), full);
        to += static_cast<std::uint32_t>(count * 16);
        left -= count;
      }
      ring.next();
    }
  }
}

// Another: with filters, which lie in the order of the stages.
template <typename S>
struct FilterCopier {
  const DeviceLayer& layer;
  Ring ring;
  std::uint64_t policy;             // of few rows
  const std::byte* from = nullptr;  // the stage's first row
  int col = 0;                      // the item's first channel

  __device__ __forceinline__ void begin(const DeviceCall& call, const Item& item, bool, int tap, int chunk) {
    const std::int64_t tap_bytes =
        static_cast<std::int64_t>(layer.filter_rows) * (layer.chunks * row_bytes + layer.rest);
    from = call.filters + (item.group * layer.kernel_rows * layer.kernel_cols + tap) * tap_bytes +
           static_cast<std::int64_t>(chunk) * layer.filter_rows * row_bytes;
    col = item.col;
  }

  __device__ __forceinline__ void tap(int, int, int) {}

  __device__ __forceinline__ void chunk() {
    stage(row_bytes,
          [&](std::uint32_t to, const std::byte* at, std::uint32_t full) { rows<row_bytes>(to, at, full); });
  }

  __device__ __forceinline__ void rest() {
    stage(layer.rest, [&](std::uint32_t to, const std::byte* at, std::uint32_t full) {
      int done = 0;
      if (layer.rest >= 64) {
        rows<64>(to, at, full);
        done = 64;
      }
      if (layer.rest % 64 != 0) rows<32>(to + S::cols * done, at + layer.filter_rows * done, full);
    });
  }

 private:
  template <typename Copy>
  __device__ __forceinline__ void stage(int bytes, const Copy& copy) {
    constexpr int planes = S::split ? 2 : 1;
    const std::uint32_t to =
        ring.stages + static_cast<std::uint32_t>(ring.slot) * S::stage_bytes + planes * S::held * row_bytes;
    const std::uint32_t full = ring.full_at(ring.slot);
    hopper::wait(ring.free_at(ring.slot), ring.parity ^ 1U);
    hopper::arrive_expecting(full, planes * S::cols * bytes);
    copy(to, from, full);
    if constexpr (S::split) copy(to + S::cols * row_bytes, from + layer.low_filters, full);
    from += layer.filter_rows * bytes;
    ring.next();
  }

  // The block's columns of a stage, `bytes` each.
  template <int bytes>
  __device__ __forceinline__ void rows(std::uint32_t to, const std::byte* at, std::uint32_t full) const {
    if constexpr (S::few_rows) {
      hopper::copy_bytes(to, at + col * bytes, S::cols * bytes, full, policy);
    } else {
      hopper::copy_bytes(to, at + col * bytes, S::cols * bytes, full);
    }
  }
};

}  // namespace
}  // namespace halotile::tensor_core
