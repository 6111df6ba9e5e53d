// Winograd convolution F(2x2, 3x3): 16 multiplications for four outputs of a 3x3 kernel instead of 36.
//
//   y = A^T [(G g G^T) (.) (B^T d B)] A for each block of 2x2 outputs, d its 4x4 inputs, (.) element by
//   element and summed over the input channels; along one axis, with the points 0, 1, -1 and infinity:
//     m0 = (d0 - d2) g0             y0 = m0 + m1 + m2
//     m1 = (d1 + d2) (g0+g1+g2)/2   y1 = m1 - m2 - m3
//     m2 = (d2 - d1) (g0-g1+g2)/2
//     m3 = (d1 - d3) g2
//
// Blocks lie on the even coordinates of the whole output map. A tile whose core cuts a block computes it and
// stores its own outputs only; it needs no more than its exact halo for them, because y0 does not depend on
// d3, nor y1 on d0: positions outside in.rect are read as zero, which is what they are outside the image and
// does not matter elsewhere.
//
// Work goes by slabs of some blocks (rows), images one after another: V (16, rows, channels in) is the input
// transformed, M (16, rows, channels out) = V U by 16 matrix products a group, U the weight transformed in
// double and rounded once. Every element of M is one chain over the channels in ascending order, wherever its
// row lies; all else is computed element by element. So the bits depend on the output alone.
//
// U and V have the maps' element type, M and all other arithmetic is f32. A step of the chain takes what 32
// bits hold: a channel of f32 in a fused multiply-add, or two of bf16 in one vdpbf16ps, whose products are
// exact. So bf16 rounds V and U once each, and the output.
//
//   U  [16][group][panel][step][channel out of the panel][channel in of the step], panels of 32 channels out,
//      the last one narrower, filled with zeros to a multiple of 16
//   V  [16][row][group][channel in, filled with zeros to whole steps] and
//   M  [16][row][group][channel out, filled to a multiple of 16], in scratch; rows and slabs are padded so
//      that they do not all fall into the same sets of the first-level cache
//
// Preconditions: those of reference.hpp; in and out of one element type T; winograd_suits(layer, T).
// Source: Lavin and Gray 2016, Fast algorithms for convolutional neural networks.
#include "kernels/engines/cpu/conv2d_winograd.hpp"

#include <omp.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/simd.hpp"
#include "kernels/engines/rounding.hpp"

namespace halotile {
namespace {

constexpr std::int64_t products = 16;  // elementwise products of a block, one matrix product each
constexpr std::int64_t lanes = 16;     // words of a vector
// 14 rows of 2 vectors: 28 accumulators, 2 vectors of weights and an input fit into 32 registers.
constexpr std::int64_t tile_rows = 14;
constexpr std::int64_t panel_vectors = 2;
constexpr std::int64_t panel_columns = panel_vectors * lanes;

// Channels that a step of a chain takes: those of a word of 32 bits.
template <typename T>
constexpr std::int64_t depth = 4 / sizeof(T);

// Sizes that depend on the layer and the element type alone.
template <typename T>
struct Sizes {
  explicit Sizes(const Conv2d& layer)
      : groups(layer.groups),
        in(layer.in_channels / layer.groups),
        in_filled(round_up(in, depth<T>)),
        out(layer.out_channels / layer.groups),
        out_filled(round_up(out, lanes)),
        panels((out + panel_columns - 1) / panel_columns),
        v_row(round_up(groups * in_filled, line) + line),
        m_row(groups * out_filled + lanes) {}

  [[nodiscard]] std::int64_t panel_vectors_at(std::int64_t panel) const {
    return std::min(panel_columns, out_filled - panel * panel_columns) / lanes;
  }
  [[nodiscard]] std::int64_t weight_offset(std::int64_t product, std::int64_t group,
                                           std::int64_t panel) const {
    return ((product * groups + group) * out_filled + panel * panel_columns) * in_filled;
  }

  static constexpr std::int64_t line = lanes * depth<T>;  // elements of a vector

  std::int64_t groups;
  std::int64_t in;          // channels a group
  std::int64_t in_filled;   // the same, with zeros
  std::int64_t out;         // channels a group
  std::int64_t out_filled;  // the same, with zeros
  std::int64_t panels;      // a group
  std::int64_t v_row;       // elements from row to row
  std::int64_t m_row;
};

// Along one axis: four inputs to the factors of four products, and four products to two outputs.
HALOTILE_INLINE std::array<float, 4> input_axis(float d0, float d1, float d2, float d3) {
  return {d0 - d2, d1 + d2, d2 - d1, d1 - d3};
}

HALOTILE_INLINE std::array<float, 2> output_axis(float m0, float m1, float m2, float m3) {
  return {m0 + m1 + m2, m1 - m2 - m3};
}

// B^T d B for every channel. taps: the 4x4 inputs; v: 16 results, `slab` elements apart.
template <typename T>
HALOTILE_INLINE void input_of(const std::array<const T*, products>& taps, std::int64_t channels, float* v,
                              std::int64_t slab) {
  const std::array<const T*, products> x = taps;
#pragma GCC ivdep
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto d = [&](std::size_t tap) { return static_cast<float>(x[tap][c]); };
    std::array<std::array<float, 4>, 4> rows;  // [column][product row]
    for (std::size_t j = 0; j < 4; ++j) rows[j] = input_axis(d(j), d(4 + j), d(8 + j), d(12 + j));
    for (std::size_t i = 0; i < 4; ++i) {
      const std::array<float, 4> p = input_axis(rows[0][i], rows[1][i], rows[2][i], rows[3][i]);
      for (std::size_t j = 0; j < 4; ++j) v[static_cast<std::int64_t>(4 * i + j) * slab + c] = p[j];
    }
  }
}

HALOTILE_MULTIVERSION void transform_input(const std::array<const float*, products>& taps,
                                           std::int64_t channels, float* v, std::int64_t slab) {
  input_of(taps, channels, v, slab);
}
HALOTILE_MULTIVERSION void transform_input(const std::array<const Bfloat16*, products>& taps,
                                           std::int64_t channels, Bfloat16* v, std::int64_t slab) {
  // In two steps, by way of the first-level cache: compilers do not make vectors of both at once.
  constexpr std::int64_t block = 64;
  std::array<float, products * block> exact;
  std::array<const Bfloat16*, products> x;
  for (std::int64_t c = 0; c < channels; c += block) {
    const std::int64_t count = std::min(block, channels - c);
    for (std::size_t p = 0; p < products; ++p) x[p] = taps[p] + c;
    input_of(x, count, exact.data(), block);
    for (std::int64_t p = 0; p < products; ++p) {
      const float* __restrict from = exact.data() + p * block;
      Bfloat16* __restrict to = v + p * slab + c;
      for (std::int64_t i = 0; i < count; ++i) to[i] = Bfloat16(from[i]);
    }
  }
}

// relu?(A^T m A + bias) for every channel. m: 16 products, `slab` floats apart; y: the 2x2 outputs.
template <typename T>
HALOTILE_INLINE void output_of(const float* m, std::int64_t slab, std::int64_t channels, const float* bias,
                               bool relu, const std::array<T*, 4>& y) {
  const std::array<T*, 4> to = y;
  const float least = relu ? 0.0F : -std::numeric_limits<float>::infinity();
#pragma GCC ivdep
  for (std::int64_t c = 0; c < channels; ++c) {
    std::array<std::array<float, 2>, 4> rows;  // [column][output row]
    for (std::int64_t j = 0; j < 4; ++j) {
      rows[static_cast<std::size_t>(j)] =
          output_axis(m[j * slab + c], m[(4 + j) * slab + c], m[(8 + j) * slab + c], m[(12 + j) * slab + c]);
    }
    for (std::size_t a = 0; a < 2; ++a) {
      const std::array<float, 2> p = output_axis(rows[0][a], rows[1][a], rows[2][a], rows[3][a]);
      for (std::size_t b = 0; b < 2; ++b) {
        const float sum = p[b] + bias[c];
        to[2 * a + b][c] = static_cast<T>(sum < least ? least : sum);
      }
    }
  }
}

HALOTILE_MULTIVERSION void transform_output(const float* m, std::int64_t slab, std::int64_t channels,
                                            const float* bias, bool relu, const std::array<float*, 4>& y) {
  output_of(m, slab, channels, bias, relu, y);
}
HALOTILE_MULTIVERSION void transform_output(const float* m, std::int64_t slab, std::int64_t channels,
                                            const float* bias, bool relu, const std::array<Bfloat16*, 4>& y) {
  output_of(m, slab, channels, bias, relu, y);
}

// One product of `rows` rows and a panel: m[r][o] = sum over c of v[r][c] u[c][o], one chain for each.
template <typename T>
struct Product {
  const T* v;
  std::int64_t v_row;
  const T* u;
  std::int64_t steps;  // of the sum
  float* m;
  std::int64_t m_row;
  const T* ahead;  // a line of it is fetched into the second-level cache at each step
  std::int64_t ahead_step;
};

#if defined(__x86_64__)
// The channels of one step in every lane.
template <typename T>
__attribute__((target("avx512f"), always_inline)) inline __m512 broadcast(const T* channels) {
  float word;
  std::memcpy(&word, channels, sizeof(word));
  return _mm512_set1_ps(word);
}

template <typename T>
__attribute__((target("avx512f"), always_inline)) inline __m512 step(__m512 x, __m512 w, __m512 sum) {
  if constexpr (depth<T> == 1) {
    return _mm512_fmadd_ps(x, w, sum);
  } else {
    // _mm512_dpbf16_ps would need another target for the one template that all element types share.
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
  }
}

template <typename T, int rows, int vectors>
__attribute__((target("avx512f"))) void multiply(const Product<T>& p) {
  const T* v = p.v;
  const T* u = p.u;
  const T* ahead = p.ahead;
  __m512 sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int o = 0; o < vectors; ++o) sum[r][o] = _mm512_setzero_ps();
  }
  for (std::int64_t s = 0; s < p.steps; ++s) {
    _mm_prefetch(ahead, _MM_HINT_T1);
    ahead += p.ahead_step;
    __m512 w[vectors];
#pragma GCC unroll 16
    for (int o = 0; o < vectors; ++o) w[o] = _mm512_loadu_ps(u + o * lanes * depth<T>);
    u += vectors * lanes * depth<T>;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const __m512 x = broadcast(v + r * p.v_row + s * depth<T>);
#pragma GCC unroll 16
      for (int o = 0; o < vectors; ++o) sum[r][o] = step<T>(x, w[o], sum[r][o]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int o = 0; o < vectors; ++o) _mm512_storeu_ps(p.m + r * p.m_row + o * lanes, sum[r][o]);
  }
}

bool cpu_suits(DType type) {
  return __builtin_cpu_supports("avx512f") != 0 && (type == DType::f32 || cpu_has_bf16());
}
#else
template <typename T, int rows, int vectors>
void multiply(const Product<T>& p) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < vectors * lanes; ++o) {
      float sum = 0.0F;
      for (std::int64_t c = 0; c < p.steps * depth<T>; ++c) {
        const T w = p.u[(c / depth<T> * vectors * lanes + o) * depth<T> + c % depth<T>];
        sum = std::fma(static_cast<float>(p.v[r * p.v_row + c]), static_cast<float>(w), sum);
      }
      p.m[r * p.m_row + o] = sum;
    }
  }
}

bool cpu_suits(DType) { return false; }
#endif

template <typename T>
using Multiply = void (*)(const Product<T>&);

template <typename T, int vectors, int... rows>
constexpr std::array<Multiply<T>, tile_rows> multiplies_of(std::integer_sequence<int, rows...>) {
  return {multiply<T, rows + 1, vectors>...};
}

// [vectors - 1][rows - 1]
template <typename T, int... vectors>
constexpr std::array<std::array<Multiply<T>, tile_rows>, panel_vectors> all_multiplies(
    std::integer_sequence<int, vectors...>) {
  return {multiplies_of<T, vectors + 1>(std::make_integer_sequence<int, tile_rows>())...};
}

template <typename T>
constexpr auto multiplies = all_multiplies<T>(std::make_integer_sequence<int, panel_vectors>());

// Calls what(i) for i in [0, count), side by side if there are several threads.
template <typename What>
void for_each(int threads, std::int64_t count, const What& what) {
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) what(i);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < count; ++i) what(i);
}

template <typename T>
class WinogradOperation final : public Operation {
 public:
  WinogradOperation(const Conv2d& layer, const Buffer& weight, const MapGeometry& out, int threads)
      : layer_(layer),
        sizes_(layer),
        weight_(reinterpret_cast<const T*>(weight.data())),
        zeros_(static_cast<std::size_t>(layer.in_channels)),
        bias_(static_cast<std::size_t>(layer.out_channels), 0.0F) {
    std::copy(layer.bias.begin(), layer.bias.end(), bias_.begin());
    // Slabs large enough to use each weight often, and small enough for the caches.
    constexpr std::int64_t slab_bytes = std::int64_t{1} << 20;
    const std::int64_t row_bytes = products * (sizes_.v_row * size<T> + sizes_.m_row * size<float>);
    const std::int64_t rows = slab_bytes / row_bytes / tile_rows;
    // Tiles of one extent that begin at odd coordinates cut the most blocks.
    const Extent2 e = out.rect.extent();
    const std::int64_t most = out.images * (e.height / 2 + 1) * (e.width / 2 + 1);
    rows_ = std::min(std::max<std::int64_t>(rows, 2) * tile_rows, most);
    v_slab_ = rows_ * sizes_.v_row + Sizes<T>::line;
    m_slab_ = rows_ * sizes_.m_row + lanes;
    // Threads take slabs of their own, or where those are few, share each one.
    const bool enough = (most + rows_ - 1) / std::max<std::int64_t>(rows_, 1) >= 2 * threads;
    slab_threads_ = enough ? threads : 1;
    inner_threads_ = enough ? 1 : threads;
  }

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    const Rect blocks{halves(out.rect.rows), halves(out.rect.cols)};
    const std::int64_t count = out.images * blocks.area();
    if (count == 0) return;
    for_each(slab_threads_, (count + rows_ - 1) / rows_, [&](std::int64_t slab) {
      if (stop_requested.load(std::memory_order_relaxed)) return;  // exceptions must not leave the loop
      const std::int64_t thread = slab_threads_ > 1 ? omp_get_thread_num() : 0;
      const Interval run{slab * rows_, std::min((slab + 1) * rows_, count)};
      run_slab(in, out, blocks, run, context.scratch.data() + thread * slab_bytes());
    });
    throw_if_stopped();
  }

  [[nodiscard]] std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(slab_threads_ * slab_bytes());
  }

 private:
  // 2x2 outputs; coordinates count blocks.
  struct Block {
    std::int64_t image;
    std::int64_t row;
    std::int64_t col;
  };

  template <typename U>
  static constexpr std::int64_t size = sizeof(U);

  // V, M, and outputs that a tile does not own.
  [[nodiscard]] std::int64_t slab_bytes() const {
    return products * v_slab_ * size<T> + (products + 1) * m_slab_ * size<float>;
  }

  // The blocks that positions lie in.
  static Interval halves(Interval positions) {
    return positions.empty() ? Interval{} : Interval{positions.begin / 2, (positions.end + 1) / 2};
  }

  // Number `index` of the images' blocks.
  static Block block(const Rect& blocks, std::int64_t index) {
    const std::int64_t cols = blocks.cols.size();
    const std::int64_t area = blocks.rows.size() * cols;
    const std::int64_t inside = index % area;
    return {index / area, blocks.rows.begin + inside / cols, blocks.cols.begin + inside % cols};
  }

  [[nodiscard]] std::array<const T*, products> taps(const ConstMapView& in, const Block& b,
                                                    std::int64_t channel) const {
    const Rect inside = intersect(in.rect, Rect::whole(in.whole));
    std::array<const T*, products> taps;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t row = 2 * b.row - layer_.window.padding.begin.height + i;
      for (std::int64_t j = 0; j < 4; ++j) {
        const std::int64_t col = 2 * b.col - layer_.window.padding.begin.width + j;
        const bool read = inside.rows.contains(row) && inside.cols.contains(col);
        taps[static_cast<std::size_t>(4 * i + j)] =
            read ? in.at<T>(b.image, row, col) + channel : zeros_.data();
      }
    }
    return taps;
  }

  static std::array<T*, 4> outputs(const MapView& out, const Block& b, std::int64_t channel, T* unowned) {
    std::array<T*, 4> y;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t row = 2 * b.row + i / 2;
      const std::int64_t col = 2 * b.col + i % 2;
      const bool owned = out.rect.rows.contains(row) && out.rect.cols.contains(col);
      y[static_cast<std::size_t>(i)] = owned ? out.at<T>(b.image, row, col) + channel : unowned;
    }
    return y;
  }

  // Numbers `run` of the images' blocks.
  void run_slab(const ConstMapView& in, const MapView& out, const Rect& blocks, Interval run,
                std::byte* scratch) const {
    T* const v = reinterpret_cast<T*>(scratch);
    float* const m = reinterpret_cast<float*>(v + products * v_slab_);
    float* const unowned = m + products * m_slab_;
    for_each(inner_threads_, run.size(), [&](std::int64_t row) {
      const Block b = block(blocks, run.begin + row);
      for (std::int64_t group = 0; group < sizes_.groups; ++group) {
        T* const to = v + row * sizes_.v_row + group * sizes_.in_filled;
        transform_input(taps(in, b, group * sizes_.in), sizes_.in, to, v_slab_);
        for (std::int64_t p = 0; p < products; ++p) {
          std::fill(to + p * v_slab_ + sizes_.in, to + p * v_slab_ + sizes_.in_filled, T{});
        }
      }
    });
    for_each(inner_threads_, products * sizes_.groups * sizes_.panels,
             [&](std::int64_t part) { multiply_panel(part, run.size(), v, m); });
    for_each(inner_threads_, run.size(), [&](std::int64_t row) {
      const Block b = block(blocks, run.begin + row);
      for (std::int64_t group = 0; group < sizes_.groups; ++group) {
        const std::int64_t first = group * sizes_.out;
        transform_output(m + row * sizes_.m_row + group * sizes_.out_filled, m_slab_, sizes_.out,
                         bias_.data() + first, layer_.relu,
                         outputs(out, b, first, reinterpret_cast<T*>(unowned + row * sizes_.m_row)));
      }
    });
  }

  // Part: product, group and panel, in the order of the weight in memory.
  void multiply_panel(std::int64_t part, std::int64_t rows, const T* v, float* m) const {
    const std::int64_t panel = part % sizes_.panels;
    const std::int64_t group = part / sizes_.panels % sizes_.groups;
    const std::int64_t product = part / sizes_.panels / sizes_.groups;
    const std::int64_t vectors = sizes_.panel_vectors_at(panel);
    const T* const u = weight_ + sizes_.weight_offset(product, group, panel);
    const auto& kernels = multiplies<T>[static_cast<std::size_t>(vectors - 1)];
    const std::int64_t tiles = (rows + tile_rows - 1) / tile_rows;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const Interval run{tile * rows / tiles, (tile + 1) * rows / tiles};
      // While a panel is in use, the next one comes nearer: its share of every tile is one line a step.
      const bool fetch = tile < vectors;
      kernels[static_cast<std::size_t>(run.size() - 1)](
          {v + product * v_slab_ + run.begin * sizes_.v_row + group * sizes_.in_filled, sizes_.v_row, u,
           sizes_.in_filled / depth<T>,
           m + product * m_slab_ + run.begin * sizes_.m_row + group * sizes_.out_filled +
               panel * panel_columns,
           sizes_.m_row, fetch ? u + (vectors + tile) * lanes * sizes_.in_filled : u,
           fetch ? Sizes<T>::line : 0});
    }
  }

  Conv2d layer_;
  Sizes<T> sizes_;
  const T* weight_;
  int slab_threads_;         // that work on different slabs
  int inner_threads_;        // that share a slab
  std::vector<T> zeros_;     // read outside in.rect
  std::vector<float> bias_;  // zeros where the layer has none
  std::int64_t rows_;        // of V and M
  std::int64_t v_slab_;      // elements from product to product
  std::int64_t m_slab_;
};

// To the nearest T, in one rounding.
template <typename T>
T narrow(double x) {
  if constexpr (std::is_same_v<T, Bfloat16>) {
    // Veltkamp's split leaves the 8 leading bits of 53: what a bf16 holds.
    const double c = x * (0x1p45 + 1);
    x = c - (c - x);
  }
  return static_cast<T>(static_cast<float>(x));
}

template <typename T>
Buffer weight_of(const Conv2d& layer, Device& device) {
  const Sizes<T> sizes(layer);
  const std::int64_t count = products * sizes.groups * sizes.out_filled * sizes.in_filled;
  Buffer buffer = device.allocate(static_cast<std::size_t>(count) * sizeof(T));
  T* const u = reinterpret_cast<T*>(buffer.data());
  std::fill_n(u, count, T{});
  const auto axis = [](double g0, double g1, double g2) {
    return std::array<double, 4>{g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2};
  };
  for (std::int64_t c = 0; c < sizes.in; ++c) {
    for (std::int64_t o = 0; o < layer.out_channels; ++o) {
      const std::int64_t group = o / sizes.out;
      const std::int64_t panel = o % sizes.out / panel_columns;
      const std::int64_t columns = sizes.panel_vectors_at(panel) * lanes;
      const std::int64_t column = o % sizes.out % panel_columns;
      const float* g = layer.weight.data() + (o * sizes.in + c) * 9;
      std::array<std::array<double, 4>, 3> rows;  // [column][product row]
      for (std::size_t j = 0; j < 3; ++j) rows[j] = axis(double{g[j]}, double{g[3 + j]}, double{g[6 + j]});
      for (std::size_t i = 0; i < 4; ++i) {
        const std::array<double, 4> p = axis(rows[0][i], rows[1][i], rows[2][i]);
        for (std::size_t j = 0; j < 4; ++j) {
          u[sizes.weight_offset(static_cast<std::int64_t>(4 * i + j), group, panel) +
            (c / depth<T> * columns + column) * depth<T> + c % depth<T>] = narrow<T>(p[j]);
        }
      }
    }
  }
  return buffer;
}

}  // namespace

bool winograd_suits(const Conv2d& layer, DType type) {
  constexpr std::int64_t least_channels = 64;
  const Window& w = layer.window;
  return w.kernel == Extent2{3, 3} && w.stride == Extent2{1, 1} && w.dilation == Extent2{1, 1} &&
         layer.in_channels / layer.groups >= least_channels &&
         layer.out_channels / layer.groups >= least_channels && cpu_suits(type);
}

Buffer winograd_weight(const Conv2d& layer, DType type, Device& device) {
  return type == DType::f32 ? weight_of<float>(layer, device) : weight_of<Bfloat16>(layer, device);
}

std::unique_ptr<Operation> winograd_conv2d(const Conv2d& layer, const Buffer& weight, const MapGeometry& out,
                                           int threads) {
  if (out.dtype == DType::f32) {
    return std::make_unique<WinogradOperation<float>>(layer, weight, out, threads);
  }
  return std::make_unique<WinogradOperation<Bfloat16>>(layer, weight, out, threads);
}

}  // namespace halotile
