// Fully connected layers on CUDA cores, fp32.
//
//   y(i, o) = relu?(bias(o) + sum over segments s of (sum over f in segment s of w(o, f) x(i, f)))
//   segments of 128 features; both sums ascending, the first a chain of fused multiply-adds
//
// x is (images, in_features) with any image stride, y (images, out_features); weights lie transposed,
// (in_features, out_features), so that neighbouring threads read neighbouring outputs.
//
// The order of the sums is fixed, so work is divided by segments, whose sums go through scratch memory
// (segments, images, outputs) and are added by a second kernel, one thread an output, ascending.
//   vector  a block takes 256 outputs of one segment for 1, 2, 4 or 8 images; the images' features lie in
//           static shared memory, every thread reads 4 outputs' weights 16 bytes at a time, 16 loads in
//           flight. Bound by memory: the weights are read once.
//   split   a block takes a register tile (register_tile.cuh) of images x outputs of one segment; slices of
//           16 features of both matrices pass through a ring in dynamic shared memory.
//   tile    as split, but the block goes through all segments and keeps the total in registers.
// Grid: x tiles of images (vector: of outputs), y tiles of outputs (vector: of images), z segments.
//
// Preconditions: those of cpu/reference.hpp. A block of features that does not begin at a multiple of 4 is
// computed from the multiple below on and stored from its begin on.
#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/direct/fully_connected.cuh"
#include "kernels/engines/cuda/direct/fully_connected.hpp"
#include "kernels/engines/cuda/direct/register_tile.cuh"
#include "kernels/engines/cuda/kernel_list.hpp"
#include "kernels/engines/exact_sums.hpp"

namespace halotile::direct {
namespace {

constexpr int segment = static_cast<int>(reference::fully_connected_segment);

__constant__ float constant_bias[ConstantSpace::capacity];

__device__ __forceinline__ float finish(const FullyConnectedParameters& p, float total, int o) {
  if (p.has_bias)
    total = __fadd_rn(total, p.bias_constant >= 0 ? constant_bias[p.bias_constant + o] : p.bias[o]);
  return p.relu && total < 0.0F ? 0.0F : total;
}

// ---- vector ----

constexpr int vector_threads = 64;
constexpr int vector_outputs = 4 * vector_threads;
constexpr int vector_ahead = 16;  // rows of weights in flight

// Weights are read once: they need no room in the L1 cache.
__device__ __forceinline__ float4 read_once(const float* from) {
  float4 v;
  asm volatile("ld.global.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(from));
  return v;
}

template <int images>
__global__ void __launch_bounds__(vector_threads) vector_sums(const FullyConnectedParameters p) {
  __shared__ float4 features[images][segment / 4];
  const int begin = static_cast<int>(blockIdx.z) * segment;
  const int count = min(segment, p.in_features - begin);
  const int first_image = static_cast<int>(blockIdx.y) * images;
  for (int n = static_cast<int>(threadIdx.x); n < images * segment; n += vector_threads) {
    const int image = first_image + n / segment;
    const int f = n % segment;
    reinterpret_cast<float*>(features)[n] =
        image < p.images && f < count ? p.in[image * p.in_stride + begin + f] : 0.0F;
  }
  __syncthreads();
  const int o = (static_cast<int>(blockIdx.x) * vector_threads + static_cast<int>(threadIdx.x)) * 4;
  if (o >= p.outputs) return;
  const float* from = p.filters + static_cast<std::int64_t>(begin) * p.filter_pitch + o;
  float acc[images][4] = {};
  const auto add = [&](const float4& w, int image, float x) {
    acc[image][0] = __fmaf_rn(x, w.x, acc[image][0]);
    acc[image][1] = __fmaf_rn(x, w.y, acc[image][1]);
    acc[image][2] = __fmaf_rn(x, w.z, acc[image][2]);
    acc[image][3] = __fmaf_rn(x, w.w, acc[image][3]);
  };
  int f = 0;
#pragma unroll 1
  for (; f + vector_ahead <= count; f += vector_ahead) {
    float4 w[vector_ahead];
#pragma unroll
    for (int k = 0; k < vector_ahead; ++k, from += p.filter_pitch) w[k] = read_once(from);
    __syncwarp();  // keeps the compiler from spreading the loads over the sums
#pragma unroll
    for (int k = 0; k < vector_ahead; k += 4) {
#pragma unroll
      for (int image = 0; image < images; ++image) {
        const float4 x = features[image][(f + k) / 4];
        add(w[k], image, x.x);
        add(w[k + 1], image, x.y);
        add(w[k + 2], image, x.z);
        add(w[k + 3], image, x.w);
      }
    }
  }
#pragma unroll 1
  for (; f < count; ++f, from += p.filter_pitch) {
    const float4 w = read_once(from);
#pragma unroll
    for (int image = 0; image < images; ++image) {
      add(w, image, reinterpret_cast<const float*>(features[image])[f]);
    }
  }
#pragma unroll
  for (int image = 0; image < images; ++image) {
    if (first_image + image >= p.images) continue;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.z) * p.images + first_image + image;
    *reinterpret_cast<float4*>(p.sums + row * p.sums_pitch + o) =
        make_float4(acc[image][0], acc[image][1], acc[image][2], acc[image][3]);
  }
}

// ---- the second pass ----

constexpr int add_threads = 128;

__global__ void __launch_bounds__(add_threads) add_segments(const FullyConnectedParameters p) {
  const int o = static_cast<int>(blockIdx.x * add_threads + threadIdx.x);
  const int image = static_cast<int>(blockIdx.y);
  if (o < p.first || o >= p.outputs) return;
  const float* sums = p.sums + static_cast<std::int64_t>(image) * p.sums_pitch + o;
  const std::int64_t step = static_cast<std::int64_t>(p.images) * p.sums_pitch;
  float total = *sums;
#pragma unroll 16
  for (int s = 1; s < p.segments; ++s) total = __fadd_rn(total, sums[s * step]);
  p.out[image * p.out_stride + o] = finish(p, total, o);
}

// ---- split and tile ----

template <typename Tile, bool split>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) tile_sums(const FullyConnectedParameters p) {
  extern __shared__ float4 dynamic_shared[];
  float* shared_filters = reinterpret_cast<float*>(dynamic_shared);
  float* shared_input = shared_filters + Tile::stages * Tile::filter_slice;
  const ThreadPlace place = thread_place<Tile>();
  const int first_output = static_cast<int>(blockIdx.y) * Tile::channels;
  const int begin = split ? static_cast<int>(blockIdx.z) * segment : 0;
  const int end = split ? min(begin + segment, p.in_features) : p.in_features;
  const int slices = divide_up(end - begin, slice_rows);
  // What lies beyond p.outputs is computed, not stored.
  FilterStager<Tile> filters(p.filters + static_cast<std::int64_t>(begin) * p.filter_pitch + first_output,
                             p.filter_pitch, p.filter_pitch - first_output);
  FeatureStager<Tile> features(p, begin);
  int fetched = 0;
  int fetch_stage = 0;
  const auto stage = [&] {
    if (fetched < slices) {
      filters.stage(shared_filters + fetch_stage * Tile::filter_slice, slice_rows);
      features.stage(p, shared_input + fetch_stage * Tile::input_slice, end - begin - fetched * slice_rows);
      ++fetched;
      fetch_stage = next_stage<Tile>(fetch_stage);
    }
    copy_async_commit();
  };
#pragma unroll 1
  for (int n = 0; n < Tile::stages - 1; ++n) stage();

  Accumulators<Tile> acc = {};
  Accumulators<Tile> total = {};
  int use_stage = 0;
#pragma unroll 1
  for (int slice = 0; slice < slices; ++slice) {
    copy_async_wait<Tile::stages - 2>();
    __syncthreads();
    stage();
    accumulate_slice<Tile>(acc, shared_input + use_stage * Tile::input_slice,
                           shared_filters + use_stage * Tile::filter_slice,
                           min(slice_rows, end - begin - slice * slice_rows + 3) / 4, place);
    use_stage = next_stage<Tile>(use_stage);
    if constexpr (!split) {
      constexpr int segment_slices = segment / slice_rows;
      if (slice % segment_slices == segment_slices - 1 || slice == slices - 1) {
        const bool first_segment = slice < segment_slices;
#pragma unroll
        for (int i = 0; i < Tile::mt; ++i) {
#pragma unroll
          for (int e = 0; e < 4 * Tile::nv; ++e) {
            total[i][e] = first_segment ? acc[i][e] : __fadd_rn(total[i][e], acc[i][e]);
            acc[i][e] = 0.0F;
          }
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < Tile::mt; ++i) {
    const int image = static_cast<int>(blockIdx.x) * Tile::pixels + place.pixel + i * Tile::pixel_threads;
    if (image >= p.images) continue;
#pragma unroll
    for (int j = 0; j < Tile::nv; ++j) {
      const int o = first_output + place.channel + j * 4 * Tile::channel_threads;
      if (o >= p.outputs) continue;
      if constexpr (split) {
        const std::int64_t row = static_cast<std::int64_t>(blockIdx.z) * p.images + image;
        *reinterpret_cast<float4*>(p.sums + row * p.sums_pitch + o) =
            make_float4(acc[i][4 * j], acc[i][4 * j + 1], acc[i][4 * j + 2], acc[i][4 * j + 3]);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (o + e >= p.first && o + e < p.outputs) {
            p.out[image * p.out_stride + o + e] = finish(p, total[i][4 * j + e], o + e);
          }
        }
      }
    }
  }
}

// ---- the weights' layout ----

constexpr int transpose_tile = 32;
constexpr int transpose_rows = 8;

// (outputs, in_features) to (padded in_features, pitch): a block turns a 32x32 square over in static shared
// memory. What pads in_features is -0, what pads outputs is 0.
__global__ void transpose(const float* weight, float* filters, int outputs, int in_features, int padded,
                          int pitch) {
  __shared__ float square[transpose_tile][transpose_tile + 1];
  const int x = static_cast<int>(threadIdx.x);
  const int feature0 = static_cast<int>(blockIdx.x) * transpose_tile;
  const int output0 = static_cast<int>(blockIdx.y) * transpose_tile;
  for (int y = static_cast<int>(threadIdx.y); y < transpose_tile; y += transpose_rows) {
    const int o = output0 + y;
    const int f = feature0 + x;
    square[y][x] = f >= in_features ? -0.0F
                   : o < outputs    ? weight[static_cast<std::int64_t>(o) * in_features + f]
                                    : 0.0F;
  }
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < transpose_tile; y += transpose_rows) {
    const int f = feature0 + y;
    const int o = output0 + x;
    if (f < padded && o < pitch) filters[static_cast<std::int64_t>(f) * pitch + o] = square[x][y];
  }
}

// ---- launching ----

using Kernel = void (*)(FullyConnectedParameters);
using SplitTiles =
    std::tuple<RegisterTile<8, 2, 4, 16, 6>, RegisterTile<4, 2, 8, 8, 8>, RegisterTile<4, 2, 4, 16, 8>>;
using TotalTiles = std::tuple<RegisterTile<8, 2, 8, 8, 4>>;

struct TileKernel {
  int images = 0;
  int outputs = 0;
  int threads = 0;
  std::size_t shared = 0;
  Kernel kernel = nullptr;
};

template <bool split, typename... Tile>
std::array<TileKernel, sizeof...(Tile)> tile_kernels(std::tuple<Tile...>*) {
  return {TileKernel{Tile::pixels, Tile::channels, Tile::threads, fully_connected_shared_bytes<Tile>(),
                     tile_sums<Tile, split>}...};
}

const auto split_kernels = tile_kernels<true>(static_cast<SplitTiles*>(nullptr));
const auto total_kernels = tile_kernels<false>(static_cast<TotalTiles*>(nullptr));

constexpr std::array<int, 4> vector_images{1, 2, 4, 8};
const std::array<Kernel, 4> vector_kernels{vector_sums<1>, vector_sums<2>, vector_sums<4>, vector_sums<8>};

const TileKernel& tile_kernel(const FullyConnectedVariant& variant) {
  const auto index = static_cast<std::size_t>(variant.tile);
  return variant.kernel == FullyConnectedKernel::split ? split_kernels[index] : total_kernels[index];
}

void write_constants(int offset, std::span<const float> values) {
  check_cuda(cudaMemcpyToSymbol(constant_bias, values.data(), values.size_bytes(),
                                static_cast<std::size_t>(offset) * sizeof(float)),
             "writing a bias to constant memory");
  check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "writing a bias to constant memory");
}

void allow_shared(Kernel kernel, std::size_t bytes) {
  check_cuda(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "asking for shared memory");
}

// Passes of the kernels that need scratch: 151 MB for 9216 features to 4096.
constexpr std::int64_t images_per_pass = 128;

std::int64_t segments_of(const FullyConnected& layer) {
  return divide_up<std::int64_t>(layer.in_features, segment);
}

// Slices are fetched whole: up to 15 rows behind the last may be read.
std::int64_t filter_rows(const FullyConnected& layer) {
  return divide_up<std::int64_t>(layer.in_features, 4) * 4 + slice_rows;
}

// A block of features may begin up to 3 outputs behind a multiple of 4.
std::int64_t sums_pitch(std::int64_t features) { return divide_up<std::int64_t>(features + 3, 4) * 4; }

unsigned grid_size(std::int64_t blocks, std::int64_t limit, const char* what) {
  if (blocks > limit) {
    throw ShapeError(std::string("fully_connected: too many ") + what +
                     " for one launch; use a smaller batch");
  }
  return static_cast<unsigned>(blocks);
}

// All outputs of the p.images images.
void launch_pass(const FullyConnectedParameters& p, const FullyConnectedVariant& variant,
                 cudaStream_t stream) {
  const unsigned segments = grid_size(p.segments, 65535, "features");
  if (variant.kernel == FullyConnectedKernel::vector) {
    const auto index = static_cast<std::size_t>(variant.tile);
    const dim3 grid(static_cast<unsigned>(divide_up(p.outputs, vector_outputs)),
                    static_cast<unsigned>(divide_up(p.images, vector_images[index])), segments);
    vector_kernels[index]<<<grid, vector_threads, 0, stream>>>(p);
  } else {
    const TileKernel& tile = tile_kernel(variant);
    const dim3 grid(static_cast<unsigned>(divide_up(p.images, tile.images)),
                    grid_size(divide_up(p.outputs, tile.outputs), 65535, "outputs"),
                    variant.kernel == FullyConnectedKernel::split ? segments : 1);
    tile.kernel<<<grid, static_cast<unsigned>(tile.threads), tile.shared, stream>>>(p);
  }
  check_launch("launching fully_connected");
  if (variant.kernel == FullyConnectedKernel::tile) return;
  const dim3 grid(static_cast<unsigned>(divide_up(p.outputs, add_threads)), static_cast<unsigned>(p.images));
  add_segments<<<grid, add_threads, 0, stream>>>(p);
  check_launch("launching the sum of the segments");
}

}  // namespace

std::string to_string(const FullyConnectedVariant& variant) {
  if (variant.kernel == FullyConnectedKernel::vector) {
    return "vector " + std::to_string(vector_images[static_cast<std::size_t>(variant.tile)]);
  }
  const TileKernel& kernel = tile_kernel(variant);
  return std::string(variant.kernel == FullyConnectedKernel::split ? "split " : "tile ") +
         std::to_string(kernel.images) + "x" + std::to_string(kernel.outputs) + "/" +
         std::to_string(kernel.threads);
}

std::vector<FullyConnectedVariant> fully_connected_variants(const FullyConnected& layer, std::int64_t images,
                                                            std::int64_t features) {
  const std::int64_t pass = std::min(images, images_per_pass);
  const std::size_t sums = sizeof(float) * static_cast<std::size_t>(checked_multiply(
                                               checked_multiply(segments_of(layer), pass, "the sums"),
                                               sums_pitch(features), "the sums"));
  std::vector<FullyConnectedVariant> variants;
  for (std::size_t tile = 0; tile < vector_images.size(); ++tile) {
    variants.push_back({FullyConnectedKernel::vector, static_cast<int>(tile), pass, sums});
  }
  for (std::size_t tile = 0; tile < split_kernels.size(); ++tile) {
    allow_shared(split_kernels[tile].kernel, split_kernels[tile].shared);
    variants.push_back({FullyConnectedKernel::split, static_cast<int>(tile), pass, sums});
  }
  for (std::size_t tile = 0; tile < total_kernels.size(); ++tile) {
    allow_shared(total_kernels[tile].kernel, total_kernels[tile].shared);
    variants.push_back({FullyConnectedKernel::tile, static_cast<int>(tile), images, 0});
  }
  return variants;
}

FullyConnectedVariant choose_fully_connected(const FullyConnected& layer, std::int64_t images,
                                             std::int64_t features) {
  const auto variants = fully_connected_variants(layer, images, features);
  constexpr std::size_t split0 = vector_images.size();
  constexpr std::size_t total0 = split0 + std::tuple_size_v<SplitTiles>;
  if (images <= 8) {
    std::size_t index = 0;
    while (vector_images[index] < images) ++index;
    return variants[index];
  }
  // Enough blocks that a multiprocessor holds several register tiles: they can keep the totals as well.
  if (images >= 512) return variants[total0];
  if (images <= split_kernels[2].images) return variants[split0 + 2];
  const std::int64_t blocks = divide_up<std::int64_t>(images, split_kernels[0].images) *
                              divide_up<std::int64_t>(features, split_kernels[0].outputs) *
                              segments_of(layer);
  return variants[blocks >= 1536 ? split0 : split0 + 1];
}

std::size_t fully_connected_filter_floats(const FullyConnected& layer) {
  return static_cast<std::size_t>(
      checked_multiply(filter_rows(layer), divide_up<std::int64_t>(layer.out_features, 4) * 4, "a weight"));
}

void fully_connected_filters(const FullyConnected& layer, const float* weight, float* filters,
                             cudaStream_t stream) {
  const int outputs = device_int(layer.out_features, "the number of features");
  const int in_features = device_int(layer.in_features, "the number of features");
  const int padded = device_int(filter_rows(layer), "the number of features");
  const int pitch = divide_up(outputs, 4) * 4;
  if (pitch == 0) return;
  const dim3 grid(static_cast<unsigned>(divide_up(padded, transpose_tile)),
                  grid_size(divide_up(pitch, transpose_tile), 65535, "outputs"));
  transpose<<<grid, dim3(transpose_tile, transpose_rows), 0, stream>>>(weight, filters, outputs, in_features,
                                                                       padded, pitch);
  check_launch("launching the transposition of a weight");
}

ConstantSpace& fully_connected_constants() {
  static ConstantSpace space(write_constants);
  return space;
}

void fully_connected(const FullyConnected& layer, Interval features, const FullyConnectedVariant& variant,
                     const float* filters, const BiasPlace& bias, const ConstMapView& in, const MapView& out,
                     std::span<std::byte> scratch, cudaStream_t stream) {
  if (in.images != out.images || in.channels != layer.in_features || out.channels != features.size() ||
      !Interval{0, layer.out_features}.contains(features) || in.rect.extent() != Extent2{1, 1} ||
      out.rect.extent() != Extent2{1, 1}) {
    throw ShapeError("fully_connected needs maps of one position and outputs that the layer has");
  }
  if (out.images == 0 || features.empty()) return;
  if (scratch.size() < variant.scratch_bytes) throw ShapeError("fully_connected: the scratch is too small");
  const std::int64_t base = features.begin / 4 * 4;
  FullyConnectedParameters p{};
  p.in = static_cast<const float*>(in.data);
  p.in_stride = in.image_stride;
  p.first = static_cast<int>(features.begin - base);
  p.out = static_cast<float*>(out.data) - p.first;
  p.out_stride = out.image_stride;
  p.filters = filters + base;
  p.sums = reinterpret_cast<float*>(scratch.data());
  p.has_bias = bias.present();
  p.bias = bias.global == nullptr ? nullptr : bias.global + base;
  p.bias_constant = bias.constant < 0 ? -1 : bias.constant + static_cast<int>(base);
  p.relu = layer.relu;
  p.in_features = device_int(layer.in_features, "the number of features");
  p.vector_in =
      reinterpret_cast<std::uintptr_t>(p.in) % 16 == 0 && p.in_stride % 4 == 0 && p.in_features % 4 == 0;
  p.outputs = static_cast<int>(features.end - base);
  p.filter_pitch = device_int(divide_up<std::int64_t>(layer.out_features, 4) * 4, "the number of features");
  p.sums_pitch = static_cast<int>(sums_pitch(features.size()));
  p.segments = static_cast<int>(segments_of(layer));

  const std::int64_t pass = std::max<std::int64_t>(variant.images_per_pass, 1);
  for (std::int64_t first = 0; first < in.images; first += pass) {
    p.images = static_cast<int>(std::min(pass, in.images - first));
    launch_pass(p, variant, stream);
    p.in += p.images * p.in_stride;
    p.out += p.images * p.out_stride;
  }
}

std::vector<KernelEntry> fully_connected_kernels() {
  std::vector<KernelEntry> list;
  for (std::size_t v = 0; v < vector_kernels.size(); ++v) {
    list.push_back({"fully_connected", "vector " + std::to_string(vector_images[v]),
                    address_of(vector_kernels[v]), vector_threads, 0});
  }
  const auto add_tiles = [&](const char* name, const auto& tiles) {
    for (const TileKernel& tile : tiles) {
      list.push_back({"fully_connected",
                      name + std::to_string(tile.images) + "x" + std::to_string(tile.outputs),
                      address_of(tile.kernel), tile.threads, tile.shared});
    }
  };
  add_tiles("split ", split_kernels);
  add_tiles("tile ", total_kernels);
  list.push_back({"fully_connected", "add segments", address_of(add_segments), add_threads, 0});
  return list;
}

}  // namespace halotile::direct
