// Local response normalization across channels: lrn_direct.cuh has the mathematics.
//
// Maps are NHWC views of f32, bf16 or f16 with any strides. Two kernels, neighbouring threads on neighbouring
// channels. Grid: LineGrid, rows of positions, units of channels.
//   five  size 5 and aligned channels: a thread computes the channels of 16 bytes of a position
//   any   a thread computes one channel
// Preconditions: those of reference.hpp; out.rect in in.rect. Source: Krizhevsky et al. 2012, 3.3; PyTorch's
// LocalResponseNorm for the division of alpha by size.
#include "kernels/devices/cuda/early_launch.cuh"
#include "kernels/engines/cuda/lrn.cuh"

#include "kernels/engines/cuda/kernel_list.hpp"
#include "kernels/engines/cuda/map_operations.hpp"

namespace halotile::cuda {
namespace {

constexpr int threads = 256;

template <typename T>
struct Parameters {
  DeviceMap<T> in;
  DeviceMap<T> out;
  LrnParameters lrn;
  LineGrid grid;
  Divider vectors;  // of a position
};

// Calls compute(position of the input, channel, where to) for the thread's vectors of n channels.
template <int n, typename T, typename Compute>
__device__ __forceinline__ void for_each_vector(const Parameters<T>& p, const Compute& compute) {
  p.grid.for_each(p.out.images, [&](int image, int r, int unit) {
    const int2 place = p.vectors.divide(unit);
    const int row = p.out.row0 + r;
    const int col = p.out.col0 + place.x;
    const int c = place.y * n;
    compute(p.in.data + p.in.offset(image, row, col), c, p.out.data + p.out.offset(image, row, col) + c);
  });
}

template <Power power, typename T>
__global__ void __launch_bounds__(threads) lrn_vector(const Parameters<T> p) {
  follow_previous();
  for_each_vector<vector_width<T>>(p, [&](const T* position, int c, T* to) {
    const bool has_behind = c + vector_width<T> < p.in.channels;
    store(to, lrn_five<power>(read_five(position + c, c > 0, has_behind), p.lrn));
  });
}

template <Power power, typename T>
__global__ void __launch_bounds__(threads) lrn_channel(const Parameters<T> p) {
  follow_previous();
  for_each_vector<1>(p, [&](const T* position, int c, T* to) {
    store(to, lrn_one<power>(position, c, p.in.channels, p.lrn));
  });
}

template <typename T>
void lrn_maps(const Lrn& layer, const ConstMapView& in, const MapView& out, LrnPower kind,
              cudaStream_t stream) {
  Parameters<T> p{};
  p.lrn = lrn_parameters(layer);
  p.in = device_map<T>(in, in.data);
  p.out = device_map<T>(out, out.data);
  if (positions(p.out) == 0 || out.channels == 0) return;
  const bool five =
      p.lrn.size == 5 && out.channels % vector_width<T> == 0 && vector_aligned(p.in) && vector_aligned(p.out);
  p.vectors = Divider(five ? p.out.channels / vector_width<T> : p.out.channels);
  p.grid = LineGrid(p.out.rows, std::int64_t{p.out.cols} * p.vectors.divisor(), threads);
  const dim3 grid = p.grid.grid(p.out.images, threads);
  with_power<T>(layer, kind, [&]<Power power>(PowerOf<power>) {
    if (five) {
      launch_early(lrn_vector<power, T>, grid, threads, 0, stream, "launching lrn", p);
    } else {
      launch_early(lrn_channel<power, T>, grid, threads, 0, stream, "launching lrn", p);
    }
  });
  check_launch("launching lrn");
}

template <Power usual, Power other, typename T>
void list_kernels(std::vector<KernelEntry>& list, const std::string& type) {
  list.push_back({"lrn", "five, beta 0.75" + type, address_of(lrn_vector<usual, T>), threads, 0});
  list.push_back({"lrn", "any size, beta 0.75" + type, address_of(lrn_channel<usual, T>), threads, 0});
  list.push_back({"lrn", "five, any beta" + type, address_of(lrn_vector<other, T>), threads, 0});
  list.push_back({"lrn", "any size and beta" + type, address_of(lrn_channel<other, T>), threads, 0});
}

}  // namespace

void lrn(const Lrn& layer, const ConstMapView& in, const MapView& out, cudaStream_t stream, LrnPower power) {
  if (in.images != out.images || in.channels != out.channels || in.dtype != out.dtype) {
    throw ShapeError("lrn: in and out must have the same images, channels and element type");
  }
  if (!in.rect.contains(out.rect)) throw ShapeError("lrn: the outputs must lie in the input's rectangle");
  with_device_type(in.dtype, [&]<typename T>(DeviceType<T>) { lrn_maps<T>(layer, in, out, power, stream); });
}

std::vector<KernelEntry> lrn_kernels() {
  std::vector<KernelEntry> list;
  list_kernels<Power::three_quarters, Power::other, float>(list, "");
  list_kernels<Power::fast_three_quarters, Power::fast, __nv_bfloat16>(list, ", bf16");
  list_kernels<Power::fast_three_quarters, Power::fast, __half>(list, ", f16");
  return list;
}

}  // namespace halotile::cuda
