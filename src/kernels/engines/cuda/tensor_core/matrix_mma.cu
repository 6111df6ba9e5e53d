// Products of matrices on the tensor cores of every card from Ampere on: mma.sync.
//
//   sum(m, o) = sum over taps (ky, kx), channels c of the group, ascending, of
//               x(i, r Sh + first_row + ky Dh, q Sw + first_col + kx Dw, g C + c) w(o, ky, kx, c)
//   m = (i, r, q), an output position; x = 0 where the position lies outside rows x cols of the call
//   one segment: y(m, o) = relu?(bias(o) + sum(m, o)); several: partial(segment, m, o) = the segment's sum
//
// The input is an NHWC map with any strides that are multiples of 16 bytes; filters, stages and segments are
// those of matrix_layer.hpp. f32 sums, one chain of instructions for each output, 32 bytes of k each: how
// outputs are cut into blocks changes no bit.
//
// A block computes Block::rows positions by Block::cols output channels of one group, a warp a rectangle of
// those; grid: x positions' blocks x groups x channels' blocks (channels' first: they read the same input),
// y segments. Stages pass through a ring in dynamic shared memory, filled by cp.async:
//   input    rows x 128 bytes; 16-byte unit u of row r lies at u ^ (r % 8). Thread t copies unit t % 8 of
//            rows t / 8, t / 8 + threads / 8, ...; what lies outside, or beyond the group's channels, as
//            zeros
//   filters  cols rows as they lie in device memory, whose units are exchanged already
// so that the 8 rows of each ldmatrix lie in different banks. Results go from the fragments through an
// exchange within four threads to stores of 16 bytes.
//
// Preconditions: those of MatrixCall. Sources: PTX ISA on mma.m16n8k16, mma.m16n8k8 and ldmatrix;
// Chellapilla, Puri and Simard 2006 on convolution as a matrix product.
#include <array>
#include <tuple>
#include <utility>

#include "kernels/devices/cuda/cuda_device.hpp"
#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/map_element.cuh"
#include "kernels/engines/cuda/matrix_instructions.cuh"
#include "kernels/engines/cuda/tensor_core/matrix_kernels.hpp"
#include "kernels/engines/cuda/tensor_core/matrix_stores.cuh"
#include "kernels/engines/cuda/tensor_core/non_finite.cuh"

namespace halotile::tensor_core {
namespace {

using cuda::device_int;
using cuda::divide_up;

// Warps are rows of the block's rectangle x columns of it; `resident` blocks on a multiprocessor, at least.
template <int rows_, int cols_, int warps_down, int warps_across_, int ring_, int resident_>
struct MmaBlock {
  static constexpr int rows = rows_;
  static constexpr int cols = cols_;
  static constexpr int warps_across = warps_across_;
  static constexpr int threads = 32 * warps_down * warps_across;
  static constexpr int ring = ring_;  // stages
  static constexpr int resident = resident_;
  static constexpr int warp_rows = rows / warps_down;
  static constexpr int warp_cols = cols / warps_across;
  static constexpr int mt = warp_rows / 16;  // instructions of a warp
  static constexpr int nt = warp_cols / 8;
  static constexpr int input_bytes = rows * 128;  // of a stage
  static constexpr int stage_bytes = input_bytes + cols * 128;
  static constexpr int rows_of_thread = rows * 8 / threads;
  static_assert(warp_rows % 16 == 0 && warp_cols % 32 == 0 && threads % 64 == 0);
  static_assert(rows * 8 % threads == 0 && cols * 8 % threads == 0);
};

// From many positions to few; an Ampere card without the A100's shared memory has 99 KiB for a block.
using MmaBlocks =
    std::tuple<MmaBlock<128, 128, 2, 4, 3, 2>, MmaBlock<128, 64, 2, 2, 3, 3>, MmaBlock<64, 128, 1, 4, 3, 3>,
               MmaBlock<64, 64, 2, 2, 4, 3>, MmaBlock<128, 32, 4, 1, 4, 2>, MmaBlock<16, 128, 1, 4, 4, 3>>;
constexpr std::size_t block_count = std::tuple_size_v<MmaBlocks>;

struct Product {
  const std::byte* input;  // strides in bytes
  std::int64_t image_stride, row_stride, col_stride;
  int rows, cols, first_row, first_col;
  int stride_h, stride_w, dilation_h, dilation_w, kernel_w;
  int positions, out_rows, out_cols;
  int in_bytes;  // of a group's channels
  int tap_stages, whole_chunks, rest_bytes;

  const std::byte* filters;
  std::int64_t group_filters, tap_filters;  // bytes
  int filter_rows;
  int group_blocks;    // blocks along the output channels of a group
  int channel_blocks;  // of all groups
  std::int64_t stages;
  int segments;

  void* output;  // strides in elements
  OutputRow row;
  std::int64_t output_image_stride, output_row_stride, output_col_stride;
  int all_outputs;  // channels of all groups
  const float* bias;
  float* partial;  // null: one segment
  bool relu;
  SpreadLayer spread;
  UnpackedInput unpacked;
};

// A position of the block: where its window begins.
struct alignas(16) Source {
  const std::byte* from;  // channel 0 of the group
  int row;                // in the call's rectangle
  int col;
};

template <typename Block>
constexpr std::size_t shared_bytes = std::size_t{Block::ring} * Block::stage_bytes +
                                     Block::rows*(sizeof(Source) + sizeof(std::int64_t));

// Sources and destinations (element offsets, -1 where there is no position) of the block's positions.
template <typename Block>
__device__ void list_positions(const Product& p, unsigned first, int group, Source* sources,
                               std::int64_t* destinations) {
  for (int n = static_cast<int>(threadIdx.x); n < Block::rows; n += Block::threads) {
    const unsigned position = first + static_cast<unsigned>(n);
    Source source{p.input, -(1 << 30), -(1 << 30)};  // outside at every tap
    std::int64_t destination = -1;
    if (position < static_cast<unsigned>(p.positions)) {
      const unsigned line = position / static_cast<unsigned>(p.out_cols);
      const int col = static_cast<int>(position % static_cast<unsigned>(p.out_cols));
      const int row = static_cast<int>(line % static_cast<unsigned>(p.out_rows));
      const std::int64_t image = line / static_cast<unsigned>(p.out_rows);
      source.row = row * p.stride_h + p.first_row;
      source.col = col * p.stride_w + p.first_col;
      source.from = p.input + image * p.image_stride + source.row * p.row_stride + source.col * p.col_stride +
                    static_cast<std::int64_t>(group) * p.in_bytes;
      destination = p.partial != nullptr ? static_cast<std::int64_t>(position) * p.all_outputs
                                         : image * p.output_image_stride + row * p.output_row_stride +
                                               col * p.output_col_stride;
    }
    sources[n] = source;
    destinations[n] = destination;
  }
}

// Where the next stage to copy is.
struct Cursor {
  int ky;
  int kx;
  int chunk;

  __device__ __forceinline__ Cursor(const Product& p, int stage) {
    const int tap = stage / p.tap_stages;
    chunk = stage - tap * p.tap_stages;
    ky = tap / p.kernel_w;
    kx = tap - ky * p.kernel_w;
  }
  // True when the next stage is of another tap.
  __device__ __forceinline__ bool advance(const Product& p) {
    if (++chunk < p.tap_stages) return false;
    chunk = 0;
    if (++kx == p.kernel_w) {
      kx = 0;
      ++ky;
    }
    return true;
  }
  [[nodiscard]] __device__ __forceinline__ int bytes(const Product& p) const {
    return chunk < p.whole_chunks ? 128 : p.rest_bytes;
  }
};

// Copies a thread's units of the input; what lies inside is decided once a tap.
template <typename Block>
class InputCopies {
 public:
  __device__ __forceinline__ void aim(const Product& p, const Source* sources, const Cursor& cursor) {
    const int row_step = cursor.ky * p.dilation_h;
    const int col_step = cursor.kx * p.dilation_w;
    const std::int64_t step = row_step * p.row_stride + col_step * p.col_stride + unit() * 16;
    inside_ = 0;
#pragma unroll
    for (int n = 0; n < Block::rows_of_thread; ++n) {
      const Source source = sources[row(n)];
      from_[n] = source.from + step;
      const bool inside = static_cast<unsigned>(source.row + row_step) < static_cast<unsigned>(p.rows) &&
                          static_cast<unsigned>(source.col + col_step) < static_cast<unsigned>(p.cols);
      inside_ |= static_cast<unsigned>(inside) << n;
    }
  }
  __device__ __forceinline__ void copy(const Product& p, unsigned stage, const Cursor& cursor) const {
    if (unit() * 16 >= cursor.bytes(p)) return;  // never read
    const int chunk = cursor.chunk * 128;
    const bool exists = chunk + unit() * 16 < p.in_bytes;
    const unsigned to = stage + row(0) * 128 + (unit() ^ row(0) % 8) * 16;
#pragma unroll
    for (int n = 0; n < Block::rows_of_thread; ++n) {
      copy_unit(to + n * (Block::threads / 8 * 128), from_[n] + chunk,
                exists && (inside_ >> n & 1U) != 0 ? 16 : 0);
    }
  }

 private:
  __device__ static __forceinline__ int unit() { return static_cast<int>(threadIdx.x) % 8; }
  __device__ static __forceinline__ int row(int n) {
    return static_cast<int>(threadIdx.x) / 8 + n * (Block::threads / 8);
  }

  const std::byte* from_[Block::rows_of_thread];
  unsigned inside_ = 0;  // a bit a row
};

// Copies the filters of the block's columns, stage after stage.
template <typename Block>
class FilterCopies {
 public:
  __device__ __forceinline__ FilterCopies(const Product& p, int group, int first_col, const Cursor& cursor,
                                          int tap)
      : stage_(p.filters + group * p.group_filters + tap * p.tap_filters +
               static_cast<std::int64_t>(cursor.chunk) * p.filter_rows * 128),
        col_(first_col) {}

  __device__ __forceinline__ void copy(const Product& p, unsigned stage, int bytes) {
    if (bytes == 128) {
      const std::byte* from = stage_ + col_ * 128;
#pragma unroll
      for (int n = 0; n < Block::cols * 8 / Block::threads; ++n) {
        const int unit = static_cast<int>(threadIdx.x) + n * Block::threads;
        copy_unit(stage + unit * 16, from + unit * 16, 16);
      }
    } else {
      const std::byte* from = stage_;
      if ((bytes & 64) != 0) {
        run(stage, from + col_ * 64, Block::cols * 4);
        stage += Block::cols * 64;
        from += p.filter_rows * 64;
      }
      if ((bytes & 32) != 0) run(stage, from + col_ * 32, Block::cols * 2);
    }
    stage_ += static_cast<std::int64_t>(p.filter_rows) * bytes;
  }

 private:
  __device__ static __forceinline__ void run(unsigned to, const std::byte* from, int units) {
    for (int unit = static_cast<int>(threadIdx.x); unit < units; unit += Block::threads) {
      copy_unit(to + unit * 16, from + unit * 16, 16);
    }
  }

  const std::byte* stage_;
  int col_;
};

template <typename Block>
using Sums = float[Block::mt][Block::nt][4];

// The thread's corner of a stage: the warp's rectangle, and the thread's row and unit of each ldmatrix.
template <typename Block>
struct Corner {
  int row;  // the warp's first in the block
  int col;
  unsigned a;   // byte offset of the thread's row of input
  unsigned ax;  // of its exchanged unit in the first 32 bytes
  int b_row;    // of filters
  int b_half;   // 16-byte unit of 32

  __device__ __forceinline__ Corner() {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    row = warp / Block::warps_across * Block::warp_rows;
    col = warp % Block::warps_across * Block::warp_cols;
    a = static_cast<unsigned>((row + lane % 16) * 128);
    ax = static_cast<unsigned>((lane / 16 ^ lane % 8) * 16);
    b_row = col + lane / 16 * 8 + lane % 8;
    b_half = lane / 8 % 2;
  }
};

// pitch / 32 steps of k: bytes `first` and on of the input, rows of `pitch` bytes of filters.
template <Element element, typename Block, int pitch>
__device__ __forceinline__ void multiply_steps(Sums<Block>& sums, const Corner<Block>& corner, unsigned input,
                                               unsigned filters, unsigned first) {
  constexpr int rows_of_exchange = 128 / pitch;  // rows that share an exchange
  const int exchange = corner.b_row % 8 / rows_of_exchange;
  const unsigned b = filters + corner.b_row * pitch;
  const auto bx = static_cast<unsigned>((corner.b_half ^ exchange) * 16);
#pragma unroll
  for (unsigned k = 0; k < pitch; k += 32) {
    unsigned a_fragment[Block::mt][4];
    unsigned b_fragment[Block::nt / 2][4];
#pragma unroll
    for (int i = 0; i < Block::mt; ++i) {
      load_matrices(a_fragment[i], input + corner.a + i * 16 * 128 + (corner.ax ^ (first + k)));
      if constexpr (element == Element::tf32) round_to_tf32(a_fragment[i]);  // filters are already
    }
#pragma unroll
    for (int j = 0; j < Block::nt / 2; ++j) load_matrices(b_fragment[j], b + j * 16 * pitch + (bx ^ k));
#pragma unroll
    for (int i = 0; i < Block::mt; ++i) {
#pragma unroll
      for (int j = 0; j < Block::nt; ++j) {
        multiply_add<element>(sums[i][j], a_fragment[i], b_fragment[j / 2][j % 2 * 2],
                              b_fragment[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

// ---- results ----

// Bias, ReLU, conversion, stores. `first_col`: the block's first channel of the group.
template <typename Block>
__device__ __forceinline__ void finish(const Product& p, const Sums<Block>& sums, const Corner<Block>& corner,
                                       const std::int64_t* destinations, int group, int first_col) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool last = p.partial == nullptr;
  float bias[Block::nt][2] = {};
  if (last && p.bias != nullptr) {
#pragma unroll
    for (int j = 0; j < Block::nt; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int channel = first_col + corner.col + j * 8 + lane % 4 * 2 + e;
        if (channel < p.row.channels) bias[j][e] = __ldg(p.bias + group * p.row.channels + channel);
      }
    }
  }
  const std::int64_t origin =
      (last ? 0 : static_cast<std::int64_t>(blockIdx.y) * p.positions * p.all_outputs) +
      group * p.row.channels;
#pragma unroll
  for (int i = 0; i < Block::mt; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t destination = destinations[corner.row + i * 16 + half * 8 + lane / 4];
#pragma unroll
      for (int j = 0; j < Block::nt; j += 4) {
        float y[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const float sum = sums[i][j + e / 2][half * 2 + e % 2];
          y[e] = last && p.bias != nullptr ? __fadd_rn(sum, bias[j + e / 2][e % 2]) : sum;
          if (last && p.relu && y[e] <= 0.0F) y[e] = 0.0F;
        }
        const int first = first_col + corner.col + j * 8;
        if (!last) {
          store_f32(p.row, y, p.partial + origin + destination, destination >= 0, first);
        } else if (p.row.type == DType::f32) {
          store_f32(p.row, y, static_cast<float*>(p.output) + origin + destination, destination >= 0, first);
        } else {
          store_16_bit(p.row, y, static_cast<std::uint16_t*>(p.output) + origin + destination,
                       destination >= 0, first);
        }
      }
    }
  }
}

// Writes those outputs of the block again that infinities and NaN reach.
template <typename Block>
__device__ __forceinline__ void spread(const Product& p, const std::int64_t* destinations, unsigned first,
                                       int group, int first_col) {
  if (!spread_wanted(p.spread, read_account(p.spread))) return;
  __syncthreads();
  const int end = min(first_col + Block::cols, p.row.channels);
  for (int n = static_cast<int>(threadIdx.x) / 32; n < Block::rows; n += Block::threads / 32) {
    if (destinations[n] < 0) break;
    const auto position = static_cast<int>(first) + n;
    const int line = position / p.out_cols;
    const int image = line / p.out_rows;
    spread_position(p.spread, p.unpacked,
                    {image, line - image * p.out_rows, position - line * p.out_cols, group}, first_col, end,
                    p.row.type, p.output,
                    destinations[n] + static_cast<std::int64_t>(group) * p.row.channels);
  }
}

template <Element element, typename Block>
__global__ void __launch_bounds__(Block::threads, Block::resident) multiply(const Product p) {
  extern __shared__ __align__(128) std::byte dynamic_shared[];
  const unsigned ring = shared_address(dynamic_shared);
  Source* const sources = reinterpret_cast<Source*>(dynamic_shared + Block::ring * Block::stage_bytes);
  std::int64_t* const destinations = reinterpret_cast<std::int64_t*>(sources + Block::rows);

  const int position_block = static_cast<int>(blockIdx.x) / p.channel_blocks;
  const int channel_block = static_cast<int>(blockIdx.x) - position_block * p.channel_blocks;
  const int group = channel_block / p.group_blocks;
  const int first_col = (channel_block - group * p.group_blocks) * Block::cols;
  list_positions<Block>(p, static_cast<unsigned>(position_block) * Block::rows, group, sources, destinations);
  const std::int64_t segment = blockIdx.y;
  int stage = static_cast<int>(segment * p.stages / p.segments);  // as MatrixLayer::segment_begin
  const int end = static_cast<int>((segment + 1) * p.stages / p.segments);
  __syncthreads();

  Cursor fetch(p, stage);
  int use_chunk = fetch.chunk;
  FilterCopies<Block> filters(p, group, first_col, fetch, fetch.ky * p.kernel_w + fetch.kx);
  InputCopies<Block> input;
  input.aim(p, sources, fetch);
  int fetched = stage;
  int fetch_place = 0;
  const auto copy = [&] {
    if (fetched < end) {
      const unsigned to = ring + fetch_place * Block::stage_bytes;
      input.copy(p, to, fetch);
      filters.copy(p, to + Block::input_bytes, fetch.bytes(p));
      fetch_place = fetch_place == Block::ring - 1 ? 0 : fetch_place + 1;
      ++fetched;
      if (fetch.advance(p) && fetched < end) input.aim(p, sources, fetch);
    }
    commit_copies();
  };
#pragma unroll 1
  for (int n = 0; n < Block::ring - 1; ++n) copy();

  Sums<Block> sums = {};
  const Corner<Block> corner;
  int use_place = 0;
#pragma unroll 1
  for (; stage < end; ++stage) {
    wait_for_copies<Block::ring - 2>();
    __syncthreads();
    copy();
    const unsigned at = ring + use_place * Block::stage_bytes;
    const unsigned filters_at = at + Block::input_bytes;
    use_place = use_place == Block::ring - 1 ? 0 : use_place + 1;
    if (use_chunk < p.whole_chunks) {
      multiply_steps<element, Block, 128>(sums, corner, at, filters_at, 0);
    } else {
      unsigned rest = filters_at;
      if ((p.rest_bytes & 64) != 0) {
        multiply_steps<element, Block, 64>(sums, corner, at, rest, 0);
        rest += Block::cols * 64;
      }
      if ((p.rest_bytes & 32) != 0) {
        multiply_steps<element, Block, 32>(sums, corner, at, rest, p.rest_bytes & 64);
      }
    }
    if (++use_chunk == p.tap_stages) use_chunk = 0;
  }
  finish<Block>(p, sums, corner, destinations, group, first_col);
  spread<Block>(p, destinations, static_cast<unsigned>(position_block) * Block::rows, group, first_col);
}

// ---- launching ----

struct MmaKernel {
  unsigned threads = 0;
  std::size_t shared = 0;
  void (*kernel)(Product) = nullptr;
};

template <std::size_t... index>
constexpr std::array<BlockShape, block_count> shapes_of(std::index_sequence<index...>) {
  return {BlockShape{std::tuple_element_t<index, MmaBlocks>::rows,
                     std::tuple_element_t<index, MmaBlocks>::cols}...};
}

template <Element element, std::size_t... index>
constexpr std::array<MmaKernel, block_count> kernels_of(std::index_sequence<index...>) {
  return {MmaKernel{std::tuple_element_t<index, MmaBlocks>::threads,
                    shared_bytes<std::tuple_element_t<index, MmaBlocks>>,
                    multiply<element, std::tuple_element_t<index, MmaBlocks>>}...};
}

std::size_t shape_index(BlockShape shape) {
  for (std::size_t n = 0; n < block_count; ++n) {
    if (mma_shapes()[n].rows == shape.rows && mma_shapes()[n].cols == shape.cols) return n;
  }
  throw ShapeError("multiply_mma has no blocks of " + std::to_string(shape.rows) + "x" +
                   std::to_string(shape.cols));
}

// With its shared memory, of which more than 48 KiB must be asked for: once a kernel and device.
const MmaKernel& kernel_for(Element element, std::size_t shape) {
  constexpr auto all = std::make_index_sequence<block_count>();
  static constexpr std::array<std::array<MmaKernel, block_count>, 3> kernels{
      kernels_of<Element::bf16>(all), kernels_of<Element::f16>(all), kernels_of<Element::tf32>(all)};
  static std::array<std::array<PerDevice<bool>, block_count>, 3> asked;
  const auto row = static_cast<std::size_t>(element);
  const MmaKernel& kernel = kernels[row][shape];
  if (!asked[row][shape].here()) {
    check_cuda(cudaFuncSetAttribute(kernel.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(kernel.shared)),
               "asking for shared memory");
    asked[row][shape].here() = true;
  }
  return kernel;
}

bool vector_stores(const MatrixLayer& layer, const MatrixCall& call) {
  if (layer.segments > 1) {
    return reinterpret_cast<std::uintptr_t>(call.partial) % 16 == 0 && layer.groups * layer.out % 4 == 0 &&
           (layer.groups == 1 || layer.out % 4 == 0);
  }
  const std::int64_t unit = 16 / size_of(call.output_type);
  return reinterpret_cast<std::uintptr_t>(call.output) % 16 == 0 && call.output_image_stride % unit == 0 &&
         call.output_row_stride % unit == 0 && call.output_col_stride % unit == 0 &&
         (layer.groups == 1 || layer.out % unit == 0);
}

Product product(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape) {
  const std::int64_t element = size_of(layer.element);
  Product p{};
  p.input = static_cast<const std::byte*>(call.input);
  p.image_stride = call.image_stride * element;
  p.row_stride = call.row_stride * element;
  p.col_stride = call.col_stride * element;
  p.rows = device_int(call.rows, "the number of rows");
  p.cols = device_int(call.cols, "the number of columns");
  p.first_row = device_int(call.first_row, "a row");
  p.first_col = device_int(call.first_col, "a column");
  p.stride_h = device_int(layer.stride.height, "a stride");
  p.stride_w = device_int(layer.stride.width, "a stride");
  p.dilation_h = device_int(layer.dilation.height, "a dilation");
  p.dilation_w = device_int(layer.dilation.width, "a dilation");
  p.kernel_w = device_int(layer.kernel.width, "a kernel");
  p.positions = device_int(call.positions(), "the number of positions");
  p.out_rows = device_int(call.outputs.height, "the number of rows");
  p.out_cols = device_int(call.outputs.width, "the number of columns");
  p.in_bytes = device_int(layer.in * element, "the number of channels");
  p.tap_stages = device_int(layer.stages_of_tap(), "the number of channels");
  p.whole_chunks = device_int(layer.whole_chunks(), "the number of channels");
  p.rest_bytes = static_cast<int>(layer.rest_bytes());
  p.filters = call.filters;
  p.tap_filters = layer.filter_rows() * layer.in_bytes();
  p.group_filters = layer.kernel.area() * p.tap_filters;
  p.filter_rows = device_int(layer.filter_rows(), "the number of channels");
  p.group_blocks = device_int(divide_up<std::int64_t>(layer.out, shape.cols), "the number of channels");
  p.channel_blocks = device_int(layer.groups * p.group_blocks, "the number of channels");
  p.stages = device_int(layer.stages(), "the number of channels");
  p.segments = device_int(layer.segments, "the number of segments");
  p.output = call.output;
  p.row.type = call.output_type;
  p.output_image_stride = call.output_image_stride;
  p.output_row_stride = call.output_row_stride;
  p.output_col_stride = call.output_col_stride;
  p.row.channels = device_int(layer.out, "the number of channels");
  p.all_outputs = device_int(layer.groups * layer.out, "the number of channels");
  p.bias = call.bias;
  p.partial = layer.segments > 1 ? call.partial : nullptr;
  p.relu = layer.relu;
  p.row.vector = vector_stores(layer, call);
  if (p.partial == nullptr) p.spread = spread_layer(layer, call);  // else it is add_segments'
  p.unpacked = call.unpacked;
  return p;
}

}  // namespace

std::span<const BlockShape> mma_shapes() {
  static constexpr auto shapes = shapes_of(std::make_index_sequence<block_count>());
  return shapes;
}

void multiply_mma(const MatrixLayer& layer, const MatrixCall& call, BlockShape shape, cudaStream_t stream) {
  if (call.positions() == 0 || layer.out == 0) return;
  if (layer.split()) throw UnsupportedError("multiply_mma: f32 is for multiply_wgmma");
  if (call.output_type == DType::u8) throw UnsupportedError("multiply_mma: pixels are no output");
  const MmaKernel& kernel = kernel_for(layer.element, shape_index(shape));
  const Product p = product(layer, call, shape);
  const std::int64_t blocks =
      divide_up<std::int64_t>(p.positions, shape.rows) * static_cast<std::int64_t>(p.channel_blocks);
  if (p.segments > 65535) throw ShapeError("multiply_mma: too many segments for one launch (65535 at most)");
  const dim3 grid(static_cast<unsigned>(device_int(blocks, "the number of blocks")),
                  static_cast<unsigned>(p.segments));
  kernel.kernel<<<grid, kernel.threads, kernel.shared, stream>>>(p);
  check_launch("launching a product of matrices");
}

}  // namespace halotile::tensor_core
