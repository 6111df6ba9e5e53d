// The blocks of threads of matrix_wgmma.cuh: what they compute, and how their shared memory is laid out. None
// of it changes a bit of a result. Device code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/engines/cuda/tensor_core/matrix_layer.hpp"

namespace halotile::tensor_core {
namespace {

constexpr int row_bytes = 128;
constexpr int shared_limit = 227 * 1024 - 512;  // beside what kernels have of fixed size
constexpr int most_stages = 16;

// Stages of a ring that fit beside kept filters.
constexpr int stages_beside(std::int64_t filter_bytes, int bytes_of_stage) {
  const std::int64_t left = (shared_limit - 3072 - filter_bytes) / bytes_of_stage;
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, most_stages));
}

// rings: of stages, in a block; each has items of its own. totals: blocks add their outputs' segments
// themselves. held: rows that a stage has input for; the products of the others, of whatever lies behind in
// the stage, are stored by nobody.
template <Element element_, int warpgroups_, int cols_, bool totals_ = false, int held_ = 64 * warpgroups_>
struct Shape {
  static constexpr Element element = element_;
  static constexpr int warpgroups = warpgroups_;
  static constexpr int rings = 1;
  static constexpr int rows = 64 * warpgroups;
  static constexpr int held = held_;
  static constexpr bool few_rows = held < rows;
  static constexpr int cols = cols_;
  static constexpr bool totals = totals_;
  static constexpr bool keeps_filters = false;
  static constexpr bool planes = false;
  static constexpr bool split = false;
  static constexpr int sums = cols / 2;  // of a thread
  // Stages whose products are queued at once, where the ring is long. Between such groups a warpgroup that is
  // alone on a multiprocessor waits for every instruction.
  static constexpr int together = warpgroups * cols <= 128 ? 2 : 1;
  static constexpr int threads = 128 * warpgroups + 64;
  // Narrow blocks leave room for a second one on the multiprocessor, which multiplies while this one stores.
  static constexpr int resident = rows <= 128 && cols <= 128 && !totals ? 2 : 1;
  static constexpr int stage_bytes = (held + cols) * row_bytes;
  static_assert(held + cols >= rows, "products read the stage, not what lies behind it");
  static constexpr int ring_beside(int blocks) {
    return std::min(most_stages, (shared_limit / blocks - 2048) / stage_bytes);
  }
  static constexpr int shared_bytes(int ring) { return ring * stage_bytes + 1024 + 2 * ring * 8; }
};

// For products of few rows, which wait for their filters: more of them fit in shared memory ahead of time.
// Those of fully connected layers, more than the L2 cache holds and read once, make room there first:
// otherwise what the other kernels read, their code too, would be gone in the next run.
template <Element element>
using FewRowsShape = Shape<element, 1, 64, false, 8>;

// Blocks that keep the filters of their columns in shared memory; every warpgroup has items and a ring of
// input of its own, so that one stores while others multiply.
template <Element element_, int cols_>
struct KeepingShape {
  static constexpr Element element = element_;
  static constexpr int warpgroups = 4;
  static constexpr int rings = warpgroups;
  static constexpr int rows = 64;  // of an item
  static constexpr int held = rows;
  static constexpr int cols = cols_;
  static constexpr bool totals = false;
  static constexpr bool keeps_filters = true;
  static constexpr bool planes = false;
  static constexpr bool split = false;
  static constexpr int together = 1;
  static constexpr int threads = 160 * warpgroups;
  static constexpr int sums = cols / 2;
  static constexpr int stage_bytes = rows * row_bytes;
  static constexpr int ring_beside(std::int64_t filter_bytes) {
    return stages_beside(filter_bytes, rings * stage_bytes);
  }
  static constexpr std::int64_t shared_bytes(std::int64_t filter_bytes, int ring) {
    return (filter_bytes + 1023) / 1024 * 1024 + 1024 + rings * ring * (stage_bytes + 16) + 8 + cols * 4;
  }
};

// Blocks that keep their filters and read input in planes, of layers whose taps are three packed positions of
// 48 channels (AlexNet's first): a stage has the positions that a row of the kernel needs for an item, each
// once, in planes of 16 bytes of a position's channels. A tap's next position is 16 bytes further. For
// elements of two bytes: with four there is no room for a ring.
template <Element element_, int cols_>
struct PlanesShape {
  static constexpr Element element = element_;
  static constexpr int warpgroups = 4;
  static constexpr int rings = 1;
  static constexpr int rows = 64 * warpgroups;  // of an item
  static constexpr int cols = cols_;
  static constexpr bool totals = false;
  static constexpr bool keeps_filters = true;
  static constexpr bool planes = true;
  static constexpr bool split = false;
  static constexpr int threads = 128 * warpgroups + 32;
  static constexpr int sums = cols / 2;
  static constexpr int tap_positions = 3;
  static constexpr int position_channels = 48;
  static constexpr int position_bytes = position_channels * 2;
  static constexpr int tap_bytes = tap_positions * position_bytes;
  static constexpr int positions = rows + tap_positions - 1;  // of a stage
  static constexpr int planes_of_stage = position_bytes / 16;
  static constexpr int plane_bytes = positions * 16;
  static constexpr int stage_bytes = planes_of_stage * plane_bytes;
  static constexpr int ring_beside(std::int64_t filter_bytes) {
    return stages_beside(filter_bytes, stage_bytes);
  }
  static constexpr std::int64_t shared_bytes(std::int64_t filter_bytes, int ring) {
    return filter_bytes + 1024 + ring * (stage_bytes + 16) + 8 + cols * 4;
  }
};

// A stage has high and low values: (rows, rows, columns, columns) x 128 bytes.
template <int warpgroups_, int cols_>
struct SplitShape {
  static constexpr Element element = Element::tf32;
  static constexpr int warpgroups = warpgroups_;
  static constexpr int rings = 1;
  static constexpr int rows = 64 * warpgroups;
  static constexpr int held = rows;
  static constexpr bool few_rows = false;
  static constexpr int cols = cols_;
  static constexpr bool totals = false;
  static constexpr bool keeps_filters = false;
  static constexpr bool planes = false;
  static constexpr bool split = true;
  static constexpr int threads = 128 * warpgroups + 64;
  static constexpr int sums = cols / 2;
  static constexpr int resident = warpgroups == 1 ? 2 : 1;
  static constexpr int stage_bytes = 2 * (rows + cols) * row_bytes;
  static constexpr int ring_beside(int blocks) {
    return std::min(most_stages, (shared_limit / blocks - 2048) / stage_bytes);
  }
  static constexpr int shared_bytes(int ring) { return ring * stage_bytes + 1024 + 2 * ring * 8; }
};

}  // namespace
}  // namespace halotile::tensor_core
