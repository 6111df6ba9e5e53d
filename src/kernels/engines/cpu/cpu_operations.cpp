#include "kernels/engines/cpu/cpu_operations.hpp"

#include <array>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/binary.hpp"
#include "kernels/engines/cpu/pointwise.hpp"

namespace halotile {
namespace {

using Inputs = std::span<const ConstMapView>;

// Bytes of output behind which the work looks whether it shall stop: milliseconds.
constexpr std::int64_t bytes_between_looks = std::int64_t{4} << 20;

// Runs `kernel` on the whole of `out`, or on bands of its rows, side by side where there are threads. Bands
// write disjoint rows, and every kernel here computes each output alone, so the bits do not depend on the
// cut.
template <typename Kernel>
void over_bands(int threads, std::span<const ConstMapView> in, const MapView& out, const Kernel& kernel) {
  const std::int64_t rows = out.rect.rows.size();
  const std::int64_t units = out.images * rows;
  const std::int64_t row_bytes = out.rect.cols.size() * out.channels * size_of(out.dtype);
  const std::int64_t looks = units * row_bytes / bytes_between_looks;
  const std::int64_t bands = std::min(units, std::max<std::int64_t>(looks, threads > 1 ? 4 * threads : 1));
  if (bands < 2) {
    kernel(in, out);
    return;
  }
  // A band is a run of (image, row) pairs; each image's part of it is one rectangle.
  const auto compute = [&](std::int64_t band) {
    const Interval run{band * units / bands, (band + 1) * units / bands};
    for (std::int64_t at = run.begin; at < run.end;) {
      const std::int64_t image = at / rows;
      const std::int64_t end = std::min(run.end, (image + 1) * rows);
      const Interval band_rows{out.rect.rows.begin + at - image * rows,
                               out.rect.rows.begin + end - image * rows};
      const Interval images{image, image + 1};
      std::array<ConstMapView, InputViews::capacity> of_images;
      for (std::size_t i = 0; i < in.size(); ++i) of_images.at(i) = subview(in[i], images, in[i].rect);
      kernel(std::span<const ConstMapView>(of_images).first(in.size()),
             subview(out, images, Rect{band_rows, out.rect.cols}));
      at = end;
    }
  };
  if (threads <= 1) {
    for (std::int64_t band = 0; band < bands; ++band) {
      throw_if_stopped();
      compute(band);
    }
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::int64_t band = 0; band < bands; ++band) {
    if (!stop_requested.load(std::memory_order_relaxed)) compute(band);  // exceptions must not leave the loop
  }
  throw_if_stopped();
}

template <typename Kernel>
class MapOperation final : public Operation {
 public:
  MapOperation(int threads, Kernel kernel) : threads_(threads), kernel_(std::move(kernel)) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext&) override {
    over_bands(threads_, in, out, [this](Inputs band, const MapView& to) { kernel_(band.front(), to); });
  }

 private:
  int threads_;
  Kernel kernel_;
};

class BinaryOperation final : public Operation {
 public:
  BinaryOperation(int threads, const Binary& layer) : threads_(threads), layer_(layer) {}
  void run(std::span<const ConstMapView> in, const MapView& out, const RunContext&) override {
    over_bands(threads_, in, out,
               [this](Inputs band, const MapView& to) { binary(layer_, band[0], band[1], to); });
  }

 private:
  int threads_;
  Binary layer_;
};

template <typename Kernel>
std::unique_ptr<Operation> map_operation(int threads, Kernel kernel) {
  return std::make_unique<MapOperation<Kernel>>(threads, std::move(kernel));
}

}  // namespace

std::string cpu_obstacle(const Op& op) {
  if (is_one_of<Conv2d, FullyConnected, Pool2d, Lrn, Relu, LeakyRelu, Binary, Softmax, Copy>(op)) return {};
  if (is_one_of<LrnMaxPool>(op)) return "LRN and pools are not fused on the CPU";
  if (is_one_of<Normalize>(op)) return "8-bit pixels become floats before they are the CPU's input";
  return "the CPU engines do not have it";
}

std::unique_ptr<Operation> CpuEngine::make(const Op& op, std::span<const MapGeometry>, const MapGeometry&) {
  using In = const ConstMapView&;
  using Made = std::unique_ptr<Operation>;
  return std::visit(
      Overloaded{
          [&](const Pool2d& layer) -> Made {
            return map_operation(threads_, [layer](In in, const MapView& out) { pool2d(layer, in, out); });
          },
          [&](const Lrn& layer) -> Made {
            return map_operation(threads_, [layer](In in, const MapView& out) { lrn(layer, in, out); });
          },
          [&](const Relu&) -> Made {
            return map_operation(threads_, [](In in, const MapView& out) { relu(in, out); });
          },
          [&](const LeakyRelu& layer) -> Made {
            return map_operation(threads_,
                                 [layer](In in, const MapView& out) { leaky_relu(layer, in, out); });
          },
          [&](const Binary& layer) -> Made { return std::make_unique<BinaryOperation>(threads_, layer); },
          [&](const Softmax&) -> Made {
            return map_operation(1, [](In in, const MapView& out) { softmax(in, out); });
          },
          [&](const Copy&) -> Made {
            return map_operation(threads_, [](In in, const MapView& out) { copy_map(in, out); });
          },
          [&](const auto&) -> Made { refuse(op, "is the engine's own"); }},
      op);
}

}  // namespace halotile
