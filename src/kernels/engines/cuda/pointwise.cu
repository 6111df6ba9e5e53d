// ReLU, leaky ReLU, copies and softmax: every output depends on its own position alone.
//
//   relu      y = x < 0 ? 0 : x   (keeps -0 and NaN)
//   leaky_relu  y = x < 0 ? slope x : x
//   copy_map  y = x, rounded to nearest even where the element type of y holds less
//   softmax   y(c) = exp(x(c) - m) / s,  m = max of x, s = sum of exp(x(c) - m), over the channels
//
// Maps are NHWC views of f32, bf16 or f16 with any strides. All but softmax go over stretches that are
// contiguous in both maps: rows of positions, or single positions where there are gaps between them. Grid:
// LineGrid, stretches, units of the values that the wider type has in 16 bytes (1 where not aligned). ReLU
// and copies of one type move bits, so that -0 and NaN stay what they are. Softmax, in fp32: a block of 128
// threads takes a position; the sum is a tree over static shared memory whose shape depends on the number of
// channels alone. Preconditions: those of reference.hpp; out.rect in in.rect; relu and leaky_relu may work in
// place.
#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/kernel_list.hpp"
#include "kernels/engines/cuda/map_operations.hpp"
#include "kernels/engines/cuda/tile_launch.cuh"

namespace halotile::cuda {
namespace {

constexpr int threads = 128;

template <typename From, typename To>
struct Parameters {
  DeviceMap<From> in;
  DeviceMap<To> out;
  LineGrid grid;  // stretches of an image
  Divider cols;   // stretches of a row
};

// What becomes of a vector of elements on its way.
struct Same {
  template <typename T, int n>
  __device__ void operator()(Pack<T, n>&) const {}
};
struct Rectified {
  template <typename T, int n>
  __device__ void operator()(Pack<T, n>& x) const {
    rectify(x);
  }
};
struct RectifiedLeaky {
  float slope;
  template <typename T, int n>
  __device__ void operator()(Pack<T, n>& x) const {
    float a[n];
    widen(x, a);
#pragma unroll
    for (int e = 0; e < n; ++e) a[e] = a[e] < 0.0F ? __fmul_rn(slope, a[e]) : a[e];
    x = narrow<T, n>(a);
  }
};

template <int n, typename From, typename To, typename Function>
__device__ __forceinline__ void transfer(const Parameters<From, To>& p, const Function& function, int image,
                                         int stretch, int unit) {
  const int2 place = p.cols.divide(stretch);
  const int row = p.out.row0 + place.x;
  const int col = p.out.col0 + place.y;
  auto x = load<From, n>(p.in.data + p.in.offset(image, row, col) + unit * n);
  To* const to = p.out.data + p.out.offset(image, row, col) + unit * n;
  function(x);
  if constexpr (std::is_same_v<From, To>) {
    store(to, x);
  } else {
    float values[n];
    widen(x, values);
    store(to, narrow<To, n>(values));
  }
}

template <typename Function, typename From, typename To, int n>
__global__ void __launch_bounds__(threads)
    pointwise(const __grid_constant__ Parameters<From, To> p, const Function function) {
  follow_previous();
  p.grid.for_each(p.out.images,
                  [&](int image, int stretch, int unit) { transfer<n>(p, function, image, stretch, unit); });
}

// Tiles of very different shapes, such as borders. Grid: x blocks that share out all units of a tile.
template <typename From, typename To, int n, int most>
__global__ void __launch_bounds__(threads)
    copy_tiles(const __grid_constant__ TileParameters<Parameters<From, To>, most> tiles) {
  follow_previous();
  const Parameters<From, To>& p = tiles.here();
  const int units = p.out.images * p.grid.rows * static_cast<int>(p.grid.unit_count.divisor());
  const auto step = static_cast<int>(gridDim.x * blockDim.x);
  for (auto unit = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); unit < units; unit += step) {
    const int2 of_stretch = p.grid.unit_count.divide(unit);
    const int image = of_stretch.x / p.grid.rows;
    transfer<n>(p, Same{}, image, of_stretch.x - image * p.grid.rows, of_stretch.y);
  }
}

struct Maximum {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return __fadd_rn(a, b); }
};

// The fold of all threads' values, given to all of them.
template <typename Fold>
__device__ float fold_block(float value, float* shared, Fold fold) {
  __syncthreads();  // the previous fold has been read
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = threads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] = fold(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  return shared[0];
}

template <typename From, typename To>
__global__ void __launch_bounds__(threads) softmax_position(const Parameters<From, To> p) {
  follow_previous();
  __shared__ float shared[threads];
  const auto position = static_cast<int>(blockIdx.x);
  const int col = p.out.col0 + position % p.out.cols;
  const int row = p.out.row0 + position / p.out.cols % p.out.rows;
  const int image = position / p.out.cols / p.out.rows;
  const From* const from = p.in.data + p.in.offset(image, row, col);
  const auto x = [from](int c) { return widen_one(from[c]); };
  To* const y = p.out.data + p.out.offset(image, row, col);
  float largest = -__int_as_float(0x7f800000);
  for (int c = static_cast<int>(threadIdx.x); c < p.out.channels; c += threads)
    largest = fmaxf(largest, x(c));
  largest = fold_block(largest, shared, Maximum{});
  float sum = 0.0F;
  for (int c = static_cast<int>(threadIdx.x); c < p.out.channels; c += threads) {
    sum = __fadd_rn(sum, expf(x(c) - largest));
  }
  sum = fold_block(sum, shared, Sum{});
  for (int c = static_cast<int>(threadIdx.x); c < p.out.channels; c += threads) {
    y[c] = narrow_one<To>(__fdiv_rn(expf(x(c) - largest), sum));
  }
}

template <typename From, typename To>
Parameters<From, To> parameters(const char* what, const ConstMapView& in, const MapView& out) {
  if (in.images != out.images || in.channels != out.channels) {
    throw ShapeError(std::string(what) + ": in and out must have the same images and channels");
  }
  if (!in.rect.contains(out.rect)) {
    throw ShapeError(std::string(what) + ": the outputs " + to_string(out.rect) +
                     " must lie in the input's rectangle " + to_string(in.rect));
  }
  Parameters<From, To> p{};
  p.in = device_map<From>(in, in.data);
  p.out = device_map<To>(out, out.data);
  return p;
}

// Elements of a stretch: of a row, or where there are gaps between positions, of one.
template <typename From, typename To>
std::int64_t stretch(const Parameters<From, To>& p) {
  return std::int64_t{p.cols.divisor() == 1 ? p.out.cols : 1} * p.out.channels;
}

// Calls work(DeviceType<From>(), DeviceType<To>()) for the maps' element types.
template <typename Work>
void with_types(const ConstMapView& in, const MapView& out, const Work& work) {
  with_device_type(in.dtype,
                   [&](auto from) { with_device_type(out.dtype, [&](auto to) { work(from, to); }); });
}

// Stretches of both maps; true where they are aligned vectors of n elements.
template <int n, typename From, typename To>
bool in_vectors(Parameters<From, To>& p, const ConstMapView& in, const MapView& out) {
  const bool whole_rows = in.col_stride == in.channels && out.col_stride == out.channels;
  p.cols = Divider(whole_rows ? 1 : p.out.cols);
  // Stretches begin at rows (or positions), whose strides alone must then be aligned.
  const auto aligned = [&](auto map) {
    if (whole_rows) map.col_stride = 0;
    return vector_aligned(map, n);
  };
  const bool same_column = !whole_rows || (std::int64_t{p.out.col0 - p.in.col0} * p.in.channels) % n == 0;
  return stretch(p) % n == 0 && same_column && aligned(p.in) && aligned(p.out);
}

template <typename From, typename To, typename Function>
void launch(const char* what, const Function& function, const ConstMapView& in, const MapView& out,
            cudaStream_t stream) {
  constexpr int n = std::min(vector_width<From>, vector_width<To>);
  auto p = parameters<From, To>(what, in, out);
  if (positions(p.out) == 0 || out.channels == 0) return;
  const bool vectors = in_vectors<n>(p, in, out);
  p.grid = LineGrid(p.out.rows * p.cols.divisor(), vectors ? stretch(p) / n : stretch(p), threads);
  const dim3 grid = p.grid.grid(p.out.images, threads);
  if (vectors) {
    launch_early(pointwise<Function, From, To, n>, grid, threads, 0, stream, what, p, function);
  } else {
    launch_early(pointwise<Function, From, To, 1>, grid, threads, 0, stream, what, p, function);
  }
}

// A function of every element of a map.
template <typename Function>
void map_elements(const char* what, const Function& function, const ConstMapView& in, const MapView& out,
                  cudaStream_t stream) {
  if (in.dtype != out.dtype)
    throw ShapeError(std::string(what) + ": in and out must have the same element type");
  with_device_type(in.dtype,
                   [&]<typename T>(DeviceType<T>) { launch<T, T>(what, function, in, out, stream); });
}

template <int n, typename From, typename To, int most>
void launch_copies(TileParameters<Parameters<From, To>, most>& tiles, int count, cudaStream_t stream) {
  constexpr std::int64_t enough_blocks = 4 * 132;  // for all of a large GPU
  std::int64_t blocks = 1;
  for (Parameters<From, To>& p : std::span(tiles.tile, static_cast<std::size_t>(count))) {
    p.grid = LineGrid(p.out.rows * p.cols.divisor(), stretch(p) / n, threads);
    const std::int64_t units = std::int64_t{p.out.images} * p.grid.rows * p.grid.unit_count.divisor();
    device_int(units + enough_blocks * threads, "the number of elements of a tile");
    blocks = std::max(blocks, divide_up(units, std::int64_t{threads}));
  }
  const dim3 grid(static_cast<unsigned>(std::min(blocks, enough_blocks)), 1, static_cast<unsigned>(count));
  launch_early(copy_tiles<From, To, n, most>, grid, threads, 0, stream, "launching copies of tiles", tiles);
}

template <typename T>
void list_kernels(std::vector<KernelEntry>& list, const std::string& type) {
  constexpr int n = vector_width<T>;
  list.push_back({"pointwise", "relu" + type, address_of(pointwise<Rectified, T, T, n>), threads, 0});
  list.push_back(
      {"pointwise", "relu, unaligned" + type, address_of(pointwise<Rectified, T, T, 1>), threads, 0});
  list.push_back(
      {"pointwise", "leaky relu" + type, address_of(pointwise<RectifiedLeaky, T, T, n>), threads, 0});
  list.push_back({"pointwise", "copy" + type, address_of(pointwise<Same, T, T, n>), threads, 0});
  list.push_back({"pointwise", "copy, unaligned" + type, address_of(pointwise<Same, T, T, 1>), threads, 0});
  constexpr int most = tiles_at_once<Parameters<T, T>>;
  list.push_back({"pointwise", "copy, tiles" + type, address_of(copy_tiles<T, T, n, most>), threads, 0});
  list.push_back({"softmax", "position" + type, address_of(softmax_position<T, float>), threads, 0});
}

}  // namespace

void relu(const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  map_elements("relu", Rectified{}, in, out, stream);
}

void leaky_relu(const LeakyRelu& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  map_elements("leaky_relu", RectifiedLeaky{layer.slope}, in, out, stream);
}

void copy_map(const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  with_types(in, out, [&]<typename From, typename To>(DeviceType<From>, DeviceType<To>) {
    launch<From, To>("launching copy_map", Same{}, in, out, stream);
  });
}

void copy_maps(std::span<const TileMaps> tiles, cudaStream_t stream) {
  if (tiles.size() == 1) copy_map(tiles.front().in, tiles.front().out, stream);
  if (tiles.size() < 2) return;
  const DType type = tiles.front().in.dtype;
  for (const auto& [in, out] : tiles) {
    if (in.dtype != type || out.dtype != type)
      throw ShapeError("copy_maps: all maps must have the same element type");
  }
  with_device_type(type, [&]<typename T>(DeviceType<T>) {
    bool vectors = true;
    const auto make = [&](const TileMaps& tile, Parameters<T, T>& p) {
      p = parameters<T, T>("copy_maps", tile.in, tile.out);
      if (positions(p.out) == 0 || p.out.channels == 0) return false;
      vectors = in_vectors<vector_width<T>>(p, tile.in, tile.out) && vectors;
      return true;
    };
    for_tile_groups<Parameters<T, T>>(tiles, make, [&](auto& group, int count) {
      if (std::exchange(vectors, true)) {
        launch_copies<vector_width<T>>(group, count, stream);
      } else {
        launch_copies<1>(group, count, stream);
      }
    });
  });
}

void softmax(const ConstMapView& in, const MapView& out, cudaStream_t stream) {
  with_types(in, out, [&]<typename From, typename To>(DeviceType<From>, DeviceType<To>) {
    const auto p = parameters<From, To>("softmax", in, out);
    if (positions(p.out) == 0 || out.channels == 0) return;
    launch_early(softmax_position<From, To>, static_cast<unsigned>(positions(p.out)), threads, 0, stream,
                 "launching softmax", p);
  });
}

std::vector<KernelEntry> pointwise_kernels() {
  std::vector<KernelEntry> list;
  list_kernels<float>(list, "");
  list_kernels<__nv_bfloat16>(list, ", bf16");
  list_kernels<__half>(list, ", f16");
  list.push_back(
      {"pointwise", "copy, f32 to bf16", address_of(pointwise<Same, float, __nv_bfloat16, 4>), threads, 0});
  list.push_back(
      {"pointwise", "copy, f32 to f16", address_of(pointwise<Same, float, __half, 4>), threads, 0});
  return list;
}

}  // namespace halotile::cuda
