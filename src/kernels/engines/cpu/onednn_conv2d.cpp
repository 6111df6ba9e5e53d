// Convolution runs image by image on NHWC memory, so its bits cannot depend on the batch or sub-batch, and in
// bands of rows whose result stays in the second-level cache while the kernel comes back to it for every
// block of input channels. The kernels want dense images: a view whose rows are not contiguous is packed into
// scratch, and a result that goes into a wider map is computed in scratch and copied. What a tile reads
// outside the image becomes the primitive's own padding, so a halo position outside the image is a zero at
// every layer. Those kernels refuse padding beyond what windows or the tile reach; such a tile gets its
// padding as zeros in scratch. A product with zero changes no sum, so both ways give the same bits.
//
// The primitives make sums only. A ReLU behind them is ours, band by band: oneDNN's post-op (2.6.3) is a SIMD
// maximum of x and 0, in that order, and gives 0 where x is NaN.
//
// Kernels for AMX (bf16) fill a row of their tiles with what lies beside a window and multiply it by zeros:
// an infinity or NaN there makes NaN. A band that comes out with NaN is therefore made again without the
// input's infinities and NaN, and where they belong is worked out apart (non_finite.hpp). Without NaN in the
// result there is nothing to set right, so that looking for it is all that this costs.
#include "kernels/engines/cpu/onednn_conv2d.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/non_finite.hpp"
#include "kernels/engines/cpu/onednn_primitives.hpp"
#include "kernels/engines/cpu/pointwise.hpp"
#include "patching/error.hpp"
#include "patching/window.hpp"

namespace halotile::onednn {
namespace {

using dnnl::memory;

void execute(const dnnl::primitive& primitive, const dnnl::stream& stream,
             std::span<const dnnl_exec_arg_t> args) {
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive.get(), stream.get(), static_cast<int>(args.size()), args.data());
  if (status != dnnl_success) {
    throw UnsupportedError("oneDNN failed to run a primitive (status " + std::to_string(status) + ")");
  }
}

class Conv2dOperation final : public Operation {
 public:
  Conv2dOperation(const dnnl::engine& engine, const Conv2d& layer, std::span<const Band> bands,
                  const PrimitiveOf& primitive_of, const MapGeometry& in, const MapGeometry& out, int threads)
      : layer_(layer), stream_(engine), threads_(threads) {
    const Interval in_cols = bands.front().in_cols;
    const bool dense_in = in.col_stride == in.channels && in.row_stride == in_cols.size() * in.channels;
    const bool dense_out =
        out.col_stride == out.channels && out.row_stride == out.rect.cols.size() * out.channels;
    const Rect have{{0, in.rect.rows.size()}, {0, in.rect.cols.size()}};
    pack_in_ = !dense_in && in.rect.rows.size() > 1;
    pack_out_ = !dense_out && out.rect.rows.size() > 1;
    for (const Band& band : bands) {
      if (!have.rows.contains(band.in_rows) || !have.cols.contains(band.in_cols)) pack_in_ = true;
    }
    bands_.reserve(bands.size());
    for (const Band& band : bands)
      bands_.push_back(
          {band.in_rows, band.in_cols, band.out_rows, part_of(engine, band.shape, primitive_of)});
    for (const Part& part : parts_) {
      if (pack_in_) in_bytes_ = std::max(in_bytes_, packed_bytes(part.shape.in, in));
      if (pack_out_) out_bytes_ = std::max(out_bytes_, packed_bytes(part.shape.out, out));
      scratchpad_bytes_ = std::max(scratchpad_bytes_, part.conv.desc.scratchpad_desc().get_size());
    }
  }

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    std::byte* const packed_in = context.scratch.data();
    std::byte* const packed_out = packed_in + in_bytes_;
    for (std::int64_t image = 0; image < out.images; ++image) {
      const Interval one{image, image + 1};
      for (const PlacedBand& band : bands_) {
        throw_if_stopped();
        Part& part = parts_[band.part];
        const Rect seen{shift(band.in_rows, in.rect.rows.begin), shift(band.in_cols, in.rect.cols.begin)};
        const ConstMapView source = subview(in, one, intersect(in.rect, seen));
        const MapView target = subview(out, one, {shift(band.out_rows, out.rect.rows.begin), out.rect.cols});
        if (pack_in_) {
          if (seen != source.rect) std::memset(packed_in, 0, in_bytes_);
          const MapView packed{dense_geometry(in.dtype, 1, in.channels, seen, in.whole), packed_in};
          copy_map(source, subview(packed, {0, 1}, source.rect));
        }
        const void* const from = pack_in_ ? packed_in : source.data;
        set_data(part.src, from);
        set_data(part.dst, pack_out_ ? packed_out : target.data);
        set_data(part.scratchpad, packed_out + out_bytes_);
        execute(part.conv.primitive, stream_, {part.args.data(), part.arg_count});
        const ConstMapView made = this->made(target, packed_out);
        const bool again = part.reads_beside && holds_nan(made);
        if (again) make_again(part, from);
        finish(made, target);
        if (again) spread_non_finite(layer_, subview(in, one, in.rect), target);
      }
    }
  }

  [[nodiscard]] std::size_t scratch_bytes() const override {
    return in_bytes_ + out_bytes_ + scratchpad_bytes_;
  }

 private:
  // What bands of one shape share.
  struct Part {
    ConvShape shape;
    ConvPrimitive conv;
    memory src;
    memory dst;
    memory scratchpad;
    bool reads_beside = false;
    std::array<dnnl_exec_arg_t, 5> args{};
    std::size_t arg_count = 0;
  };
  struct PlacedBand {
    Interval in_rows;
    Interval in_cols;
    Interval out_rows;
    std::size_t part;
  };

  // A band as its primitive left it.
  [[nodiscard]] ConstMapView made(const MapView& target, const std::byte* packed) const {
    if (!pack_out_) return target;
    return {dense_geometry(target.dtype, 1, target.channels, target.rect, target.whole), packed};
  }

  // What is left to do: the ReLU, and the way from scratch into the map.
  void finish(const ConstMapView& made, const MapView& target) const {
    if (layer_.relu) {
      relu_rows(made, target);
    } else if (pack_out_) {
      copy_map(made, target);
    }
  }

  // The same band of an input without infinities and NaN.
  void make_again(Part& part, const void* input) {
    static thread_local std::vector<std::byte> clean;
    const auto* const bytes = static_cast<const std::byte*>(input);
    clean.assign(bytes, bytes + part.conv.desc.src_desc().get_size());
    const bool f32 = part.conv.desc.src_desc().data_type() == memory::data_type::f32;
    clear_non_finite(f32 ? DType::f32 : DType::bf16, clean);
    set_data(part.src, clean.data());
    execute(part.conv.primitive, stream_, {part.args.data(), part.arg_count});
  }

  void relu_rows(const ConstMapView& made, const MapView& target) const {
    const Interval rows = target.rect.rows;
    const std::int64_t parts = std::min<std::int64_t>(threads_, rows.size());
#pragma omp parallel for num_threads(threads_) schedule(static) if (parts > 1)
    for (std::int64_t part = 0; part < parts; ++part) {
      const Interval some{rows.begin + part * rows.size() / parts,
                          rows.begin + (part + 1) * rows.size() / parts};
      relu(made, subview(target, {0, 1}, {some, target.rect.cols}));
    }
  }

  static Interval shift(Interval i, std::int64_t by) { return {i.begin + by, i.end + by}; }

  static std::size_t packed_bytes(Extent2 extent, const MapGeometry& g) {
    return aligned(static_cast<std::size_t>(extent.area() * g.channels * size_of(g.dtype)));
  }

  // Number of the part for a shape. The first and last bands, which see padding, and two heights between
  // them are all shapes that there are.
  std::size_t part_of(const dnnl::engine& engine, const ConvShape& shape, const PrimitiveOf& primitive_of) {
    for (std::size_t p = parts_.size(); p > 0; --p) {
      if (parts_[p - 1].shape == shape) return p - 1;
    }
    parts_.push_back(make_part(engine, shape, primitive_of(shape)));
    return parts_.size() - 1;
  }

  static Part make_part(const dnnl::engine& engine, const ConvShape& shape, const ConvPrimitive& conv) {
    Part part{shape, conv, memory(conv.desc.src_desc(), engine, nullptr),
              memory(conv.desc.dst_desc(), engine, nullptr),
              memory(conv.desc.scratchpad_desc(), engine, nullptr)};
    part.args = {{{DNNL_ARG_SRC, part.src.get()},
                  {DNNL_ARG_WEIGHTS, conv.weight.get()},
                  {DNNL_ARG_DST, part.dst.get()},
                  {DNNL_ARG_SCRATCHPAD, part.scratchpad.get()},
                  {DNNL_ARG_BIAS, conv.bias ? conv.bias.get() : nullptr}}};
    part.arg_count = conv.bias ? 5 : 4;
    part.reads_beside = std::string_view(conv.desc.impl_info_str()).find("amx") != std::string_view::npos;
    return part;
  }

  Conv2d layer_;  // its parameters are what the primitives read
  dnnl::stream stream_;
  int threads_;
  bool pack_in_ = false;
  bool pack_out_ = false;
  std::size_t in_bytes_ = 0;
  std::size_t out_bytes_ = 0;
  std::size_t scratchpad_bytes_ = 0;
  std::vector<Part> parts_;
  std::vector<PlacedBand> bands_;
};

// Rows for one band: as many as keep its result in the second-level cache.
std::int64_t rows_of_band(const MapGeometry& out) {
  constexpr std::int64_t band_bytes = std::int64_t{1}
                                      << 20;  // of the result, in f32: the kernel's accumulators
  constexpr std::int64_t least_rows = 4;
  const std::int64_t row_bytes = 4 * out.rect.cols.size() * out.channels;
  return std::max(least_rows, band_bytes / std::max<std::int64_t>(1, row_bytes));
}

std::vector<Band> cut(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out, std::int64_t rows) {
  const Window& w = layer.window;
  // What the first and last tap read beyond what there is, before and after; negative after:
  // positions that no output reads.
  const auto pads = [](const AxisWindow& axis, Interval have, Interval make) {
    return std::pair{
        have.begin - (make.begin * axis.stride - axis.padding.begin),
        (make.end - 1) * axis.stride - axis.padding.begin + (axis.kernel - 1) * axis.dilation + 1 - have.end};
  };
  const auto [left, right] = pads(w.cols(), in.rect.cols, out.rect.cols);
  const auto [top, unused] = pads(w.rows(), in.rect.rows, out.rect.rows);
  if (top < 0 || left < 0) throw ShapeError("a tile's input begins before what its outputs read");
  // Up to stride - 1 unread columns do not change oneDNN's output size, and keeping them keeps rows dense;
  // more are cut off.
  const std::int64_t unread = right < 0 && -right >= w.stride.width ? -right : 0;
  const std::int64_t in_width = in.rect.cols.size() - unread;
  const std::int64_t count = (out.rect.rows.size() + rows - 1) / rows;

  std::vector<Band> bands;
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t height = out.rect.rows.size();
    const Interval make{out.rect.rows.begin + b * height / count,
                        out.rect.rows.begin + (b + 1) * height / count};
    const Interval reads = reach(w.rows(), in.whole.height, make);
    Interval have = intersect(reads, in.rect.rows);
    if (have.empty()) {
      // A band that reads padding alone has no image to give to oneDNN: leave the tile in one piece.
      return cut(layer, in, out, std::max<std::int64_t>(1, out.rect.rows.size()));
    }
    const auto [above, below] = pads(w.rows(), have, make);
    bands.push_back({{have.begin - in.rect.rows.begin, have.end - in.rect.rows.begin},
                     {0, in_width},
                     {make.begin - out.rect.rows.begin, make.end - out.rect.rows.begin},
                     {{have.size(), in_width},
                      {make.size(), out.rect.cols.size()},
                      {above, left, below, std::max<std::int64_t>(0, right)}}});
  }
  return bands;
}

}  // namespace

std::vector<Band> cut_bands(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out) {
  return cut(layer, in, out, rows_of_band(out));
}

Band with_zeros(const Band& band, const Window& window) {
  const auto grow = [](Interval i, std::int64_t before, std::int64_t outputs, const AxisWindow& w) {
    const std::int64_t begin = i.begin - before;
    return Interval{begin, begin + outputs * w.stride + (w.kernel - 1) * w.dilation};
  };
  const ConvShape& s = band.shape;
  const Interval rows = grow(band.in_rows, s.padding.top, s.out.height, window.rows());
  const Interval cols = grow(band.in_cols, s.padding.left, s.out.width, window.cols());
  return {rows, cols, band.out_rows, {{rows.size(), cols.size()}, s.out, {}}};
}

std::unique_ptr<Operation> conv2d_operation(const dnnl::engine& engine, const Conv2d& layer,
                                            std::span<const Band> bands, const PrimitiveOf& primitive_of,
                                            const MapGeometry& in, const MapGeometry& out, int threads) {
  return std::make_unique<Conv2dOperation>(engine, layer, bands, primitive_of, in, out, threads);
}

}  // namespace halotile::onednn
