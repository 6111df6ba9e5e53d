// The `onednn` engine: convolutions and fully connected layers by oneDNN, the rest by the shared kernels.
//
// oneDNN does not promise equal bits for different shapes, and its default for NHWC (brgconv) does not keep
// them: it cuts long sums by the shape of the map. Its older direct kernels (jit) add up each output in one
// chain, input channels outermost, and gave equal bits for every shape that we measured (docs/engines.md); so
// they are what we ask for.
//
// Convolution runs image by image on NHWC memory, so its bits cannot depend on the batch or sub-batch, and in
// bands of rows whose result stays in the second-level cache while the kernel comes back to it for every
// block of input channels. The kernels want dense images: a view whose rows are not contiguous is packed into
// scratch, and a result that goes into a wider map is computed in scratch and copied. What a tile reads
// outside the image becomes the primitive's own padding, so a halo position outside the image is a zero at
// every layer. Those kernels refuse padding beyond what windows or the tile reach; such a tile gets its
// padding as zeros in scratch. A product with zero changes no sum, so both ways give the same bits.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "kernels/conv2d_plain.hpp"
#include "kernels/conv2d_winograd.hpp"
#include "kernels/cpu_operations.hpp"
#include "kernels/pointwise.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using dnnl::memory;

memory::data_type data_type(DType type) {
  return type == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

[[noreturn]] void fail(const char* what, const dnnl::error& error) {
  throw UnsupportedError(std::string("oneDNN cannot make ") + what + " (" + error.what() +
                         "); use engine: reference for this network");
}

void execute(const dnnl::primitive& primitive, const dnnl::stream& stream,
             std::span<const dnnl_exec_arg_t> args) {
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive.get(), stream.get(), static_cast<int>(args.size()), args.data());
  if (status != dnnl_success) {
    throw UnsupportedError("oneDNN failed to run a primitive (status " + std::to_string(status) + ")");
  }
}

void set_data(memory& m, const void* data) {
  // oneDNN takes sources, too, as non-const pointers; it does not write through them.
  m.set_data_handle(const_cast<void*>(data));
}

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

// The thread count that oneDNN sees while primitives are made here.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
  ~ThreadCount() { omp_set_num_threads(before_); }

 private:
  int before_;
};

dnnl::primitive_attr attributes(bool relu) {
  dnnl::primitive_attr attr;
  if (relu) {
    dnnl::post_ops post;
    post.append_eltwise(1.0F, dnnl::algorithm::eltwise_relu, 0.0F, 0.0F);
    attr.set_post_ops(post);
  }
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// A convolution of one dense image, and the weights in the format it wants.
struct ConvPrimitive {
  dnnl::convolution_forward::primitive_desc desc;
  dnnl::convolution_forward primitive;
  memory weight;
  memory bias;
};

struct ConvShape {
  Extent2 in;
  Extent2 out;
  Halo padding;
};

// Some output rows of a tile and the input that the primitive sees, relative to the begins of the tile's
// rectangles. What of that lies outside in.rect is zeros.
struct Band {
  Interval in_rows;
  Interval in_cols;
  Interval out_rows;
  ConvShape shape;
};

// The same with its padding in the input, and with the positions behind the last window that no window reads
// but that kernels for 1x1 windows ask for.
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

class Conv2dOperation final : public Operation {
 public:
  Conv2dOperation(const dnnl::engine& engine, std::span<const Band> bands,
                  std::span<const ConvPrimitive> primitives, const MapGeometry& in, const MapGeometry& out)
      : stream_(engine) {
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
    for (std::size_t b = 0; b < bands.size(); ++b) {
      const ConvShape& shape = bands[b].shape;
      if (pack_in_) in_bytes_ = std::max(in_bytes_, packed_bytes(shape.in, in));
      if (pack_out_) out_bytes_ = std::max(out_bytes_, packed_bytes(shape.out, out));
      parts_.push_back(make_part(engine, bands[b], primitives[b]));
      scratchpad_bytes_ = std::max(scratchpad_bytes_, primitives[b].desc.scratchpad_desc().get_size());
    }
  }

  void run(const ConstMapView& in, const MapView& out, const RunContext& context) override {
    std::byte* const packed_in = context.scratch.data();
    std::byte* const packed_out = packed_in + in_bytes_;
    for (std::int64_t image = 0; image < out.images; ++image) {
      const Interval one{image, image + 1};
      for (Part& part : parts_) {
        const Rect seen{shift(part.in_rows, in.rect.rows.begin), shift(part.in_cols, in.rect.cols.begin)};
        const ConstMapView source = subview(in, one, intersect(in.rect, seen));
        const MapView target = subview(out, one, {shift(part.out_rows, out.rect.rows.begin), out.rect.cols});
        if (pack_in_) {
          if (seen != source.rect) std::memset(packed_in, 0, in_bytes_);
          const MapView packed{dense_geometry(in.dtype, 1, in.channels, seen, in.whole), packed_in};
          copy_map(source, subview(packed, {0, 1}, source.rect));
        }
        set_data(part.src, pack_in_ ? packed_in : source.data);
        set_data(part.dst, pack_out_ ? packed_out : target.data);
        set_data(part.scratchpad, packed_out + out_bytes_);
        execute(part.conv.primitive, stream_, {part.args.data(), part.arg_count});
        if (pack_out_)
          copy_map({dense_geometry(out.dtype, 1, out.channels, target.rect, out.whole), packed_out}, target);
      }
    }
  }

  [[nodiscard]] std::size_t scratch_bytes() const override {
    return in_bytes_ + out_bytes_ + scratchpad_bytes_;
  }

 private:
  struct Part {
    ConvPrimitive conv;
    memory src;
    memory dst;
    memory scratchpad;
    Interval in_rows;
    Interval in_cols;
    Interval out_rows;
    std::array<dnnl_exec_arg_t, 5> args{};
    std::size_t arg_count = 0;
  };

  static Interval shift(Interval i, std::int64_t by) { return {i.begin + by, i.end + by}; }

  static std::size_t packed_bytes(Extent2 extent, const MapGeometry& g) {
    return aligned(static_cast<std::size_t>(extent.area() * g.channels * size_of(g.dtype)));
  }

  static Part make_part(const dnnl::engine& engine, const Band& band, const ConvPrimitive& conv) {
    Part part{conv,
              memory(conv.desc.src_desc(), engine, nullptr),
              memory(conv.desc.dst_desc(), engine, nullptr),
              memory(conv.desc.scratchpad_desc(), engine, nullptr),
              band.in_rows,
              band.in_cols,
              band.out_rows};
    part.args = {{{DNNL_ARG_SRC, part.src.get()},
                  {DNNL_ARG_WEIGHTS, conv.weight.get()},
                  {DNNL_ARG_DST, part.dst.get()},
                  {DNNL_ARG_SCRATCHPAD, part.scratchpad.get()},
                  {DNNL_ARG_BIAS, conv.bias ? conv.bias.get() : nullptr}}};
    part.arg_count = conv.bias ? 5 : 4;
    return part;
  }

  dnnl::stream stream_;
  bool pack_in_ = false;
  bool pack_out_ = false;
  std::size_t in_bytes_ = 0;
  std::size_t out_bytes_ = 0;
  std::size_t scratchpad_bytes_ = 0;
  std::vector<Part> parts_;
};

// All of the tile's input is padding: every product is zero.
class BiasOnly final : public Operation {
 public:
  explicit BiasOnly(const Conv2d& layer) : layer_(layer) {}
  void run(const ConstMapView&, const MapView& out, const RunContext&) override {
    for (std::int64_t n = 0; n < out.images; ++n) {
      for (std::int64_t y = out.rect.rows.begin; y < out.rect.rows.end; ++y) {
        for (std::int64_t x = out.rect.cols.begin; x < out.rect.cols.end; ++x) {
          for (std::int64_t c = 0; c < out.channels; ++c) {
            const float bias = layer_.bias.empty() ? 0.0F : layer_.bias[static_cast<std::size_t>(c)];
            const float value = layer_.relu && bias < 0 ? 0.0F : bias;
            if (out.dtype == DType::f32) {
              out.at<float>(n, y, x)[c] = value;
            } else {
              out.at<Bfloat16>(n, y, x)[c] = Bfloat16(value);
            }
          }
        }
      }
    }
  }

 private:
  Conv2d layer_;
};

struct FullyConnectedPrimitive {
  dnnl::inner_product_forward::primitive_desc desc;
  dnnl::inner_product_forward primitive;
  memory weight;
  memory bias;
};

class FullyConnectedOperation final : public Operation {
 public:
  FullyConnectedOperation(const dnnl::engine& engine, const FullyConnectedPrimitive& fc,
                          const MapGeometry& out)
      : stream_(engine),
        fc_(fc),
        src_(fc.desc.src_desc(), engine, nullptr),
        dst_(fc.desc.dst_desc(), engine, nullptr),
        scratchpad_(fc.desc.scratchpad_desc(), engine, nullptr),
        pack_out_(out.image_stride != out.channels && out.images > 1) {
    if (pack_out_)
      out_bytes_ = aligned(static_cast<std::size_t>(out.images * out.channels * size_of(out.dtype)));
    args_ = {{{DNNL_ARG_SRC, src_.get()},
              {DNNL_ARG_WEIGHTS, fc_.weight.get()},
              {DNNL_ARG_DST, dst_.get()},
              {DNNL_ARG_SCRATCHPAD, scratchpad_.get()},
              {DNNL_ARG_BIAS, fc_.bias ? fc_.bias.get() : nullptr}}};
    arg_count_ = fc_.bias ? 5 : 4;
  }

  void run(const ConstMapView& in, const MapView& out, const RunContext& context) override {
    set_data(scratchpad_, context.scratch.data() + out_bytes_);
    set_data(src_, in.data);
    set_data(dst_, pack_out_ ? context.scratch.data() : out.data);
    execute(fc_.primitive, stream_, {args_.data(), arg_count_});
    if (pack_out_) {
      copy_map(
          {dense_geometry(out.dtype, out.images, out.channels, out.rect, out.whole), context.scratch.data()},
          out);
    }
  }

  [[nodiscard]] std::size_t scratch_bytes() const override {
    return out_bytes_ + fc_.desc.scratchpad_desc().get_size();
  }

 private:
  dnnl::stream stream_;
  FullyConnectedPrimitive fc_;
  memory src_;
  memory dst_;
  memory scratchpad_;
  bool pack_out_;
  std::size_t out_bytes_ = 0;
  std::array<dnnl_exec_arg_t, 5> args_{};
  std::size_t arg_count_ = 0;
};

class OneDnnEngine final : public CpuEngine {
 public:
  OneDnnEngine(DType map_type, int thread_count)
      : CpuEngine(thread_count, [thread_count] { omp_set_num_threads(thread_count); }),
        map_type_(map_type),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {}

  [[nodiscard]] std::string_view name() const override { return "onednn"; }
  [[nodiscard]] DType map_type() const override { return map_type_; }
  [[nodiscard]] bool promises_bits() const override { return false; }

  [[nodiscard]] std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry& in,
                                                  const MapGeometry& out) override {
    if (winograd_suits(layer, map_type_)) {
      Buffer& weight = winograd_weights_[layer.weight.data()];
      if (weight.bytes() == 0) weight = winograd_weight(layer, map_type_, device());
      return winograd_conv2d(layer, weight, out, threads());
    }
    const std::string& kernel = kernel_of(layer, in.whole, out.whole);
    if (kernel.empty()) {
      Buffer& weight = plain_weights_[layer.weight.data()];
      if (weight.bytes() == 0) weight = plain_conv2d_weight(layer, device());
      return plain_conv2d(layer, weight, out, threads());
    }
    if (in.rect.empty()) return std::make_unique<BiasOnly>(layer);
    std::vector<Band> bands = cut_bands(layer, in, out, rows_of_band(out));
    if (!accepted(layer, kernel, bands)) {
      for (Band& band : bands) band = with_zeros(band, layer.window);
    }
    std::vector<ConvPrimitive> primitives;
    for (const Band& band : bands) primitives.push_back(conv_primitive(layer, kernel, band.shape));
    return std::make_unique<Conv2dOperation>(engine_, bands, primitives, in, out);
  }

  [[nodiscard]] std::unique_ptr<Operation> fully_connected(const FullyConnected& layer, Interval features,
                                                           const MapGeometry& in,
                                                           const MapGeometry& out) override {
    const Key key{layer.weight.data(), layer.relu,   in.images,
                  features.begin,      features.end, size_of(out.dtype)};
    auto found = fully_connected_.find(key);
    if (found == fully_connected_.end()) {
      found =
          fully_connected_.emplace(key, make_fully_connected(layer, features, in.images, out.dtype)).first;
    }
    return std::make_unique<FullyConnectedOperation>(engine_, found->second, out);
  }

 private:
  // A weight in a format of oneDNN's.
  struct Packed {
    Buffer buffer;
    memory view;
  };
  using Key = std::tuple<const float*, bool, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;
  using ConvKey = std::pair<const float*, std::array<std::int64_t, 9>>;

  // Rows for one band: as many as keep its result in the second-level cache.
  static std::int64_t rows_of_band(const MapGeometry& out) {
    constexpr std::int64_t band_bytes = std::int64_t{1}
                                        << 20;  // of the result, in f32: the kernel's accumulators
    constexpr std::int64_t least_rows = 4;
    const std::int64_t row_bytes = 4 * out.rect.cols.size() * out.channels;
    return std::max(least_rows, band_bytes / std::max<std::int64_t>(1, row_bytes));
  }

  static std::vector<Band> cut_bands(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out,
                                     std::int64_t rows) {
    const Window& w = layer.window;
    // What the first and last tap read beyond what there is, before and after; negative after:
    // positions that no output reads.
    const auto pads = [](const AxisWindow& axis, Interval have, Interval make) {
      return std::pair{
          have.begin - (make.begin * axis.stride - axis.padding),
          (make.end - 1) * axis.stride - axis.padding + (axis.kernel - 1) * axis.dilation + 1 - have.end};
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
        return cut_bands(layer, in, out, std::max<std::int64_t>(1, out.rect.rows.size()));
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

  // Whether the kernel that computes the layer takes all bands.
  bool accepted(const Conv2d& layer, const std::string& kernel, std::span<const Band> bands) {
    const ThreadCount count(threads());
    try {
      return std::all_of(bands.begin(), bands.end(), [&](const Band& band) {
        return convolutions_.contains(conv_key(layer, band.shape)) ||
               conv_desc(layer, band.shape, kernel).has_value();
      });
    } catch (const dnnl::error& error) {
      fail("a convolution", error);
    }
  }

  static ConvKey conv_key(const Conv2d& layer, const ConvShape& shape) {
    return {layer.weight.data(),
            {shape.in.height, shape.in.width, shape.out.height, shape.out.width, shape.padding.top,
             shape.padding.left, shape.padding.bottom, shape.padding.right, layer.relu}};
  }

  // Name of the kernel that computes the layer: of the direct ones that take the whole map, with its padding
  // or as zeros, the first. Empty: there is none.
  const std::string& kernel_of(const Conv2d& layer, Extent2 whole_in, Extent2 whole_out) {
    const auto [known, is_new] = conv_kernels_.try_emplace(layer.weight.data());
    if (!is_new) return known->second;
    // A whole map's padding at the end is what the last window reaches.
    const auto end = [](const AxisWindow& axis, std::int64_t inputs, std::int64_t outputs) {
      return std::max<std::int64_t>(0, reach(axis, inputs, {0, outputs}).end - inputs);
    };
    const Window& w = layer.window;
    const Band whole{{0, whole_in.height},
                     {0, whole_in.width},
                     {0, whole_out.height},
                     {whole_in,
                      whole_out,
                      {w.padding.height, w.padding.width, end(w.rows(), whole_in.height, whole_out.height),
                       end(w.cols(), whole_in.width, whole_out.width)}}};
    const ThreadCount count(threads());
    try {
      for (const ConvShape& shape : {whole.shape, with_zeros(whole, w).shape}) {
        const auto made = conv_desc(layer, shape, "jit");
        if (made && known->second.empty()) known->second = made->impl_info_str();
      }
    } catch (const dnnl::error& error) {
      fail("a convolution", error);
    }
    return known->second;
  }

  const ConvPrimitive& conv_primitive(const Conv2d& layer, const std::string& kernel,
                                      const ConvShape& shape) {
    const ConvKey key = conv_key(layer, shape);
    const auto found = convolutions_.find(key);
    if (found != convolutions_.end()) return found->second;
    const ThreadCount count(threads());
    try {
      auto desc = conv_desc(layer, shape, kernel);
      if (!desc) desc = conv_desc(layer, shape, "");
      ConvPrimitive made{*desc, dnnl::convolution_forward(*desc), conv_weight(layer, *desc),
                         bias(layer.bias)};
      return convolutions_.emplace(key, std::move(made)).first->second;
    } catch (const dnnl::error& error) {
      fail("a convolution", error);
    }
  }

  // The first of oneDNN's kernels whose name begins with `name`, if it has one for this shape.
  [[nodiscard]] std::optional<dnnl::convolution_forward::primitive_desc> conv_desc(
      const Conv2d& layer, const ConvShape& s, std::string_view name) const {
    const auto type = data_type(map_type_);
    const Window& w = layer.window;
    const memory::desc src({1, layer.in_channels, s.in.height, s.in.width}, type, memory::format_tag::nhwc);
    const memory::desc dst({1, layer.out_channels, s.out.height, s.out.width}, type,
                           memory::format_tag::nhwc);
    const memory::desc weight(conv_weight_dims(layer), type, memory::format_tag::any);
    const memory::desc bias_desc =
        layer.bias.empty()
            ? memory::desc()
            : memory::desc({layer.out_channels}, memory::data_type::f32, memory::format_tag::x);
    const dnnl::convolution_forward::desc desc(
        dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weight, bias_desc, dst,
        {w.stride.height, w.stride.width}, {w.dilation.height - 1, w.dilation.width - 1},
        {s.padding.top, s.padding.left}, {s.padding.bottom, s.padding.right});
    const dnnl::primitive_attr attr = attributes(layer.relu);
    // Asking for the next implementation reads `desc` again: it must still be there (oneDNN keeps its
    // address).
    dnnl::convolution_forward::primitive_desc made(desc, attr, engine_);
    do {
      if (std::string_view(made.impl_info_str()).starts_with(name)) return made;
    } while (made.next_impl());
    return std::nullopt;
  }

  static memory::dims conv_weight_dims(const Conv2d& layer) {
    const Extent2 k = layer.window.kernel;
    const std::int64_t g = layer.groups;
    if (g == 1) return {layer.out_channels, layer.in_channels, k.height, k.width};
    return {g, layer.out_channels / g, layer.in_channels / g, k.height, k.width};
  }

  // Reorders `values`, in the plain layout `tag`, into `wanted`. Equal formats of one tensor are kept once.
  memory packed(const float* values, const memory::dims& dims, memory::format_tag tag,
                const memory::desc& wanted) {
    auto& formats = packed_[values];
    for (const Packed& have : formats) {
      if (have.view.get_desc() == wanted) return have.view;
    }
    memory plain({dims, memory::data_type::f32, tag}, engine_, const_cast<float*>(values));
    Buffer buffer = device().allocate(wanted.get_size());
    memory result(wanted, engine_, buffer.data());
    dnnl::reorder(plain, result).execute(stream_, plain, result);
    stream_.wait();
    formats.push_back({std::move(buffer), result});
    return result;
  }

  memory conv_weight(const Conv2d& layer, const dnnl::convolution_forward::primitive_desc& desc) {
    const auto tag = layer.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw;
    return packed(layer.weight.data(), conv_weight_dims(layer), tag, desc.weights_desc());
  }

  memory bias(std::span<const float> values) {
    if (values.empty()) return {};
    return memory({{static_cast<std::int64_t>(values.size())}, memory::data_type::f32, memory::format_tag::x},
                  engine_, const_cast<float*>(values.data()));
  }

  FullyConnectedPrimitive make_fully_connected(const FullyConnected& layer, Interval features,
                                               std::int64_t images, DType out_type) {
    const ThreadCount count(threads());
    try {
      const auto type = data_type(map_type_);
      const std::int64_t size = features.size();
      const memory::desc src({images, layer.in_features}, type, memory::format_tag::nc);
      const memory::desc weight({size, layer.in_features}, type, memory::format_tag::any);
      const memory::desc dst({images, size}, data_type(out_type), memory::format_tag::nc);
      const std::span<const float> part =
          layer.bias.empty()
              ? layer.bias
              : layer.bias.subspan(static_cast<std::size_t>(features.begin), static_cast<std::size_t>(size));
      const memory::desc bias_desc =
          part.empty() ? memory::desc() : memory::desc({size}, memory::data_type::f32, memory::format_tag::x);
      const dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_inference, src, weight, bias_desc,
                                                   dst);
      const dnnl::inner_product_forward::primitive_desc pd(desc, attributes(layer.relu), engine_);
      const float* rows = layer.weight.data() + features.begin * layer.in_features;
      return {pd, dnnl::inner_product_forward(pd),
              packed(rows, {size, layer.in_features}, memory::format_tag::nc, pd.weights_desc()), bias(part)};
    } catch (const dnnl::error& error) {
      fail("a fully connected layer", error);
    }
  }

  DType map_type_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<ConvKey, ConvPrimitive> convolutions_;
  // By the address of the layer's weight:
  std::map<const float*, std::string> conv_kernels_;
  std::map<const float*, Buffer> plain_weights_;
  std::map<const float*, Buffer> winograd_weights_;
  std::map<Key, FullyConnectedPrimitive> fully_connected_;
  std::map<const float*, std::vector<Packed>> packed_;
};

}  // namespace

bool cpu_has_bf16() { return __builtin_cpu_supports("avx512bf16") != 0; }

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

std::unique_ptr<Engine> make_onednn_engine(DType map_type, int threads) {
  if (map_type != DType::f32 && map_type != DType::bf16) {
    throw UnsupportedError("engine onednn has maps of f32 and bf16, not of " +
                           std::string(to_string(map_type)));
  }
  if (map_type == DType::bf16 && !cpu_has_bf16()) {
    throw UnsupportedError(
        "precision bf16: this CPU has no bf16 arithmetic (AVX512_BF16); use precision: fp32");
  }
  return std::make_unique<OneDnnEngine>(map_type, threads);
}

std::span<const std::string_view> engine_names() {
  static constexpr std::array<std::string_view, 2> names{"onednn", "reference"};
  return names;
}

}  // namespace halotile
