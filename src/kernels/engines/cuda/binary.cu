// Two maps, element by element: y = relu?(a + b), relu?(a - b), relu?(a * b), in fp32, rounded once.
//
// Maps are NHWC views of f32, bf16 or f16 with any strides; where an input has one of what the output has
// many its stride is 0 (broadcast.hpp). A thread takes a vector of 16 bytes of channels (one element where
// they are not aligned, or an input has one channel for all): grid LineGrid, rows of positions x channels.
// What an output is made of depends on its own position alone, so tiles have the whole map's bits.
// Preconditions: those of cpu/binary.hpp.
#include "kernels/devices/cuda/cuda_error.hpp"
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/broadcast.hpp"
#include "kernels/engines/cuda/device_map.cuh"
#include "kernels/engines/cuda/kernel_list.hpp"
#include "kernels/engines/cuda/map_operations.hpp"

namespace halotile::cuda {
namespace {

constexpr int threads = 128;

template <typename T>
struct Parameters {
  DeviceMap<T> a;
  DeviceMap<T> b;
  DeviceMap<T> out;
  LineGrid grid;        // rows of an image
  Divider of_position;  // units of a position
  int a_channel = 1;    // strides of channels
  int b_channel = 1;
};

template <BinaryKind kind, bool relu>
__device__ __forceinline__ float combine(float a, float b) {
  float y = 0.0F;
  if constexpr (kind == BinaryKind::add) y = __fadd_rn(a, b);
  if constexpr (kind == BinaryKind::subtract) y = __fsub_rn(a, b);
  if constexpr (kind == BinaryKind::multiply) y = __fmul_rn(a, b);
  return relu && y < 0.0F ? 0.0F : y;
}

template <BinaryKind kind, bool relu, typename T, int n>
__global__ void __launch_bounds__(threads) binary_elements(const __grid_constant__ Parameters<T> p) {
  follow_previous();
  p.grid.for_each(p.out.images, [&](int image, int of_row, int unit) {
    const int2 place = p.of_position.divide(unit);
    const int row = p.out.row0 + of_row;
    const int col = p.out.col0 + place.x;
    const int channel = place.y * n;
    const T* const from_a = p.a.data + p.a.offset(image, row, col) + channel * p.a_channel;
    const T* const from_b = p.b.data + p.b.offset(image, row, col) + channel * p.b_channel;
    T* const to = p.out.data + p.out.offset(image, row, col) + channel;
    float a[n];
    float b[n];
    widen(load<T, n>(from_a), a);
    widen(load<T, n>(from_b), b);
#pragma unroll
    for (int e = 0; e < n; ++e) a[e] = combine<kind, relu>(a[e], b[e]);
    store(to, narrow<T, n>(a));
  });
}

template <BinaryKind kind, bool relu, typename T>
void launch(const ConstMapView& a, const ConstMapView& b, const MapView& out, cudaStream_t stream) {
  constexpr int width = vector_width<T>;
  Parameters<T> p{};
  p.a = device_map<T>(a, a.data);
  p.b = device_map<T>(b, b.data);
  p.out = device_map<T>(out, out.data);
  if (positions(p.out) == 0 || out.channels == 0) return;
  p.a_channel = a.channels == out.channels ? 1 : 0;
  p.b_channel = b.channels == out.channels ? 1 : 0;
  const bool vectors = p.a_channel == 1 && p.b_channel == 1 && out.channels % width == 0 &&
                       vector_aligned(p.a) && vector_aligned(p.b) && vector_aligned(p.out);
  const int units = p.out.channels / (vectors ? width : 1);
  p.of_position = Divider(units);
  p.grid = LineGrid(p.out.rows, std::int64_t{p.out.cols} * units, threads);
  const dim3 grid = p.grid.grid(p.out.images, threads);
  if (vectors) {
    launch_early(binary_elements<kind, relu, T, width>, grid, threads, 0, stream, "launching binary", p);
  } else {
    launch_early(binary_elements<kind, relu, T, 1>, grid, threads, 0, stream, "launching binary", p);
  }
}

template <BinaryKind kind, typename T>
void launch(bool relu, const ConstMapView& a, const ConstMapView& b, const MapView& out,
            cudaStream_t stream) {
  if (relu) {
    launch<kind, true, T>(a, b, out, stream);
  } else {
    launch<kind, false, T>(a, b, out, stream);
  }
}

template <typename T>
void list_kernels(std::vector<KernelEntry>& list, const std::string& type) {
  constexpr int n = vector_width<T>;
  list.push_back(
      {"binary", "add" + type, address_of(binary_elements<BinaryKind::add, false, T, n>), threads, 0});
  list.push_back(
      {"binary", "add, relu" + type, address_of(binary_elements<BinaryKind::add, true, T, n>), threads, 0});
  list.push_back({"binary", "multiply, unaligned" + type,
                  address_of(binary_elements<BinaryKind::multiply, false, T, 1>), threads, 0});
}

}  // namespace

void binary(const Binary& layer, const ConstMapView& a, const ConstMapView& b, const MapView& out,
            cudaStream_t stream) {
  const ConstMapView x = broadcast("binary", a, out);
  const ConstMapView z = broadcast("binary", b, out);
  with_device_type(out.dtype, [&]<typename T>(DeviceType<T>) {
    switch (layer.kind) {
      case BinaryKind::add:
        return launch<BinaryKind::add, T>(layer.relu, x, z, out, stream);
      case BinaryKind::subtract:
        return launch<BinaryKind::subtract, T>(layer.relu, x, z, out, stream);
      case BinaryKind::multiply:
        return launch<BinaryKind::multiply, T>(layer.relu, x, z, out, stream);
    }
  });
}

std::vector<KernelEntry> binary_kernels() {
  std::vector<KernelEntry> list;
  list_kernels<float>(list, "");
  list_kernels<__nv_bfloat16>(list, ", bf16");
  list_kernels<__half>(list, ", f16");
  return list;
}

}  // namespace halotile::cuda
