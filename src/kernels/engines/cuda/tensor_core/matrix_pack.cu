// Packing: blocks of positions with few channels become positions with many.
//
//   packed(i, y, x, g K + (dy bw + dx) C + c) = in(i, y sh + dy + r0, x sw + dx + q0, g C + c)
//
// K = layer.position_channels channels of a packed group, C of an unpacked one, blocks of bh x bw positions,
// (sh, sw) apart, the first at (r0, q0), where the first output's window begins. What lies outside the image
// or in.rect, and the channels behind the last, are zeros. Conversion rounds to nearest even. Split (tf32):
// what rounding took away, itself rounded, follows as packed(images + i, ...). In planes, vector v of 16
// bytes of a position's channels lies at (i, v, y, x).
//
// With an account, infinities and NaN become zeros. That there are any is seen by multiplying what is packed
// by zero, one instruction for four bytes; a thread that has seen some packs its vectors again.
//
// Bound by memory. A block of 256 threads makes a rectangle of packed positions of one image:
//   1. It copies the rows of input that the rectangle reads into dynamic shared memory, gaps between
//      positions included, by cp.async in vectors of 16 bytes. Rows may begin anywhere: in shared memory they
//      begin at the same place modulo 16 (the pitch is the row stride modulo 16), so that vectors match, and
//      the vectors that lie partly outside are copied by elements.
//   2. Each thread writes vectors of 16 bytes, always of the same packed channels: where these lie in the
//      rows, it looks up once, in a table in shared memory. Threads side by side write side by side.
// Maps whose rectangle would not fit (very many channels) are packed by a kernel without shared memory, one
// thread a vector.
//
// Preconditions: those of pack_input; any strides.
#include <algorithm>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/cuda/matrix_instructions.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"
#include "kernels/engines/cuda/tensor_core/packed_element.cuh"
#include "kernels/engines/cuda/tile_launch.cuh"

namespace halotile::tensor_core {
namespace {

using cuda::device_int;
using cuda::divide_up;
using cuda::TileParameters;

constexpr int threads = 256;
constexpr int resident = 6;  // blocks on a multiprocessor, at least: enough to keep memory busy
constexpr std::int64_t shared_limit = 40 * 1024;
constexpr std::int64_t shared_wanted = 28 * 1024;      // eight blocks on a multiprocessor
constexpr std::int64_t vectors_wanted = 12 * threads;  // of a block: its beginning costs a few
constexpr std::int64_t blocks_wanted = 1024;           // for all multiprocessors to be busy

struct Packing {
  const std::byte* input;  // (image 0, first row and column of the view); strides in bytes
  std::int64_t image_stride, row_stride, col_stride;
  int images;
  int first_row, first_col;  // of the first block, from the view's first
  int row_begin, row_end;    // what may be read of the view
  int col_begin, col_end;
  int channels;  // of an unpacked group
  int all_channels;
  int groups;
  int group_channels;  // packed
  int block_h, block_w, step_h, step_w;
  int packed_rows, packed_cols;
  int vectors;  // of a packed position
  int pieces;   // 16 bytes of all images' positions (the kernel without shared memory)

  int rows, cols;  // of the rectangle
  int row_blocks, col_blocks;
  cuda::Divider col_block_count, image_blocks;  // blocks of a row of them, of an image
  cuda::Divider line_split;                     // vectors of a line
  int side;                                     // vectors of a position, at most the threads of a block
  int at_a_time;                                // positions
  cuda::Divider split_threads;                  // vectors of a position, or in planes positions
  cuda::Divider split_cols;                     // of the rectangle
  int lines;                                    // of input
  int line_bytes;
  int line_vectors;  // as many as touch a line, wherever it begins
  int pitch;         // bytes
  int table;         // where it begins
  void* packed;
  NonFiniteAccount* account;  // null: infinities and NaN are packed as they are
  // In vectors, from one to the next:
  std::int64_t position_step;
  std::int64_t vector_step;
  std::int64_t low;  // split: from a high value to its low one, else 0

  [[nodiscard]] __host__ __device__ bool in_planes() const { return position_step < vector_step; }
  [[nodiscard]] __device__ uint4* first_of(int image) const {
    return static_cast<uint4*>(packed) +
           static_cast<std::int64_t>(image) * packed_rows * packed_cols * vectors;
  }
};

// A thread's part in the account: the number of the run that is packed.
__device__ __forceinline__ unsigned this_run(const NonFiniteAccount& account) {
  return *static_cast<const volatile unsigned*>(&account.spread) + 1;
}

// Calls pack(std::bool_constant<finite>()), which says whether it saw infinities or NaN, or, if `finite`,
// made zeros of them.
template <typename Pack>
__device__ __forceinline__ void pack_apart(const Packing& p, const Pack& pack) {
  const bool seen = pack(std::false_type());
  if (p.account == nullptr || !seen) return;
  if (pack(std::true_type())) p.account->found = this_run(*p.account);
}

// Copies the lines that the rectangle reads. `first`: line and column of its first position, from the view's.
template <typename In>
__device__ __forceinline__ void copy_lines(const Packing& p, const std::byte* from, int2 first,
                                           std::byte* lines, int start) {
  // Bytes of a line that lie inside.
  const int col_begin = max(p.col_begin - first.y, 0);
  const int col_end = p.col_end - first.y;
  const int begin = static_cast<int>(min(static_cast<std::int64_t>(p.line_bytes), col_begin * p.col_stride));
  const std::int64_t last_end = (col_end - 1) * p.col_stride + p.all_channels * static_cast<int>(sizeof(In));
  const int end =
      col_end <= col_begin ? 0 : static_cast<int>(min(static_cast<std::int64_t>(p.line_bytes), last_end));
  const int2 place = p.line_split.divide(static_cast<int>(threadIdx.x));
  int line = place.x;
  int vector = place.y;
  const int2 step = p.line_split.divide(threads);
  const int line_step = step.x;
  const int vector_step = step.y;
  while (line < p.lines) {
    const int at = start + line * p.pitch;  // of the line in shared memory
    const int to = at / 16 * 16 + vector * 16;
    const int offset = to - at;  // in the line
    const int row = first.x + line;
    const bool row_inside = row >= p.row_begin && row < p.row_end;
    const bool whole = row_inside && offset >= begin && offset + 16 <= end;
    const std::byte* const source = from + line * p.row_stride + offset;
    if (whole || !row_inside || offset + 16 <= begin || offset >= end) {
      copy_unit(shared_address(lines + to), source, whole ? 16 : 0);
    } else {
#pragma unroll
      for (int e = 0; e < 16; e += static_cast<int>(sizeof(In))) {
        const bool inside = offset + e >= begin && offset + e < end;
        *reinterpret_cast<In*>(lines + to + e) = inside ? *reinterpret_cast<const In*>(source + e) : In{};
      }
    }
    line += line_step;
    vector += vector_step;
    if (vector >= p.line_vectors) {
      vector -= p.line_vectors;
      ++line;
    }
  }
}

// Where each packed channel lies from the first channel of its block: bytes, or -1 for a zero.
template <typename In>
__device__ __forceinline__ void make_table(const Packing& p, int* table) {
  for (int n = static_cast<int>(threadIdx.x); n < p.groups * p.group_channels; n += threads) {
    const int group = n / p.group_channels;
    const int k = n - group * p.group_channels;
    const int position = k / p.channels;
    const int c = k - position * p.channels;
    const int dy = position / p.block_w;
    const int dx = position - dy * p.block_w;
    table[n] = dy < p.block_h ? dy * p.pitch + dx * static_cast<int>(p.col_stride) +
                                    (group * p.channels + c) * static_cast<int>(sizeof(In))
                              : -1;
  }
}

// A thread's part of a rectangle, whose input is in shared memory: positions from `begin` on, `step` apart
// (rows and columns), of each the vectors from `vector` on.
struct Part {
  unsigned table;  // in shared memory
  unsigned lines;  // in shared memory: the first position's first element
  uint4* out;      // the first position's first vector
  int rows, cols;  // of the rectangle that exist
  int2 begin, step;
  int vector;
};

template <typename In>
__device__ __forceinline__ In load_shared(unsigned address) {
  if constexpr (sizeof(In) == 4) {
    unsigned bits;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(bits) : "r"(address));
    return __uint_as_float(bits);
  } else {
    std::uint16_t bits;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(bits) : "r"(address));
    return reinterpret_cast<const In&>(bits);
  }
}

// What pack_apart calls. Addresses go along with positions: to work them out anew would cost more than all
// else.
template <bool finite, typename T, typename In>
__device__ __forceinline__ bool pack_part(const Packing& p, const Part& part) {
  constexpr int count = elements<T>;
  const int row_bytes = p.step_h * p.pitch;
  const int col_bytes = p.step_w * static_cast<int>(p.col_stride);
  const int step_bytes = part.step.x * row_bytes + part.step.y * col_bytes;
  const int next_row_bytes = row_bytes - p.cols * col_bytes;
  const std::int64_t step_vectors = (part.step.x * p.packed_cols + part.step.y) * p.position_step;
  const std::int64_t next_row_vectors = (p.packed_cols - p.cols) * p.position_step;
  NonFinite<T> non_finite;
  bool cleared = false;
  for (int v = part.vector; v < p.vectors; v += p.side) {
    int place[count];
#pragma unroll
    for (int e = 0; e < count; e += 4)
      asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(place[e]), "=r"(place[e + 1]), "=r"(place[e + 2]), "=r"(place[e + 3])
                   : "r"(part.table + (v * count + e) * 4));
    int y = part.begin.x;
    int x = part.begin.y;
    unsigned at = part.lines + y * row_bytes + x * col_bytes;
    uint4* to =
        part.out + (static_cast<std::int64_t>(y) * p.packed_cols + x) * p.position_step + v * p.vector_step;
    for (; y < part.rows; y += part.step.x, x += part.step.y, at += step_bytes, to += step_vectors) {
      if (x >= p.cols) {
        x -= p.cols;
        at += next_row_bytes;
        to += next_row_vectors;
        if (++y >= part.rows) break;
      }
      if (x >= part.cols) continue;  // the last blocks are narrower
      Vector<T> high;
      Vector<T> low;
#pragma unroll
      for (int e = 0; e < count; ++e) {
        const bool there = place[e] >= 0;
        if (sizeof(T) == 2 && !there) continue;  // of 4 bytes a zero is split, too: without a branch
        const In in = there ? load_shared<In>(at + place[e]) : In{};
        if constexpr (finite) {
          cleared = split_finite(p.low > 0, in, high.element[e], low.element[e]) || cleared;
        } else {
          split(in, high.element[e], low.element[e]);
        }
      }
      if constexpr (!finite) non_finite.see(high);
      *to = high.words;
      if (sizeof(T) == 4 && p.low > 0) to[p.low] = low.words;
    }
  }
  return finite ? cleared : non_finite.seen();
}

template <typename T, typename In, int most>
__global__ void __launch_bounds__(threads, resident)
    pack_rectangles(const __grid_constant__ TileParameters<Packing, most> tiles) {
  follow_previous();
  const Packing& p = tiles.here();
  extern __shared__ __align__(16) std::byte dynamic_shared[];
  int* const table = reinterpret_cast<int*>(dynamic_shared + p.table);
  const int2 of_image = p.image_blocks.divide(static_cast<int>(blockIdx.x));
  const int image = of_image.x;
  if (tiles.several && image >= p.images) return;
  const int2 block = p.col_block_count.divide(of_image.y);
  const int y0 = block.x * p.rows;
  const int x0 = block.y * p.cols;
  const int2 first{p.first_row + y0 * p.step_h, p.first_col + x0 * p.step_w};
  const std::byte* const from =
      p.input + image * p.image_stride + first.x * p.row_stride + first.y * p.col_stride;
  const int start = static_cast<int>(reinterpret_cast<std::uintptr_t>(from) % 16);
  const bool first_thread = p.account != nullptr && blockIdx.x == 0 && threadIdx.x == 0;
  unsigned run = 0;
  if (first_thread) run = this_run(*p.account);
  copy_lines<In>(p, from, first, dynamic_shared, start);
  commit_copies();
  make_table<In>(p, table);
  wait_for_copies<0>();
  __syncthreads();
  if (first_thread) p.account->packed = run;

  const int2 mine = p.split_threads.divide(static_cast<int>(threadIdx.x));
  const int position = p.in_planes() ? mine.y : mine.x;
  Part part;
  part.vector = p.in_planes() ? mine.x : mine.y;
  if (position >= p.at_a_time || part.vector >= p.side) return;
  part.table = shared_address(table);
  part.lines = shared_address(dynamic_shared) + start;
  part.out = p.first_of(image) + (static_cast<std::int64_t>(y0) * p.packed_cols + x0) * p.position_step;
  part.rows = min(p.rows, p.packed_rows - y0);
  part.cols = min(p.cols, p.packed_cols - x0);
  part.begin = p.split_cols.divide(position);
  part.step = p.split_cols.divide(p.at_a_time);
  pack_apart(p, [&]<bool finite>(std::bool_constant<finite>) { return pack_part<finite, T, In>(p, part); });
}

template <typename T, typename In>
__global__ void __launch_bounds__(threads) pack_vectors(const Packing p) {
  follow_previous();
  const unsigned piece = blockIdx.x * threads + threadIdx.x;
  if (piece >= static_cast<unsigned>(p.pieces)) return;
  const unsigned position = piece / p.vectors;
  const int v = static_cast<int>(piece - position * p.vectors);
  const int first = v * elements<T>;
  const unsigned line = position / p.packed_cols;
  const int x = static_cast<int>(position - line * p.packed_cols) * p.step_w + p.first_col;
  const int y = static_cast<int>(line % p.packed_rows) * p.step_h + p.first_row;
  const auto image = static_cast<int>(line / p.packed_rows);
  const std::byte* const from = p.input + image * p.image_stride;
  const int group = first / p.group_channels;
  const std::int64_t in_image = position - std::int64_t{image} * p.packed_rows * p.packed_cols;
  uint4* const to = p.first_of(image) + in_image * p.position_step + v * p.vector_step;
  if (p.account != nullptr && piece == 0) p.account->packed = this_run(*p.account);
  pack_apart(p, [&]<bool finite>(std::bool_constant<finite>) {
    NonFinite<T> non_finite;
    bool cleared = false;
    Vector<T> high;
    Vector<T> low;
#pragma unroll
    for (int e = 0; e < elements<T>; ++e) {
      const int k = first + e - group * p.group_channels;
      const int in_block = k / p.channels;
      const int c = k - in_block * p.channels;
      const int dy = in_block / p.block_w;
      const int row = y + dy;
      const int col = x + in_block - dy * p.block_w;
      if (dy >= p.block_h || row < p.row_begin || row >= p.row_end || col < p.col_begin || col >= p.col_end)
        continue;
      const std::byte* const source =
          from + row * p.row_stride + col * p.col_stride +
          (static_cast<std::int64_t>(group) * p.channels + c) * static_cast<std::int64_t>(sizeof(In));
      const In in = *reinterpret_cast<const In*>(source);
      if constexpr (finite) {
        cleared = split_finite(p.low > 0, in, high.element[e], low.element[e]) || cleared;
      } else {
        split(in, high.element[e], low.element[e]);
      }
    }
    if constexpr (!finite) non_finite.see(high);
    *to = high.words;
    if (sizeof(T) == 4 && p.low > 0) to[p.low] = low.words;
    return finite ? cleared : non_finite.seen();
  });
}

// Cuts the packed map into rectangles, one of `tiles` maps; false when not even one position's input fits in
// shared memory.
bool cut(Packing& p, int tiles) {
  const std::int64_t table_bytes = std::int64_t{p.groups} * p.group_channels * 4;
  const auto line_bytes = [&](std::int64_t cols) {
    return ((cols - 1) * p.step_w + p.block_w) * p.col_stride;
  };
  const auto pitch = [&](std::int64_t cols) {
    return divide_up<std::int64_t>(line_bytes(cols), 16) * 16 + 32 + p.row_stride % 16;
  };
  const auto shared = [&](std::int64_t rows, std::int64_t cols) {
    return 32 + ((rows - 1) * p.step_h + p.block_h) * pitch(cols) + table_bytes;
  };
  if (shared(1, 1) > shared_limit) return false;
  const std::int64_t all = std::int64_t{tiles} * p.images * p.packed_rows * p.packed_cols * p.vectors;
  const std::int64_t wanted = std::clamp<std::int64_t>(all / blocks_wanted, threads, vectors_wanted);
  // `size` positions in parts of equal size, each of at most `most`.
  const auto even = [](std::int64_t size, std::int64_t most) {
    return divide_up(size, divide_up(size, std::clamp<std::int64_t>(most, 1, size)));
  };
  std::int64_t cols = p.packed_cols;
  while (cols > 1 && shared(1, cols) > shared_wanted) cols = divide_up<std::int64_t>(cols, 2);
  cols = even(p.packed_cols, std::min(cols, wanted / p.vectors));
  std::int64_t rows = 1;
  while (rows < p.packed_rows && shared(rows + 1, cols) <= shared_wanted &&
         (rows + 1) * cols * p.vectors <= wanted) {
    ++rows;
  }
  rows = even(p.packed_rows, rows);
  p.rows = static_cast<int>(rows);
  p.cols = static_cast<int>(cols);
  p.row_blocks = static_cast<int>(divide_up<std::int64_t>(p.packed_rows, rows));
  p.col_blocks = static_cast<int>(divide_up<std::int64_t>(p.packed_cols, cols));
  p.lines = static_cast<int>((rows - 1) * p.step_h + p.block_h);
  p.line_bytes = static_cast<int>(line_bytes(cols));
  p.line_vectors = (p.line_bytes + 15 + 15) / 16;
  p.pitch = static_cast<int>(pitch(cols));
  p.col_block_count = cuda::Divider(p.col_blocks);
  p.image_blocks = cuda::Divider(p.row_blocks * p.col_blocks);
  p.line_split = cuda::Divider(p.line_vectors);
  p.side = std::min(p.vectors, threads);
  p.at_a_time = threads / p.side;
  p.split_threads = cuda::Divider(p.in_planes() ? p.at_a_time : p.side);
  p.split_cols = cuda::Divider(p.cols);
  p.table = (16 + p.lines * p.pitch + 15) / 16 * 16;
  return true;
}

template <typename T, typename In, int most>
void launch(TileParameters<Packing, most>& tiles, int count, cudaStream_t stream) {
  const std::span<Packing> all(tiles.tile, static_cast<std::size_t>(count));
  if (std::ranges::all_of(all, [&](Packing& p) { return cut(p, count); })) {
    dim3 grid(1, 1, static_cast<unsigned>(count));
    int shared = 0;
    for (const Packing& p : all) {
      const std::int64_t blocks = std::int64_t{p.images} * p.row_blocks * p.col_blocks;
      grid.x = std::max(grid.x, static_cast<unsigned>(device_int(blocks, "the number of blocks")));
      shared = std::max(shared, p.table + p.groups * p.group_channels * 4);
    }
    launch_early(pack_rectangles<T, In, most>, grid, threads, static_cast<std::size_t>(shared), stream,
                 "launching the packing of a map", tiles);
    return;
  }
  for (Packing& p : all) {
    p.pieces = device_int(std::int64_t{p.images} * p.packed_rows * p.packed_cols * p.vectors,
                          "the size of the packed map");
    launch_early(pack_vectors<T, In>,
                 static_cast<unsigned>(divide_up(std::int64_t{p.pieces}, std::int64_t{threads})), threads, 0,
                 stream, "launching the packing of a map", p);
  }
}

// False where there is nothing to pack.
bool make_packing(const MatrixLayer& layer, const Window& window, PackedLayout layout, const PackedTile& tile,
                  NonFiniteAccount* account, Packing& p) {
  const ConstMapView& in = tile.in;
  const Rect& out = tile.out;
  if (out.empty() || in.images == 0) return false;
  const std::int64_t channels = in.channels / layer.groups;
  if (in.channels % layer.groups != 0 || layer.block.area() * channels > layer.position_channels) {
    throw ShapeError("pack_input: the map's channels are not the layer's");
  }
  const std::int64_t size = size_of(in.dtype);
  const UnpackedInput from = unpacked_input(window, in, out);
  const Extent2 extent = layer.packed_extent(out.extent());
  p.input = static_cast<const std::byte*>(from.data);
  p.image_stride = from.image_stride * size;
  p.row_stride = from.row_stride * size;
  p.col_stride = from.col_stride * size;
  p.images = device_int(in.images, "the number of images");
  p.first_row = device_int(from.first_row, "a row");
  p.first_col = device_int(from.first_col, "a column");
  p.row_begin = device_int(from.row_begin, "a row");
  p.row_end = device_int(from.row_end, "a row");
  p.col_begin = device_int(from.col_begin, "a column");
  p.col_end = device_int(from.col_end, "a column");
  p.channels = device_int(channels, "the number of channels");
  p.all_channels = device_int(in.channels, "the number of channels");
  p.groups = device_int(layer.groups, "the number of groups");
  p.group_channels = device_int(layer.position_channels, "the number of channels");
  p.block_h = device_int(layer.block.height, "a kernel");
  p.block_w = device_int(layer.block.width, "a kernel");
  p.step_h = device_int(layer.step.height, "a stride");
  p.step_w = device_int(layer.step.width, "a stride");
  p.packed_rows = device_int(extent.height, "the number of rows");
  p.packed_cols = device_int(extent.width, "the number of columns");
  p.vectors = device_int(layer.groups * layer.position_channels * size_of(layer.element) / vector_bytes,
                         "the number of channels");
  p.packed = tile.packed;
  p.account = account;
  const bool planes = layout == PackedLayout::planes;
  p.position_step = planes ? 1 : p.vectors;
  p.vector_step = planes ? extent.area() : 1;
  p.low = layer.split() ? in.images * extent.area() * p.vectors : 0;
  return true;
}

}  // namespace

void pack_input(const MatrixLayer& layer, const Window& window, PackedLayout layout,
                std::span<const PackedTile> tiles, cudaStream_t stream, NonFiniteAccount* account) {
  if (tiles.empty()) return;
  const DType from = tiles.front().in.dtype;
  const DType to = map_type(layer.element);
  const auto make = [&](const PackedTile& tile, Packing& p) {
    if (tile.in.dtype != from) throw ShapeError("pack_input: the tiles' maps are of different types");
    return make_packing(layer, window, layout, tile, account, p);
  };
  cuda::with_device_type(to, [&]<typename T>(cuda::DeviceType<T>) {
    if (from == to) {
      cuda::for_tile_groups<Packing>(tiles, make,
                                     [&](auto& group, int count) { launch<T, T>(group, count, stream); });
    } else if (from == DType::f32) {
      cuda::for_tile_groups<Packing>(tiles, make,
                                     [&](auto& group, int count) { launch<T, float>(group, count, stream); });
    } else {
      throw UnsupportedError("pack_input: a map of " + std::string(to_string(from)) + " for a layer of " +
                             std::string(to_string(to)));
    }
  });
}

void pack_input(const MatrixLayer& layer, const Window& window, PackedLayout layout, const ConstMapView& in,
                Rect out, void* packed, cudaStream_t stream, NonFiniteAccount* account) {
  const PackedTile tile{in, out, packed};
  pack_input(layer, window, layout, {&tile, 1}, stream, account);
}

}  // namespace halotile::tensor_core
