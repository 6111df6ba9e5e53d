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
// double and rounded once. Every element of M is one chain of fused multiply-adds over the channels in
// ascending order, wherever its row lies; all else is computed element by element. So the bits depend on
// the output alone.
//
//   U  [16][group][panel][channel in][channel out of the panel], panels of 32 channels out, the last one
//      narrower, filled with zeros to a multiple of 16
//   V  [16][row][channel in] and M [16][row][group][channel out, filled to a multiple of 16], in scratch;
//      rows and slabs are padded so that they do not all fall into the same sets of the first-level cache
//
// Preconditions: those of reference.hpp; f32 maps; winograd_suits(layer).
// Source: Lavin and Gray 2016, Fast algorithms for convolutional neural networks.
#include "kernels/conv2d_winograd.hpp"

#include <omp.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/simd.hpp"

namespace halotile {
namespace {

constexpr std::int64_t products = 16;  // elementwise products of a block, one matrix product each
constexpr std::int64_t lanes = 16;     // floats of a vector
// 14 rows of 2 vectors: 28 accumulators, 2 vectors of weights and an input fit into 32 registers.
constexpr std::int64_t tile_rows = 14;
constexpr std::int64_t panel_vectors = 2;
constexpr std::int64_t panel_columns = panel_vectors * lanes;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Sizes that depend on the layer alone.
struct Sizes {
  explicit Sizes(const Conv2d& layer)
      : groups(layer.groups),
        in(layer.in_channels / layer.groups),
        out(layer.out_channels / layer.groups),
        out_filled(round_up(out, lanes)),
        panels((out + panel_columns - 1) / panel_columns),
        v_row(round_up(layer.in_channels, lanes) + lanes),
        m_row(groups * out_filled + lanes) {}

  [[nodiscard]] std::int64_t panel_vectors_at(std::int64_t panel) const {
    return std::min(panel_columns, out_filled - panel * panel_columns) / lanes;
  }
  [[nodiscard]] std::int64_t weight_offset(std::int64_t product, std::int64_t group,
                                           std::int64_t panel) const {
    return ((product * groups + group) * out_filled + panel * panel_columns) * in;
  }

  std::int64_t groups;
  std::int64_t in;          // channels a group
  std::int64_t out;         // channels a group
  std::int64_t out_filled;  // the same, with zeros
  std::int64_t panels;      // a group
  std::int64_t v_row;       // floats from row to row
  std::int64_t m_row;
};

// Along one axis: four inputs to the factors of four products, and four products to two outputs.
HALOTILE_INLINE std::array<float, 4> input_axis(float d0, float d1, float d2, float d3) {
  return {d0 - d2, d1 + d2, d2 - d1, d1 - d3};
}

HALOTILE_INLINE std::array<float, 2> output_axis(float m0, float m1, float m2, float m3) {
  return {m0 + m1 + m2, m1 - m2 - m3};
}

// B^T d B for every channel. taps: the 4x4 inputs; v: 16 results, `slab` floats apart.
HALOTILE_MULTIVERSION void transform_input(const std::array<const float*, products>& taps,
                                           std::int64_t channels, float* v, std::int64_t slab) {
  const std::array<const float*, products> x = taps;
#pragma GCC ivdep
  for (std::int64_t c = 0; c < channels; ++c) {
    std::array<std::array<float, 4>, 4> rows;  // [column][product row]
    for (std::size_t j = 0; j < 4; ++j) rows[j] = input_axis(x[j][c], x[4 + j][c], x[8 + j][c], x[12 + j][c]);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::array<float, 4> p = input_axis(rows[0][i], rows[1][i], rows[2][i], rows[3][i]);
      for (std::size_t j = 0; j < 4; ++j) v[static_cast<std::int64_t>(4 * i + j) * slab + c] = p[j];
    }
  }
}

// relu?(A^T m A + bias) for every channel. m: 16 products, `slab` floats apart; y: the 2x2 outputs.
HALOTILE_MULTIVERSION void transform_output(const float* m, std::int64_t slab, std::int64_t channels,
                                            const float* bias, bool relu, const std::array<float*, 4>& y) {
  const std::array<float*, 4> to = y;
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
        to[2 * a + b][c] = sum < least ? least : sum;
      }
    }
  }
}

// One product of `rows` rows and a panel: m[r][o] = sum over c of v[r][c] u[c][o], one chain for each.
struct Product {
  const float* v;
  std::int64_t v_row;
  const float* u;
  std::int64_t channels;  // of the sum
  float* m;
  std::int64_t m_row;
  const float* ahead;  // a line of it is fetched into the second-level cache at each step
  std::int64_t ahead_step;
};

#if defined(__x86_64__)
template <int rows, int vectors>
__attribute__((target("avx512f"))) void multiply(const Product& p) {
  const float* v = p.v;
  const float* u = p.u;
  const float* ahead = p.ahead;
  __m512 sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int o = 0; o < vectors; ++o) sum[r][o] = _mm512_setzero_ps();
  }
  for (std::int64_t c = 0; c < p.channels; ++c) {
    _mm_prefetch(ahead, _MM_HINT_T1);
    ahead += p.ahead_step;
    __m512 w[vectors];
#pragma GCC unroll 16
    for (int o = 0; o < vectors; ++o) w[o] = _mm512_loadu_ps(u + o * lanes);
    u += vectors * lanes;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const __m512 x = _mm512_set1_ps(v[r * p.v_row + c]);
#pragma GCC unroll 16
      for (int o = 0; o < vectors; ++o) sum[r][o] = _mm512_fmadd_ps(x, w[o], sum[r][o]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 16
    for (int o = 0; o < vectors; ++o) _mm512_storeu_ps(p.m + r * p.m_row + o * lanes, sum[r][o]);
  }
}

bool cpu_suits() { return __builtin_cpu_supports("avx512f") != 0; }
#else
template <int rows, int vectors>
void multiply(const Product& p) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < vectors * lanes; ++o) {
      float sum = 0.0F;
      for (std::int64_t c = 0; c < p.channels; ++c) {
        sum = std::fma(p.v[r * p.v_row + c], p.u[c * vectors * lanes + o], sum);
      }
      p.m[r * p.m_row + o] = sum;
    }
  }
}

bool cpu_suits() { return false; }
#endif

using Multiply = void (*)(const Product&);

template <int vectors, int... rows>
constexpr std::array<Multiply, tile_rows> multiplies_of(std::integer_sequence<int, rows...>) {
  return {multiply<rows + 1, vectors>...};
}

// [vectors - 1][rows - 1]
template <int... vectors>
constexpr std::array<std::array<Multiply, tile_rows>, panel_vectors> all_multiplies(
    std::integer_sequence<int, vectors...>) {
  return {multiplies_of<vectors + 1>(std::make_integer_sequence<int, tile_rows>())...};
}

constexpr auto multiplies = all_multiplies(std::make_integer_sequence<int, panel_vectors>());

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

class WinogradOperation final : public Operation {
 public:
  WinogradOperation(const Conv2d& layer, const float* weight, const MapGeometry& out, int threads)
      : layer_(layer),
        sizes_(layer),
        weight_(weight),
        zeros_(static_cast<std::size_t>(std::max(layer.in_channels, layer.out_channels)), 0.0F) {
    // Slabs large enough to use each weight often, and small enough for the caches.
    constexpr std::int64_t slab_floats = std::int64_t{1} << 18;
    const std::int64_t rows = slab_floats / (products * (sizes_.v_row + sizes_.m_row)) / tile_rows;
    // Tiles of one extent that begin at odd coordinates cut the most blocks.
    const Extent2 e = out.rect.extent();
    const std::int64_t most = out.images * (e.height / 2 + 1) * (e.width / 2 + 1);
    rows_ = std::min(std::max<std::int64_t>(rows, 2) * tile_rows, most);
    v_slab_ = rows_ * sizes_.v_row + lanes;
    m_slab_ = rows_ * sizes_.m_row + lanes;
    // Threads take slabs of their own, or where those are few, share each one.
    const bool enough = (most + rows_ - 1) / std::max<std::int64_t>(rows_, 1) >= 2 * threads;
    slab_threads_ = enough ? threads : 1;
    inner_threads_ = enough ? 1 : threads;
  }

  void run(const ConstMapView& in, const MapView& out, const RunContext& context) override {
    float* const scratch = reinterpret_cast<float*>(context.scratch.data());
    const Rect blocks{halves(out.rect.rows), halves(out.rect.cols)};
    const std::int64_t count = out.images * blocks.area();
    if (count == 0) return;
    for_each(slab_threads_, (count + rows_ - 1) / rows_, [&](std::int64_t slab) {
      const std::int64_t thread = slab_threads_ > 1 ? omp_get_thread_num() : 0;
      const Interval run{slab * rows_, std::min((slab + 1) * rows_, count)};
      run_slab(in, out, blocks, run, scratch + thread * products * (v_slab_ + m_slab_));
    });
  }

  [[nodiscard]] std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(slab_threads_ * products * (v_slab_ + m_slab_)) * sizeof(float);
  }

 private:
  // 2x2 outputs; coordinates count blocks.
  struct Block {
    std::int64_t image;
    std::int64_t row;
    std::int64_t col;
  };

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

  [[nodiscard]] const float* bias() const { return layer_.bias.empty() ? zeros_.data() : layer_.bias.data(); }

  [[nodiscard]] std::array<const float*, products> taps(const ConstMapView& in, const Block& b) const {
    const Rect inside = intersect(in.rect, Rect::whole(in.whole));
    std::array<const float*, products> taps;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t row = 2 * b.row - layer_.window.padding.height + i;
      for (std::int64_t j = 0; j < 4; ++j) {
        const std::int64_t col = 2 * b.col - layer_.window.padding.width + j;
        const bool read = inside.rows.contains(row) && inside.cols.contains(col);
        taps[static_cast<std::size_t>(4 * i + j)] = read ? in.at<float>(b.image, row, col) : zeros_.data();
      }
    }
    return taps;
  }

  static std::array<float*, 4> outputs(const MapView& out, const Block& b, std::int64_t channel,
                                       float* unowned) {
    std::array<float*, 4> y;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t row = 2 * b.row + i / 2;
      const std::int64_t col = 2 * b.col + i % 2;
      const bool owned = out.rect.rows.contains(row) && out.rect.cols.contains(col);
      y[static_cast<std::size_t>(i)] = owned ? out.at<float>(b.image, row, col) + channel : unowned;
    }
    return y;
  }

  // Numbers `run` of the images' blocks.
  void run_slab(const ConstMapView& in, const MapView& out, const Rect& blocks, Interval run,
                float* v) const {
    float* const m = v + products * v_slab_;
    for_each(inner_threads_, run.size(), [&](std::int64_t row) {
      transform_input(taps(in, block(blocks, run.begin + row)), layer_.in_channels, v + row * sizes_.v_row,
                      v_slab_);
    });
    for_each(inner_threads_, products * sizes_.groups * sizes_.panels,
             [&](std::int64_t part) { multiply_panel(part, run.size(), v, m); });
    for_each(inner_threads_, run.size(), [&](std::int64_t row) {
      const Block b = block(blocks, run.begin + row);
      for (std::int64_t group = 0; group < sizes_.groups; ++group) {
        const std::int64_t first = group * sizes_.out;
        float* const from = m + row * sizes_.m_row + group * sizes_.out_filled;
        // Outputs that the tile does not own overwrite the product that they were made of.
        transform_output(from, m_slab_, sizes_.out, bias() + first, layer_.relu,
                         outputs(out, b, first, from));
      }
    });
  }

  // Part: product, group and panel, in the order of the weight in memory.
  void multiply_panel(std::int64_t part, std::int64_t rows, const float* v, float* m) const {
    const std::int64_t panel = part % sizes_.panels;
    const std::int64_t group = part / sizes_.panels % sizes_.groups;
    const std::int64_t product = part / sizes_.panels / sizes_.groups;
    const std::int64_t vectors = sizes_.panel_vectors_at(panel);
    const float* const u = weight_ + sizes_.weight_offset(product, group, panel);
    const auto& kernels = multiplies[static_cast<std::size_t>(vectors - 1)];
    const std::int64_t tiles = (rows + tile_rows - 1) / tile_rows;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const Interval run{tile * rows / tiles, (tile + 1) * rows / tiles};
      // While a panel is in use, the next one comes nearer: its share of every tile is one line a channel.
      const bool fetch = tile < vectors;
      kernels[static_cast<std::size_t>(run.size() - 1)](
          {v + product * v_slab_ + run.begin * sizes_.v_row + group * sizes_.in, sizes_.v_row, u, sizes_.in,
           m + product * m_slab_ + run.begin * sizes_.m_row + group * sizes_.out_filled +
               panel * panel_columns,
           sizes_.m_row, fetch ? u + (vectors + tile) * lanes * sizes_.in : u, fetch ? lanes : 0});
    }
  }

  Conv2d layer_;
  Sizes sizes_;
  const float* weight_;
  int slab_threads_;          // that work on different slabs
  int inner_threads_;         // that share a slab
  std::vector<float> zeros_;  // read outside in.rect, and for a bias that is not there
  std::int64_t rows_;         // of V and M
  std::int64_t v_slab_;       // floats from product to product
  std::int64_t m_slab_;
};

}  // namespace

bool winograd_suits(const Conv2d& layer) {
  constexpr std::int64_t least_channels = 64;
  const Window& w = layer.window;
  return w.kernel == Extent2{3, 3} && w.stride == Extent2{1, 1} && w.dilation == Extent2{1, 1} &&
         layer.in_channels / layer.groups >= least_channels &&
         layer.out_channels / layer.groups >= least_channels && cpu_suits();
}

Buffer winograd_weight(const Conv2d& layer, Device& device) {
  const Sizes sizes(layer);
  const std::int64_t count = products * sizes.groups * sizes.out_filled * sizes.in;
  Buffer buffer = device.allocate(static_cast<std::size_t>(count) * sizeof(float));
  float* const u = reinterpret_cast<float*>(buffer.data());
  std::fill_n(u, count, 0.0F);
  const auto axis = [](double g0, double g1, double g2) {
    return std::array<double, 4>{g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2};
  };
  for (std::int64_t c = 0; c < sizes.in; ++c) {
    for (std::int64_t o = 0; o < layer.out_channels; ++o) {
      const std::int64_t group = o / sizes.out;
      const std::int64_t panel = o % sizes.out / panel_columns;
      const std::int64_t columns = sizes.panel_vectors_at(panel) * lanes;
      const float* g = layer.weight.data() + (o * sizes.in + c) * 9;
      std::array<std::array<double, 4>, 3> rows;  // [column][product row]
      for (std::size_t j = 0; j < 3; ++j) rows[j] = axis(double{g[j]}, double{g[3 + j]}, double{g[6 + j]});
      for (std::size_t i = 0; i < 4; ++i) {
        const std::array<double, 4> p = axis(rows[0][i], rows[1][i], rows[2][i]);
        for (std::size_t j = 0; j < 4; ++j) {
          u[sizes.weight_offset(static_cast<std::int64_t>(4 * i + j), group, panel) + c * columns +
            o % sizes.out % panel_columns] = static_cast<float>(p[j]);
        }
      }
    }
  }
  return buffer;
}

std::unique_ptr<Operation> winograd_conv2d(const Conv2d& layer, const Buffer& weight, const MapGeometry& out,
                                           int threads) {
  return std::make_unique<WinogradOperation>(layer, reinterpret_cast<const float*>(weight.data()), out,
                                             threads);
}

}  // namespace halotile
